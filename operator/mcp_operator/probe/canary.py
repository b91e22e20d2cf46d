"""A canary: one tool call through a proxy, made and judged as its clients would."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from mcp.shared.exceptions import MCPError

from mcp_operator.probe.exchange import exchange
from mcp_operator.probe.expectation import Expectation, answer_text, difference
from mcp_operator.probe.target import Target
from mcp_operator_proxy.backends.classify import is_own_error, redact
from mcp_operator_proxy.backends.connect import Connected
from mcp_operator_proxy.report import ErrorClass, ErrorReport

Outcome = Literal["CallPassed", "CallFailed", "UnexpectedAnswer"] | ErrorClass
"""An error class where the call came to no answer at all."""


@dataclass(frozen=True, kw_only=True)
class CanaryCall:
    """A call of `tool`, by the name that clients of `target` know it by. Compared by value."""

    target: Target
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    expect: Expectation = field(default_factory=Expectation)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What must not stand in the words of a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryResult:
    """How one call ended."""

    time: datetime
    """When, in UTC."""
    seconds: float
    """With connection and handshake."""
    outcome: Outcome
    message: str = ""
    """What is wrong, in words; empty where it passed."""

    @property
    def passed(self) -> bool:
        return self.outcome == "CallPassed"


async def call(canary: CanaryCall) -> CanaryResult:
    """Connect, call, end the session, within `canary.target.timeout` seconds. Raises nothing but `CancelledError`.

    Nobody is there to answer what a tool may ask: such a call has failed.
    """

    async def ask(connected: Connected) -> tuple[Outcome, str]:
        return await _called(connected, canary)

    found, seconds = await exchange(canary.target, ask)
    outcome, message = (found.error_class, found.message) if isinstance(found, ErrorReport) else found
    return CanaryResult(time=datetime.now(UTC), seconds=seconds, outcome=outcome, message=message)


async def _called(connected: Connected, canary: CanaryCall) -> tuple[Outcome, str]:
    try:
        answer = await connected.ask("tools/call", {"name": canary.tool, "arguments": dict(canary.arguments)})
    except MCPError as error:
        if is_own_error(error):
            raise
        return "CallFailed", _quoted("the call was answered with an error", error.message, canary)
    kind = answer.get("resultType") or "complete"
    if kind != "complete":
        return "CallFailed", _quoted("the tool did not answer, but asks for more", str(kind), canary)
    if answer.get("isError"):
        return "CallFailed", _quoted("the tool answered with an error", answer_text(answer), canary)
    if (words := difference(answer, canary.expect)) is not None:
        return "UnexpectedAnswer", words
    return "CallPassed", ""


def _quoted(what: str, text: str, canary: CanaryCall) -> str:
    secrets = (*canary.secrets, *canary.target.headers.values())
    return f"{what}: {redact(text, secrets)}" if text else what
