"""When a request is sent a second time, what the circuit breaker takes for an answer, and what the client is told."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from mcp_operator_proxy.backends.ask import ask, reason_to_repeat, wire_error
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.gate import Gate
from mcp_operator_proxy.config import CircuitBreaker
from mcp_operator_proxy.report import ErrorClass, ErrorReport


def failed(error_class: ErrorClass = "ConnectionReset", **how: bool) -> BackendError:
    return BackendError(ErrorReport(error_class=error_class, message="words"), **how)  # type: ignore[arg-type]


LOST = failed("NotFound", executed=False, session_lost=True)
OTHER_ERA = failed("ProtocolError", executed=False, era_changed=True)
BROKEN = failed("ConnectionReset")


@pytest.mark.parametrize(
    ("error", "repeatable", "reason"),
    [
        (LOST, False, "stale"),
        (OTHER_ERA, False, "stale"),
        (failed("NotFound", executed=True, session_lost=True), False, None),
        (BROKEN, False, None),
        (BROKEN, True, "broken"),
        (failed("Timeout"), True, None),
        (failed("ConnectionRefused", executed=False), True, None),
        (failed("HTTPError"), True, None),
    ],
)
def test_reason_to_repeat(error: BackendError, repeatable: bool, reason: str | None) -> None:
    assert reason_to_repeat(error, repeatable=repeatable) == reason


class Pool:
    dropped = 0

    def drop_idle(self) -> None:
        self.dropped += 1


@dataclass
class FakeBackend:
    """What `ask` needs of one; the exchange itself is in the tests of traffic and failures."""

    gate: Gate = field(default_factory=lambda: Gate(1, CircuitBreaker(failures=2)))
    pool: Pool = field(default_factory=Pool)
    nudged: int = 0
    forgotten: int = 0

    def nudge(self) -> None:
        self.nudged += 1

    def forget_era(self) -> None:
        self.forgotten += 1


def saying(*answers: BaseException | str) -> tuple[Callable[[], object], list[int]]:
    """Something that answers so, one after the other, and the count of how often it was asked."""
    left, asked = list(answers), [0]

    async def once() -> str:
        asked[0] += 1
        answer = left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return once, asked


@pytest.mark.parametrize(
    ("answers", "repeatable", "asked"),
    [
        (["ok"], False, 1),
        ([LOST, "ok"], False, 2),
        ([OTHER_ERA, "ok"], False, 2),
        ([BROKEN, LOST, "ok"], True, 3),
        ([LOST, BROKEN, "ok"], True, 3),
        ([LOST, LOST, "ok"], True, 2),
        ([BROKEN, BROKEN, "ok"], True, 2),
        ([LOST, BROKEN, "ok"], False, 2),
        ([BROKEN, "ok"], False, 1),
    ],
)
async def test_each_reason_counts_once(answers: list[BaseException | str], repeatable: bool, asked: int) -> None:
    backend, (once, count) = FakeBackend(), saying(*answers)
    if answers[asked - 1] == "ok":
        assert await ask(backend, once, repeatable=repeatable, seconds=1) == "ok"  # type: ignore[arg-type]
    else:
        with pytest.raises(BackendError) as caught:
            await ask(backend, once, repeatable=repeatable, seconds=1)  # type: ignore[arg-type]
        assert caught.value is answers[asked - 1]
    assert count == [asked]
    assert backend.forgotten == answers[:asked].count(OTHER_ERA)
    assert not backend.gate.busy


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (MCPError(INVALID_PARAMS, "no"), False),
        (failed("Timeout"), True),
        (failed("ConnectionRefused", executed=False), True),
        (BROKEN, True),
        (failed("Unauthorized"), False),
        (failed("HTTPError"), False),
        (failed("ProtocolError"), False),
    ],
)
async def test_only_silence_opens_the_circuit(error: Exception, opens: bool) -> None:
    backend = FakeBackend()
    for _ in range(2):
        once, _ = saying(error)
        with pytest.raises(type(error)):
            await ask(backend, once, repeatable=False, seconds=1)  # type: ignore[arg-type]
    assert backend.gate.report().circuit == ("open" if opens else "closed")
    once, asked = saying("ok")
    if opens:
        with pytest.raises(BackendError, match="did not answer the last 2 calls"):
            await ask(backend, once, repeatable=True, seconds=1)  # type: ignore[arg-type]
        assert asked == [0]


def test_the_client_is_told_server_class_and_whether_it_ran() -> None:
    error = wire_error("ns/time", failed("ConnectionRefused", executed=False))
    assert (error.error.message, error.error.data) == (
        "server ns/time: words",
        {"server": "ns/time", "errorClass": "ConnectionRefused", "executed": False},
    )
    assert wire_error("ns/time", BROKEN).error.data == {"server": "ns/time", "errorClass": "ConnectionReset"}
