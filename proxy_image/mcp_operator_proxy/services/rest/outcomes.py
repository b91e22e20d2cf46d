"""How a call ended, as a problem. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from mcp_operator_proxy.report import ErrorClass
from mcp_operator_proxy.services import calls
from mcp_operator_proxy.services.calls import CallFailed
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.problems import Fault, Kind, ProblemError

AWAY: Final[frozenset[ErrorClass]] = frozenset(
    {
        "DNSFailure",
        "ConnectionRefused",
        "Unreachable",
        "Timeout",
        "TLSFailure",
        "NotRunning",
        "CrashLoop",
        "CircuitOpen",
        "Overloaded",
        "SecretMissing",
    }
)
"""No server was there to take the call: 503. Of all others something came that is no answer, or the connection broke: 502."""
RETRY_SECONDS: Final = 5.0


_KINDS: Final[Mapping[type[CallFailed], Kind]] = {
    calls.UnknownTool: problems.UNKNOWN_TOOL,
    calls.CallForbidden: problems.UNKNOWN_TOOL,
    calls.ToolQuarantined: problems.QUARANTINED,
    calls.BadArguments: problems.BAD_PARAMETERS,
    calls.ArgumentsRefused: problems.BAD_PARAMETERS,
    calls.CallLimited: problems.RATE_LIMITED,
    calls.CallTimedOut: problems.TIMEOUT,
    calls.ToolAsks: problems.INPUT_REQUIRED,
    calls.NeedsSignIn: problems.SIGN_IN,
    calls.ServerRefused: problems.SERVER_ERROR,
}


def told(error: CallFailed, tool_id: str) -> ProblemError:
    more: dict[str, Any] = {"tool_id": tool_id[:300]}
    match error:
        case calls.ServerDown():
            return _down(error, more)
        case calls.BadArguments():
            more["errors"] = [Fault(detail=p.detail, pointer=pointer_of(p.pointer)) for p in error.problems]
        case calls.CallLimited():
            more["retry_after"] = error.retry_after
        case calls.NeedsSignIn():
            more["sign_in_url"] = error.sign_in_url
        case calls.ServerRefused():
            more["code"] = error.code
    return ProblemError(_KINDS.get(type(error), problems.INTERNAL), str(error), **more)


def pointer_of(pointer: str) -> str:
    """Of the parameters' JSON pointer, within the body of the request."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    return problems.fragment("parameters", *parts)


def _down(error: calls.ServerDown, about: dict[str, Any]) -> ProblemError:
    found = error.about
    away = found.report.error_class in AWAY
    return ProblemError(
        problems.UNAVAILABLE if away else problems.BAD_ANSWER,
        str(error),
        server_id=found.server,
        error_class=found.report.error_class,
        executed=None if found.executed else False,
        retry_after=RETRY_SECONDS if away else None,
        **about,
    )
