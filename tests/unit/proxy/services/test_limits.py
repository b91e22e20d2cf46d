# ruff: noqa: SIM117 - nested, in the order in which they start
"""Rate limits: windows that move, in the lane and beside it, in one process and among replicas."""

from itertools import pairwise
from typing import Any

import pytest
from fastmcp import FastMCP
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import RateLimit
from mcp_operator_proxy.refusals import RATE_LIMITED
from mcp_operator_proxy.services import limits as module
from mcp_operator_proxy.services.windows import SWEEP_EVERY, Call, Limited, Window, Windows
from support.backends import ServedMCP, client
from support.gateway import make_config, running_gateway
from support.stores import Redis, running_redis

FRONTS = ["legacy", "auto"]
ALICE, BOB = Principal("alice"), Principal("bob")


@given(
    st.integers(1, 6),
    st.lists(st.floats(0, 4, allow_nan=False), min_size=1, max_size=60),
)
def test_no_window_ever_holds_more_than_its_limit(amount: int, pauses: list[float]) -> None:
    window, now, made, refused = Window(amount, 10.0), 0.0, [], []
    for pause in pauses:
        now += pause
        if seconds := window.full_for(now):
            refused.append((now, seconds))
        else:
            window.add(now)
            made.append(now)
    for first in range(len(made) - amount):
        assert made[first + amount] - made[first] >= 10.0 - 1e-6
    for at, seconds in refused:
        assert len([m for m in made if at - 10.0 < m <= at]) >= amount, "only a full window refuses"
        assert 0 < seconds <= 10.0


def test_a_large_limit_is_as_exact_and_costs_no_more_memory() -> None:
    window, made = Window(5000, 60.0), []
    for step in range(20_000):
        now = step * 0.005
        if not window.full_for(now):
            window.add(now)
            made.append(now)
    assert all(later - earlier >= 59.999 for earlier, later in zip(made, made[5000:], strict=False))
    assert 9_900 <= len(made) <= 10_000, "two windows begin in these 100 seconds"
    assert all(one <= other for one, other in pairwise(made))


def test_a_call_that_was_none_leaves_room() -> None:
    window = Window(1, 10.0)
    window.add(1.0)
    assert window.full_for(2.0) == pytest.approx(9.0)
    window.take_back()
    assert window.full_for(2.0) == 0


def limit(text: str, **more: Any) -> RateLimit:
    return RateLimit.model_validate({"name": more.pop("name", "l"), "limit": text, **more})


def call(principal: Principal | None = ALICE, tool: str = "t", server: str = "ns/s", route: str = "/mcp") -> Call:
    return Call(principal, tool, server, route)


@pytest.mark.parametrize(
    ("per", "other", "apart"),
    [
        (["caller"], call(BOB), True),
        (["caller"], call(Principal("alice", "idp")), True),
        (["caller"], call(None), True),
        (["caller"], call(tool="u", server="ns/o", route="/o"), False),
        (["tool"], call(BOB, route="/o"), False),
        (["tool"], call(tool="u"), True),
        (["tool"], call(server="ns/o"), True),
        (["server"], call(BOB, tool="u"), False),
        (["server"], call(server="ns/o"), True),
        (["route"], call(BOB, "u", "ns/o"), False),
        (["route"], call(route="/o"), True),
        ([], call(BOB, "u", "ns/o", "/o"), False),
        (["caller", "tool"], call(BOB), True),
    ],
)
def test_what_is_counted_apart(per: list[str], other: Call, apart: bool) -> None:
    windows = Windows((limit("1/hour", per=per),), lambda: 0.0)
    first = windows.room(call())
    assert isinstance(first, list)
    windows.add(first)
    assert isinstance(windows.room(call()), Limited)
    assert isinstance(windows.room(other), list) == apart


def test_globs_say_for_which_calls_a_limit_holds() -> None:
    windows = Windows((limit("1/hour", tools="delete_*", servers="prod/*"),))
    assert windows.matching(call(tool="delete_all", server="prod/db"))
    assert not windows.matching(call(tool="read", server="prod/db"))
    assert not windows.matching(call(tool="delete_all", server="dev/db"))


def test_all_limits_hold_and_one_that_refuses_counts_nowhere() -> None:
    now = [0.0]
    windows = Windows((limit("9/hour", name="wide"), limit("1/minute", name="narrow")), lambda: now[0])
    for number in range(9):
        found = windows.room(call())
        assert isinstance(found, list)
        windows.add(found)
        assert isinstance(refused := windows.room(call()), Limited)
        assert (refused.limit, refused.retry_after) == (("narrow", 60) if number < 8 else ("wide", 3120))
        now[0] += 60
    assert isinstance(last := windows.room(call()), Limited)
    assert last.limit == "wide"


def test_windows_of_callers_who_have_left_are_forgotten() -> None:
    now = [0.0]
    windows = Windows((limit("5/minute"),), lambda: now[0])
    for number in range(SWEEP_EVERY * 3):
        now[0] += 1
        found = windows.room(call(Principal(f"c{number}")))
        assert isinstance(found, list)
        windows.add(found)
    assert len(windows) <= SWEEP_EVERY + 61


def tools() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("t")

    @mcp.tool
    def ping() -> str:
        return "pong"

    @mcp.tool
    def free() -> str:
        return "free"

    return mcp


def limited(text: str = "3/hour", **more: Any) -> list[dict[str, Any]]:
    return [{"name": "pings", "limit": text, "tools": "ping", **more}]


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("lane", [True, False])
async def test_a_call_too_many_is_refused_with_the_time_to_wait(front: str, lane: bool) -> None:
    async with ServedMCP(tools()) as served:
        async with running_gateway(make_config({"a": served.url}, rateLimits=limited())) as running:
            running.proxy.lane.enabled = lane
            async with client(running.url, front) as through:
                for _ in range(3):
                    assert (await through.call_tool("a_ping", {})).data == "pong"
                before = served.methods.count("tools/call")
                for _ in range(2):
                    with pytest.raises(MCPError) as caught:
                        await through.call_tool("a_ping", {})
                    error = caught.value
                    assert error.code == RATE_LIMITED
                    assert error.data["limit"] == "pings"
                    assert 3500 < error.data["retryAfter"] <= 3600
                    assert error.data["executed"] is False
                assert served.methods.count("tools/call") == before
                assert (await through.call_tool("a_free", {})).data == "free"
                assert await running.metric('mcp_proxy_rate_limited_total{limit="pings"}') == 2
            # A configuration that says the same of limits goes on counting; another one begins anew.
            await running.proxy.apply(make_config({"a": served.url}, rateLimits=limited(), accessLog=False))
            async with client(running.url, front) as through:
                with pytest.raises(MCPError):
                    await through.call_tool("a_ping", {})
                await running.proxy.apply(make_config({"a": served.url}, rateLimits=limited("4/hour")))
                assert (await through.call_tool("a_ping", {})).data == "pong"


async def test_callers_are_counted_apart() -> None:
    secrets = {"a": "a" * 20, "b": "b" * 20}
    auth = {"apiKeys": [{"name": name, "secret": {"file": name}} for name in secrets]}
    async with ServedMCP(tools()) as served:
        config = make_config({"a": served.url}, rateLimits=limited("1/hour"), auth=auth)
        async with running_gateway(config, secrets) as running:
            for key in secrets.values():
                async with client(running.url, auth=key) as through:
                    assert (await through.call_tool("a_ping", {})).data == "pong"
                    with pytest.raises(MCPError):
                        await through.call_tool("a_ping", {})


def stored() -> dict[str, Any]:
    return {"stores": {"redis": {"file": "redis"}, "encryptionKeys": [{"file": "key"}]}}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is there is not taken for one that is away, however busy the machine is."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 60.0)


@pytest.mark.usefixtures("patient")
async def test_replicas_count_together(redis_server: Redis) -> None:
    secrets = {"redis": redis_server.url, "key": "k" * 40}
    async with ServedMCP(tools()) as served:
        config = make_config({"a": served.url}, rateLimits=limited(), **stored())
        async with running_gateway(config, secrets) as one, running_gateway(config, secrets) as other:
            async with client(one.url) as first, client(other.url) as second:
                for through in (first, second, first):
                    assert (await through.call_tool("a_ping", {})).data == "pong"
                for through in (first, second):
                    with pytest.raises(MCPError) as caught:
                        await through.call_tool("a_ping", {})
                    assert 3500 < caught.value.data["retryAfter"] <= 3600
                    assert (await through.call_tool("a_free", {})).data == "free"


@pytest.mark.usefixtures("patient")
async def test_without_redis_each_process_counts_for_itself_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with running_redis() as server:
        secrets = {"redis": server.url, "key": "k" * 40}
        async with ServedMCP(tools()) as served:
            config = make_config({"a": served.url}, rateLimits=limited("2/hour"), **stored())
            async with running_gateway(config, secrets) as running, client(running.url) as through:
                assert (await through.call_tool("a_ping", {})).data == "pong"
                server.process.terminate()
                server.process.wait(20)
                for _ in range(2):
                    assert (await through.call_tool("a_ping", {})).data == "pong"
                with pytest.raises(MCPError):
                    await through.call_tool("a_ping", {})
                assert await running.metric("mcp_proxy_rate_limits_unshared_total") == 3
    assert [r.getMessage() for r in caplog.records].count(
        "rate limits are counted in this process alone, as Redis is away"
    ) == 1
