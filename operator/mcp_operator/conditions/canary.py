"""`CanaryPassing`: what came of the tool call that an McpServer declares."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcp_operator.api.common import Condition
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict, joined, no, standing, unknown, yes


@dataclass(frozen=True, slots=True)
class CanaryPath:
    """One proxy through which the call is made. `passing` is None before there is a verdict."""

    proxy: str
    """Id of the McpProxy."""
    path: str
    tool: str
    """As clients of that path name it."""
    passing: bool | None = None
    outcome: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class CanaryObservation:
    """All that decides the condition."""

    tool: str
    """The server's own name of it."""
    paths: Sequence[CanaryPath] = ()
    waiting: bool = False
    """Some proxy may show the tool soon: it has not been compiled yet, or its replicas are still to say what they show."""
    held: bool = False
    """No call is made while the server's spec or what it refers to is wrong."""


def canary_verdict(seen: CanaryObservation, before: Iterable[Condition]) -> Verdict:
    """The verdict; `before` are the conditions of the same generation, which stand until there is news."""
    if seen.held:
        return unknown(
            Type.CANARY_PASSING, Reason.NOT_CALLED, "no call is made before the spec, or what it refers to, is mended"
        )
    known = sorted((path for path in seen.paths if path.passing is not None), key=lambda path: (path.proxy, path.path))
    failing = [path for path in known if not path.passing]
    if failing:
        return no(Type.CANARY_PASSING, failing[0].outcome, _failure(failing, [path for path in known if path.passing]))
    if known:
        through = joined((_through(path) for path in known), separator=", ")
        return yes(Type.CANARY_PASSING, Reason.CALL_PASSED, f"{seen.tool} answers as expected through {through}")
    if (seen.paths or seen.waiting) and (stood := standing(Type.CANARY_PASSING, before)):
        return stood
    if seen.paths:
        return unknown(Type.CANARY_PASSING, Reason.NOT_CALLED, "the first call is under way")
    if seen.waiting:
        return unknown(Type.CANARY_PASSING, Reason.NOT_CALLED, "no proxy shows the tool yet")
    message = f"no McpProxy shows the tool {seen.tool} to clients: there is nothing to call it through"
    return unknown(Type.CANARY_PASSING, Reason.NOT_SERVED, message)


def _failure(failing: Sequence[CanaryPath], passing: Sequence[CanaryPath]) -> str:
    words = joined(f"{path.tool} through {_through(path)}: {path.message or path.outcome}" for path in failing)
    return words + (f"; it passes through {joined(map(_through, passing), separator=', ')}" if passing else "")


def _through(path: CanaryPath) -> str:
    return f"McpProxy {path.proxy} at {path.path}"
