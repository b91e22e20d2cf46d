"""Ask a backend through its gate, and once more where that is safe.

The provider's full path, the fast lane and the library share these rules:

- `BackendError.executed` False and the session or era was the reason: a fresh session is asked.
- `repeatable` (a read-only or idempotent tool, a list, a read) and the connection broke: asked again.
- everything else fails, typed: the caller may not run a tool twice unasked.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR
from pydantic import ValidationError

from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.report import ErrorClass

if TYPE_CHECKING:
    from mcp_operator_proxy.backends.backend import Backend

T = TypeVar("T")
UNANSWERED: Final[frozenset[ErrorClass]] = frozenset(
    {"DNSFailure", "ConnectionRefused", "ConnectionReset", "Unreachable", "Timeout", "TLSFailure"}
)
"""Error classes of a server that gave no answer at all; the others are answers, if wrong ones, and come quickly."""


async def ask(backend: "Backend", once: Callable[[], Awaitable[T]], *, repeatable: bool, seconds: float) -> T:
    """Run `once`, which sends one request; at most `seconds` in line for a free place before.

    Raises:
        MCPError: the server answered with a JSON-RPC error.
        BackendError: there was no proper answer, or the request was not sent: `CircuitOpen`, `Overloaded`.
    """
    ticket = await backend.gate.enter(seconds)
    answered: bool | None = None
    try:
        try:
            result = await once()
        except BackendError as error:
            backend.nudge()
            if not worth_repeating(error, repeatable=repeatable):
                raise
            if error.era_changed:
                backend.forget_era()
            backend.pool.drop_idle()
            result = await once()
        answered = True
    except BackendError as error:
        answered = was_answered(error)
        raise
    except (MCPError, ValidationError):
        answered = True
        raise
    else:
        return result
    finally:
        backend.gate.leave(answered, ticket)


def worth_repeating(error: BackendError, *, repeatable: bool) -> bool:
    """Whether a request that failed so may be sent again without a risk to run it twice."""
    if error.session_lost or error.era_changed:
        return not error.executed
    return repeatable and error.report.error_class == "ConnectionReset"


def was_answered(error: BackendError) -> bool:
    """Whether the circuit breaker takes a failure for a sign of life."""
    return error.report.error_class not in UNANSWERED


def wire_error(server: str, error: BackendError) -> MCPError:
    """What the client gets: a JSON-RPC error whose data says which server, what kind of error, and whether it may have run."""
    report = error.report
    data: dict[str, Any] = {"server": server, "errorClass": report.error_class}
    if not error.executed:
        data["executed"] = False
    return MCPError(INTERNAL_ERROR, f"server {server}: {report.message}", data)
