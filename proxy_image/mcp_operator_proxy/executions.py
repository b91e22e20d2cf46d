"""How one request fares on its way through the full path, and what its end is called in the metrics."""

import asyncio
from contextvars import ContextVar
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import URL_ELICITATION_REQUIRED

from mcp_operator_proxy.backends import waits
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.waits import Waits
from mcp_operator_proxy.refusals import Quarantined, RateLimited, Refused
from mcp_operator_proxy.table import Entry
from mcp_operator_proxy.usage import Status

_NOT_SENT = frozenset({"CircuitOpen", "Overloaded"})


class Execution:
    """One request of a client. Whoever handles it notes what only he knows."""

    __slots__ = ("entry", "status", "waits")

    def __init__(self) -> None:
        self.entry: Entry | None = None
        """The tool that is called, once it has been found; also where the caller may not use it."""
        self.status: Status | None = None
        """How it ended; noted before that where neither the result nor the error will say so."""
        self.waits = Waits()

    def added(self, seconds: float) -> float | None:
        """What the proxy added to a request that took so long; None where it had no answer of a server's."""
        if self.waits.seconds and self.status in ANSWERED:
            return max(0.0, seconds - self.waits.seconds)
        return None


SCOPE: Final = "mcp_operator_proxy.execution"
"""Key in an ASGI scope: the execution of its request."""
ANSWERED: Final[frozenset[Status | None]] = frozenset({"ok", "tool_error"})
current: ContextVar[Execution | None] = ContextVar("execution", default=None)


def begin() -> Execution:
    """That of the current request, from here on."""
    execution = Execution()
    current.set(execution)
    waits.current.set(execution.waits)
    return execution


def called(entry: Entry) -> None:
    """The tool that the current request calls has been found."""
    execution = current.get()
    if execution is not None:
        execution.entry = entry


def ends(status: Status) -> None:
    """Whatever the result of the current request looks like, this is how it ended."""
    execution = current.get()
    if execution is not None:
        execution.status = status


def of_result(result: Any) -> Status:
    """`result` is one of `tools/call`, as a client gets it."""
    if not isinstance(result, dict):
        return "ok"
    if result.get("resultType", "complete") != "complete":
        return "unfinished"
    return "tool_error" if result.get("isError") else "ok"


def of_error(error: BaseException) -> Status:
    """`error` is what the handler of `tools/call` raised."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    if isinstance(error, Refused):
        return "denied"
    if isinstance(error, RateLimited):
        return "limited"
    if isinstance(error, Quarantined):
        return "refused"
    if isinstance(error, MCPError) and error.code == URL_ELICITATION_REQUIRED:
        return "unfinished"
    return of_failure(error.__cause__)


def of_failure(error: BaseException | None) -> Status:
    """Of a call that got no answer of the server's own: why."""
    found = error.report.error_class if isinstance(error, BackendError) else None
    if found in _NOT_SENT:
        return "refused"
    return "timeout" if found == "Timeout" else "error"
