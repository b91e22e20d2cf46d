"""Watching the replicas of a proxy: real proxies that swap, refuse, die and return, and how often they are asked."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mcp_operator.engine.backoff import Backoff
from mcp_operator.probe.replica import ReplicaState
from mcp_operator.probe.replicas import Pace, Replicas, ReplicaWatch, States
from mcp_operator.probe.status import ask_status
from mcp_operator_proxy.report import ErrorReport, StatusReport
from support.backends import ServedMCP, dead_port
from support.gateway import make_config, running_gateway
from support.waiting import Eventually
from unit.probe.servers import mcp_server

PACE = Pace(hold=20, interval=60, timeout=5, retry=Backoff(base=0.005, cap=0.02), misses=2)
IMPATIENT = replace(PACE, interval=0.02)


class Told:
    """What was told, and the newest of it by proxy."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, ReplicaState]]] = []

    def __call__(self, key: str, states: States) -> None:
        self.all.append((key, dict(states)))

    def states(self, key: str = "tools") -> list[str]:
        newest = next((states for told, states in reversed(self.all) if told == key), {})
        return [state.state for _, state in sorted(newest.items())]


@pytest.fixture
def told() -> Told:
    return Told()


@contextlib.asynccontextmanager
async def watching(told: Told, pace: Pace = PACE) -> AsyncIterator[Replicas[str]]:
    async with Replicas(told, pace=pace) as replicas:
        yield replicas


async def test_every_replica_is_watched_until_it_runs_the_revision(told: Told, eventually: Eventually) -> None:
    a1, b1 = (make_config({}, revision=revision) for revision in ("a1", "b1"))
    async with running_gateway(a1) as one, running_gateway(a1) as two, watching(told) as replicas:
        pods = {"one": one.base, "two": two.base}
        replicas.watch("tools", "a1", pods)
        assert {state.state for state in replicas.states("tools").values()} == {"unknown"}
        await eventually(lambda: told.states() == ["running", "running"])

        replicas.watch("tools", "b1", pods)
        assert {state.state for state in replicas.states("tools").values()} == {"pending"}
        await one.proxy.apply(b1)
        await eventually(lambda: told.states() == ["running", "pending"])
        await two.proxy.apply(b1)
        await eventually(lambda: told.states() == ["running", "running"])

        newest = replicas.states("tools")
        assert {state.revision for state in newest.values()} == {"b1"}
        assert all(state.seconds is not None and state.seconds > 0 for state in newest.values())
        assert newest["one"].routes[0].path == "/mcp"

        count = len(told.all)
        replicas.watch("tools", "b1", dict(pods))
        assert replicas.states("tools") == newest
        assert len(told.all) == count


async def test_a_refused_revision(told: Told, eventually: Eventually) -> None:
    async with running_gateway(make_config({}, revision="a1")) as gateway, watching(told) as replicas:
        replicas.watch("tools", "bad", {"pod": gateway.base})
        await eventually(lambda: told.states() == ["pending"])
        gateway.proxy.reject("bad", "servers[0].url: no scheme")
        await eventually(lambda: told.states() == ["rejected"])
        state = replicas.states("tools")["pod"]
        assert (state.revision, state.rejected, state.seconds) == ("a1", "servers[0].url: no scheme", None)

        await gateway.proxy.apply(make_config({}, revision="bad"))
        await eventually(lambda: told.states() == ["running"])
        assert replicas.states("tools")["pod"].rejected is None


async def test_an_unreadable_config_is_told_while_asking_goes_on(told: Told, eventually: Eventually) -> None:
    async with running_gateway(make_config({}, revision="a1")) as gateway, watching(told) as replicas:
        gateway.proxy.reject(None, "config.json: not JSON")
        replicas.watch("tools", "b1", {"pod": gateway.base})
        await eventually(lambda: told.states() == ["rejected"])
        await gateway.proxy.apply(make_config({}, revision="b1"))
        await eventually(lambda: told.states() == ["running"])


async def test_pods_come_die_and_go(told: Told, eventually: Eventually) -> None:
    a1 = make_config({}, revision="a1")
    nowhere = f"http://127.0.0.1:{dead_port()}"
    async with watching(told, IMPATIENT) as replicas:
        async with running_gateway(a1) as gateway:
            replicas.watch("tools", "a1", {"gone": nowhere, "here": gateway.base})
            await eventually(lambda: told.states() == ["unreachable", "running"])
            gone = replicas.states("tools")["gone"]
            assert (gone.error.error_class if gone.error else None, gone.revision) == ("ConnectionRefused", None)

            replicas.watch("tools", "a1", {"here": gateway.base})
            assert list(replicas.states("tools")) == ["here"]
        await eventually(lambda: told.states() == ["unreachable"])

        async with running_gateway(a1) as again:
            replicas.watch("tools", "a1", {"here": again.base})
            assert replicas.states("tools")["here"].state == "unknown", "at another address it is another pod"
            await eventually(lambda: told.states() == ["running"])
        replicas.watch("tools", "a1", {})
        assert replicas.states("tools") == {}


async def test_a_server_behind_the_proxy_that_dies_is_told(told: Told, eventually: Eventually) -> None:
    async with ServedMCP(mcp_server(2)) as server:
        config = make_config({"weather": server.url}, revision="a1", server={"refresh_seconds": 0.05})
        async with running_gateway(config) as gateway, watching(told, IMPATIENT) as replicas:

            def server_state() -> str:
                state = replicas.states("tools")["pod"]
                return state.servers[0].state if state.servers else ""

            replicas.watch("tools", "a1", {"pod": gateway.base})
            await eventually(lambda: server_state() == "ready")
            state = replicas.states("tools")["pod"]
            assert state.routes[0].tools == ("weather_measure_0", "weather_measure_1")
            assert state.servers[0].checked_at is None
            await server.stop()
            await eventually(lambda: server_state() == "error")
            assert told.all[-1][1]["pod"].servers[0].state == "error"


async def test_a_world_that_stands_still_is_told_once(told: Told, eventually: Eventually) -> None:
    asked = 0

    async def counting(url: str, **how: Any) -> StatusReport | ErrorReport:
        nonlocal asked
        asked += 1
        return await ask_status(url, **how)

    async with running_gateway(make_config({}, revision="a1")) as gateway:
        watch = ReplicaWatch("tools", told, ask=counting, pace=replace(PACE, interval=0.005))
        watch.want("a1", {"pod": gateway.base})
        await eventually(lambda: asked > 5)
        await watch.aclose()
    assert len(told.all) == 1


def report(revision: str) -> StatusReport:
    return StatusReport(version="1", revision=revision, started_at=datetime.now(UTC))


class Held:
    """A replica that runs `z0`: it answers at once what is not to be held, and holds the rest for ever."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.cancelled: list[str | None] = []
        self.busy = 0
        self.most = 0

    async def __call__(self, url: str, *, wait: str | None, **_: float) -> StatusReport | ErrorReport:
        if wait is None:
            return report("z0")
        self.asked.append((url, wait))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(wait)
            raise
        finally:
            self.busy -= 1
        raise AssertionError


async def test_a_new_revision_interrupts_the_question_for_the_old(told: Told, eventually: Eventually) -> None:
    ask = Held()
    watch = ReplicaWatch("tools", told, ask=ask, pace=PACE)
    watch.want("a1", {"pod": "http://pod"})
    await eventually(lambda: ask.asked == [("http://pod", "a1")])
    watch.want("b1", {"pod": "http://pod"})
    await eventually(lambda: ask.asked[1:] == [("http://pod", "b1")])
    assert ask.cancelled == ["a1"]
    await watch.aclose()
    assert ask.cancelled == ["a1", "b1"]


async def test_questions_are_bounded(told: Told, eventually: Eventually) -> None:
    ask, room = Held(), asyncio.Semaphore(3)
    watches = [ReplicaWatch(key, told, ask=ask, pace=PACE, room=room) for key in ("a", "b")]
    for watch in watches:
        watch.want("a1", {f"pod{number}": f"http://{number}" for number in range(5)})
    await eventually(lambda: ask.busy == 3)
    watches[0].want("a1", {})
    await eventually(
        lambda: {url for url, _ in ask.asked} == {f"http://{number}" for number in range(3)} and ask.busy == 3
    )
    assert ask.most == 3
    for watch in watches:
        await watch.aclose()
    assert ask.busy == 0


async def test_a_replica_that_does_not_hold_its_answer_is_not_asked_without_pause(
    told: Told, eventually: Eventually
) -> None:
    """Each pause is longer than the one before: with a cap of an hour, ten questions never come."""
    loop, times = asyncio.get_running_loop(), []

    async def hasty(_url: str, **_: Any) -> StatusReport | ErrorReport:
        times.append(loop.time())
        return report("a1")

    watch = ReplicaWatch("tools", told, ask=hasty, pace=replace(PACE, retry=Backoff(base=0.01, cap=3600, jitter=0)))
    watch.want("b1", {"pod": "http://pod"})
    await eventually(lambda: len(times) == 6)
    await watch.aclose()
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(pause >= 0.01 * 2**number * 0.99 for number, pause in enumerate(pauses[2:], 1))
    assert len(told.all) == 1


async def test_a_listener_that_fails_does_not_end_the_watch(eventually: Eventually) -> None:
    calls: list[Any] = []

    def failing(_key: str, states: States) -> None:
        calls.append(states)
        raise RuntimeError("boom")

    async with (
        running_gateway(make_config({}, revision="a1")) as gateway,
        Replicas(failing, pace=IMPATIENT) as replicas,
    ):
        replicas.watch("tools", "b1", {"pod": gateway.base})
        await eventually(lambda: calls)
        await gateway.proxy.apply(make_config({}, revision="b1"))
        await eventually(lambda: len(calls) == 2)


async def test_what_is_forgotten_is_asked_no_more(told: Told, eventually: Eventually) -> None:
    async with running_gateway(make_config({}, revision="a1")) as gateway, watching(told, IMPATIENT) as replicas:
        for key in ("tools", "more"):
            replicas.watch(key, "a1", {"pod": gateway.base})
        await eventually(lambda: told.states("tools") == told.states("more") == ["running"])
        replicas.forget("more")
        replicas.forget("never known")
        assert replicas.states("more") == {}
        told.all.clear()
        gateway.proxy.reject("a1", "its secret is gone")
        await eventually(lambda: told.states("tools") == ["rejected"])
        assert {key for key, _ in told.all} == {"tools"}
