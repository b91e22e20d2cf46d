"""Ask a backend through its gate, and once more where that is safe.

The provider's full path, the fast lane and the library share these rules:

- The server refused it because of the session or the era (`BackendError.executed` is False): a fresh session is asked.
- It is `repeatable` (a read-only or idempotent tool, a list, a read) and the connection broke: it is asked again.
- The server refused the credential that it was shown (401), and there is another one now: it is asked with that one.
- Everything else fails, typed: nothing runs twice unasked.

Each reason counts once, so a request is sent four times at most.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR
from pydantic import ValidationError

from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.waits import waiting
from mcp_operator_proxy.report import ErrorClass

if TYPE_CHECKING:
    from mcp_operator_proxy.backends.backend import Backend

T = TypeVar("T")
Reason: TypeAlias = Literal["stale", "broken", "refused"]
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
    with waiting():
        ticket = await backend.gate.enter(seconds)
    answered: bool | None = None
    try:
        result = await _repeating(backend, once, repeatable=repeatable)
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


async def _repeating(backend: "Backend", once: Callable[[], Awaitable[T]], *, repeatable: bool) -> T:
    had: set[Reason] = set()
    while True:
        try:
            return await once()
        except BackendError as error:
            backend.nudge()
            reason = reason_to_repeat(error, repeatable=repeatable)
            if reason is None or reason in had:
                raise
            had.add(reason)
            if reason == "refused" and (backend.renew is None or not await backend.renew()):
                raise
            if error.era_changed:
                backend.forget_era()
            backend.pool.drop_idle()


def reason_to_repeat(error: BackendError, *, repeatable: bool) -> Reason | None:
    """Why a request that failed so may be sent again without a risk to run it twice; None where it may not."""
    if error.challenge is not None and not error.executed:
        return "refused"
    if (error.session_lost or error.era_changed) and not error.executed:
        return "stale"
    if repeatable and error.report.error_class == "ConnectionReset":
        return "broken"
    return None


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
