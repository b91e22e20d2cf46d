# ruff: noqa: SIM117 - nested, in the order in which they start
"""Results of tools that are answered from memory, and to whom."""

import asyncio
from typing import Any

import pytest
from fastmcp import FastMCP

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.cache import ResultCache, caller_of, key_of
from support.backends import ServedMCP, client, eventually
from support.gateway import make_config, running_gateway
from support.modern import ModernClient

ANN, BOB = Principal("ann"), Principal("bob")
KEYS = {"ann": "k-ann-0123456789abcdef", "bob": "k-bob-0123456789abcdef"}


def key(who: Principal | None = ANN, session: str | None = None, tool: str = "t", **arguments: Any) -> Any:
    return key_of(caller_of(who, session), "/mcp", "ns/a", tool, arguments)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Answers:
    """Answers with the number of the call; `gate` holds them up."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.more: dict[str, Any] = {}

    async def __call__(self) -> dict[str, Any]:
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        return {"content": [{"type": "text", "text": str(number)}], **self.more}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (key(a=1, b=2), key(b=2, a=1), True),
        (key(a={"x": 1, "y": [1, 2]}), key(a={"y": [1, 2], "x": 1}), True),
        (key(a=[1, 2]), key(a=[2, 1]), False),
        (key(a=1), key(a="1"), False),
        (key(a=2**70), key(a=2**70), True),
        (key(tool="t"), key(tool="u"), False),
        (key(ANN), key(BOB), False),
        (key(ANN), key(None), False),
        (key(Principal("anybody")), key(None), False),
        (key(ANN, "s1"), key(ANN, "s2"), True),
        (key(None, "s1"), key(None, "s2"), False),
        (key(None, "s1"), key(None), False),
        (key(None), key(None), True),
    ],
)
def test_which_calls_are_equal(one: Any, other: Any, equal: bool) -> None:
    assert (one == other) is equal


async def test_a_result_is_kept_for_its_time() -> None:
    clock, answers = Clock(), Answers()
    cache = ResultCache(clock=clock)
    first = await cache.get_or_call(key(), 10, answers)
    clock.now = 9.9
    assert await cache.get_or_call(key(), 10, answers) == first
    assert await cache.get_or_call(key(BOB), 10, answers) != first
    clock.now = 10.0
    assert await cache.get_or_call(key(), 10, answers) != first
    report = cache.report()
    assert (report.entries, report.hits, report.misses) == (2, 1, 3)


@pytest.mark.parametrize(
    "more", [{"isError": True}, {"resultType": "input_required"}, {"resultType": "task", "taskId": "1"}]
)
async def test_what_is_no_whole_success_is_not_kept(more: dict[str, Any]) -> None:
    cache, answers = ResultCache(), Answers()
    answers.more = more
    await cache.get_or_call(key(), 10, answers)
    await cache.get_or_call(key(), 10, answers)
    assert (answers.calls, cache.report().entries) == (2, 0)


async def test_errors_are_not_kept() -> None:
    cache, answers = ResultCache(), Answers()

    async def fail() -> dict[str, Any]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await cache.get_or_call(key(), 10, fail)
    assert await cache.get_or_call(key(), 10, answers)
    assert answers.calls == 1


async def test_equal_calls_at_once_are_one() -> None:
    cache, answers = ResultCache(), Answers()
    answers.gate.clear()
    asking = [asyncio.create_task(cache.get_or_call(key(), 10, answers)) for _ in range(5)]
    other = asyncio.create_task(cache.get_or_call(key(BOB), 10, answers))
    await eventually(lambda: answers.calls == 2)
    answers.gate.set()
    results = await asyncio.gather(*asking)
    assert answers.calls == 2
    assert all(result is results[0] for result in results)
    assert await other != results[0]


@pytest.mark.parametrize("how", ["cancelled", "error", "drop"])
async def test_when_the_first_of_equal_calls_gives_nothing_the_others_ask(how: str) -> None:
    cache, answers = ResultCache(), Answers()
    answers.gate.clear()
    answers.more = {"isError": True} if how == "error" else {}
    first = asyncio.create_task(cache.get_or_call(key(), 10, answers))
    await eventually(lambda: answers.calls == 1)
    others = [asyncio.create_task(cache.get_or_call(key(), 10, answers)) for _ in range(3)]
    await asyncio.sleep(0)
    if how == "cancelled":
        first.cancel()
    elif how == "drop":
        cache.drop({"ns/a"})
    else:
        answers.gate.set()
    answers.gate.set()
    results = await asyncio.gather(*others)
    assert answers.calls == 4
    assert len({result["content"][0]["text"] for result in results}) == 3
    await asyncio.wait([first])


async def test_bounds() -> None:
    cache, answers = ResultCache(max_entries=3, max_bytes=500, max_result=300), Answers()
    for number in range(5):
        await cache.get_or_call(key(n=number), 10, answers)
    assert cache.report().entries == 3
    await cache.get_or_call(key(n=2), 10, answers)  # used: now the newest
    await cache.get_or_call(key(n=9), 10, answers)
    calls = answers.calls
    await cache.get_or_call(key(n=2), 10, answers)
    assert answers.calls == calls
    answers.more = {"structuredContent": {"text": "x" * 200}}
    for number in range(10, 14):
        await cache.get_or_call(key(n=number), 10, answers)
        assert cache.report().size <= 500
    answers.more = {"structuredContent": {"text": "x" * 400}}
    before = cache.report()
    await cache.get_or_call(key(n=20), 10, answers)
    assert cache.report().entries == before.entries
    cache.drop({"ns/a"})
    assert (cache.report().entries, cache.report().size) == (0, 0)


async def test_only_the_dropped_server_is_forgotten() -> None:
    cache, answers = ResultCache(), Answers()
    other = key_of(caller_of(ANN, None), "/mcp", "ns/b", "t", {})
    await cache.get_or_call(key(), 10, answers)
    await cache.get_or_call(other, 10, answers)
    cache.drop({"ns/a", "ns/c"})
    await cache.get_or_call(other, 10, answers)
    assert answers.calls == 2
    await cache.get_or_call(key(), 10, answers)
    assert answers.calls == 3


class Counting:
    def __init__(self) -> None:
        self.mcp: FastMCP[Any] = FastMCP("counting")
        self.calls = 0
        for tool in (self.count, self.other, self.broken):
            self.mcp.tool(tool)

    async def count(self, a: int = 0, b: int = 0) -> int:
        assert a >= 0 <= b
        self.calls += 1
        return self.calls

    async def other(self) -> int:
        self.calls += 1
        return self.calls

    async def broken(self) -> str:
        self.calls += 1
        raise ValueError("no")


CACHED = {"tools": [{"name": "count", "cacheSeconds": 3600}, {"name": "broken", "cacheSeconds": 3600}]}


@pytest.mark.parametrize("back", ["legacy", "both"])
async def test_through_the_proxy_for_each_caller(back: str) -> None:
    counting = Counting()
    keys = [{"name": name, "secret": {"file": name}} for name in KEYS]
    async with ServedMCP(counting.mcp, era=back) as served:
        config = make_config({"c": served.url}, server=CACHED, auth={"apiKeys": keys})
        async with running_gateway(config, KEYS) as gateway:
            async with (
                ModernClient(gateway.url, key=KEYS["ann"]) as ann,
                ModernClient(gateway.url, key=KEYS["bob"]) as bob,
            ):
                assert (await ann.call("c_count", {"a": 1, "b": 2})).text == "1"
                assert (await ann.call("c_count", {"b": 2, "a": 1})).text == "1"
                assert (await bob.call("c_count", {"a": 1, "b": 2})).text == "2"
                assert (await ann.call("c_count", {"a": 2})).text == "3"
                assert [(await ann.call("c_other")).text for _ in range(2)] == ["4", "5"]
                assert [(await ann.call("c_broken")).text for _ in range(2)]
                assert counting.calls == 7
                async with client(gateway.url, "legacy", auth=KEYS["ann"]) as legacy:
                    assert (await legacy.call_tool("c_count", {"a": 1, "b": 2})).data == 1
            kept = gateway.proxy.cache.report()
            assert (kept.entries, kept.hits) == (3, 2)
            for name, value in {"entries": 3, "bytes": kept.size, "hits_total": 2, "misses_total": kept.misses}.items():
                assert await gateway.metric(f"mcp_proxy_result_cache_{name} ") == value > 0


async def test_sessions_without_a_name_do_not_share() -> None:
    counting = Counting()
    async with (
        ServedMCP(counting.mcp) as served,
        running_gateway(make_config({"c": served.url}, server=CACHED)) as gateway,
    ):
        async with client(gateway.url, "legacy") as one, client(gateway.url, "legacy") as two:
            assert [(await one.call_tool("c_count", {})).data for _ in range(2)] == [1, 1]
            assert (await two.call_tool("c_count", {})).data == 2


async def test_a_swap_that_changes_the_server_forgets() -> None:
    counting = Counting()
    async with (
        ServedMCP(counting.mcp) as served,
        running_gateway(make_config({"c": served.url}, server=CACHED)) as gateway,
    ):
        async with ModernClient(gateway.url) as modern:
            assert (await modern.call("c_count")).text == "1"
            same = make_config({"c": served.url}, server=CACHED, accessLog=False)
            assert await gateway.proxy.apply(same)
            assert (await modern.call("c_count")).text == "1"
            headers = [{"name": "X-New", "value": "1"}]
            assert await gateway.proxy.apply(make_config({"c": served.url}, server={**CACHED, "headers": headers}))
            assert (await modern.call("c_count")).text == "2"
            assert await gateway.proxy.apply(
                make_config({"c": f"{served.url}/"}, server={**CACHED, "headers": headers})
            )
            assert (await modern.call("c_count")).text in ("2", "3")
