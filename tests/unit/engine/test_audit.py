"""The second opinion on a watch stream: what each answer of the API server means for it.

nothing new · a change · a deletion · a version that is too old · no answer · the words that a probe gets
"""

import asyncio
import time

import pytest

from mcp_operator.engine.audit import Audit, Later
from mcp_operator.engine.streams import Stream, Streams
from support.waiting import Eventually

THINGS = Stream("Thing")


class Server:
    """Answers peeks by `later` (an exception is raised), LISTs at version 100; a LIST may find what was not told."""

    def __init__(self, streams: Streams) -> None:
        self.later: Later | Exception = Later()
        self.asked: list[str] = []
        self.lists = 0
        self.finds: str | None = None
        self._streams = streams

    async def peek(self, stream: Stream, since: str) -> Later:
        assert stream == THINGS
        self.asked.append(since)
        if isinstance(self.later, Exception):
            raise self.later
        return self.later

    async def relist(self, kind: str) -> str:
        assert kind == THINGS.kind
        self.lists += 1
        if self.finds is not None:
            self._streams.owes(THINGS, self.finds)
        return "100"


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def streams(clock: Clock) -> Streams:
    found = Streams([THINGS], clock)
    found.told(THINGS, "7")
    return found


@pytest.fixture
def server(streams: Streams) -> Server:
    return Server(streams)


@pytest.fixture
def audit(streams: Streams, server: Server) -> Audit:
    return Audit(streams, server.peek, server.relist, patience=60)


async def test_nothing_is_asked_before_anything_is_known(server: Server) -> None:
    await Audit(Streams([THINGS]), server.peek, server.relist).look(THINGS)
    assert server.asked == []


async def test_nothing_new(audit: Audit, streams: Streams, server: Server) -> None:
    server.later = Later(as_of="30")
    await audit.look(THINGS)
    assert server.asked == ["7"]
    assert (streams.position(THINGS), streams.debt(THINGS), server.lists) == ("30", None, 0)


async def test_a_change_that_was_not_told(audit: Audit, streams: Streams, server: Server, clock: Clock) -> None:
    server.later = Later(changed="9", as_of="30")
    await audit.look(THINGS)
    assert streams.position(THINGS) == "7", "a bookmark says nothing of a stream that owes"
    assert audit.problem is None
    clock.ahead = 61
    assert audit.problem == "the watch of Thing does not bring what the API server has"
    streams.told(THINGS, "9")
    assert audit.problem is None


async def test_a_deletion_is_looked_up_and_is_no_debt(audit: Audit, streams: Streams, server: Server) -> None:
    server.later = Later(deleted=True)
    await audit.look(THINGS)
    assert (server.lists, streams.debt(THINGS), streams.position(THINGS)) == (1, None, "100")


async def test_a_change_and_a_deletion(audit: Audit, streams: Streams, server: Server) -> None:
    server.later = Later(changed="9", deleted=True)
    await audit.look(THINGS)
    assert server.lists == 1
    assert streams.debt(THINGS) is not None


async def test_an_object_that_was_owed_is_gone(audit: Audit, streams: Streams, server: Server, clock: Clock) -> None:
    server.later = Later(changed="9")
    await audit.look(THINGS)
    clock.ahead = 61
    server.later = Later(deleted=True)
    await audit.look(THINGS)
    assert audit.problem is None


@pytest.mark.parametrize(("finds", "position"), [(None, "100"), ("50", "7")])
async def test_a_version_that_is_too_old(
    audit: Audit, streams: Streams, server: Server, finds: str | None, position: str
) -> None:
    server.later, server.finds = Later(expired=True), finds
    await audit.look(THINGS)
    assert server.lists == 1
    assert streams.position(THINGS) == position
    assert (streams.debt(THINGS) is None) == (finds is None)


async def test_an_older_debt_outlives_an_expired_version(
    audit: Audit, streams: Streams, server: Server, clock: Clock
) -> None:
    streams.owes(THINGS, "9")
    clock.ahead = 61
    server.later = Later(expired=True)
    await audit.look(THINGS)
    assert audit.problem is not None


async def test_an_api_server_that_is_away_excuses(audit: Audit, server: Server, clock: Clock) -> None:
    server.later = Later(changed="9")
    await audit.look(THINGS)
    clock.ahead = 61
    server.later = ConnectionError("refused")
    await audit.look(THINGS)
    assert audit.problem is None
    clock.ahead = 122
    assert audit.problem is not None, "the debt stands"


async def test_it_looks_now_and_then_and_says_once_what_is_stuck(
    streams: Streams, server: Server, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    audit = Audit(streams, server.peek, server.relist, interval=0.02, patience=0.1)
    server.later = Later(changed="9")
    task = asyncio.create_task(audit.run())
    try:
        await eventually(lambda: "is stuck" in caplog.text)
        seen = len(server.asked)
        await eventually(lambda: len(server.asked) > seen + 3)
        assert caplog.text.count("is stuck") == 1
        assert audit.problem is not None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
