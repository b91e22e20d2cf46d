"""Lists are decided in turns: the event loop goes on meanwhile, and a swap in between changes nothing of what was asked."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest
from fastmcp import FastMCP

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.authz import policy as module
from mcp_operator_proxy.authz.lists import PIECE, Recent
from mcp_operator_proxy.authz.policy import CedarPolicy
from mcp_operator_proxy.authz.settings import policy_of
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.table import RouteTable, build_table
from support.backends import ServedMCP
from support.gateway import make_config, running_gateway
from support.rawclient import raw_client

TOOLS = 1000
BY_NAME = """
permit(principal, action, resource) when { resource.name like "*7*" };
permit(principal, action, resource) when { resource.name == principal.own };
"""


def made(policies: str = BY_NAME, count: int = TOOLS) -> tuple[CedarPolicy, RouteTable]:
    config = ProxyConfig.model_validate(
        {
            "revision": "1",
            "servers": [{"id": "ns/s", "url": "http://127.0.0.1:1/mcp"}],
            "routes": [{"name": "McpRoute/ns/r", "path": "/mcp", "servers": [{"server": "ns/s", "prefix": "s"}]}],
            "authorization": {"policies": policies},
        }
    )
    policy = policy_of(config)
    assert isinstance(policy, CedarPolicy)
    return policy, build_table(config, {"ns/s": listed(count)})["/mcp"]


def listed(count: int) -> Catalogue:
    return Catalogue(tools=tuple({"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(count)))


def caller(number: int) -> Principal:
    return Principal(f"user{number}", "corp", {"own": f"t{number}"})


def expected(number: int, count: int = TOOLS) -> list[str]:
    return [f"s_t{n}" for n in range(count) if "7" in str(n) or n == number]


class Counting:
    """How often the event loop came round."""

    def __init__(self) -> None:
        self.rounds = 0

    async def __aenter__(self) -> "Counting":
        self._task = asyncio.create_task(self._count())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _count(self) -> None:
        while True:
            self.rounds += 1
            await asyncio.sleep(0)


async def test_the_loop_turns_while_a_thousand_tools_are_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, table = made()
    largest, real, at = 0, policy._policies.allowed, list[int]()

    def allowed(principal: Any, action: str, resources: Any, *rest: Any) -> list[bool]:
        nonlocal largest
        largest = max(largest, len(resources))
        at.append(counting.rounds)
        return real(principal, action, resources, *rest)

    monkeypatch.setattr(policy._policies, "allowed", allowed)
    monkeypatch.setattr("mcp_operator_proxy.swap.pace.TURN_SECONDS", 0.0)  # however fast the machine: a piece, a turn
    async with Counting() as counting:
        shown = await policy.shown(caller(1), table)
    assert list(shown.tools) == expected(1)
    assert largest == PIECE
    assert len(at) >= TOOLS / PIECE
    assert all(before < after for before, after in itertools.pairwise(at)), "pieces ran on without a turn"
    assert policy.visible(me := caller(1), table).tools == shown.tools
    assert policy.visible(me, table) is await policy.shown(me, table)


async def test_callers_at_once_get_their_own() -> None:
    policy, table = made(count=200)
    callers = [caller(n) for n in range(8)]
    found = await asyncio.gather(*(policy.shown(each, table) for each in callers for _ in range(2)))
    for number, each in enumerate(callers):
        assert found[2 * number] is found[2 * number + 1], "the same caller's list is decided once"
        assert list(found[2 * number].tools) == expected(number, 200), each


async def test_a_table_that_is_swapped_meanwhile_is_not_answered_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_operator_proxy.swap.pace.TURN_SECONDS", 0.0)
    policy, before = made(count=300)
    after = replace(before, tools=dict(list(before.tools.items())[:100]))
    me = caller(5)
    first = asyncio.create_task(policy.shown(me, before))
    await asyncio.sleep(0)
    second = asyncio.create_task(policy.shown(me, after))
    third = asyncio.create_task(policy.shown(me, before))
    assert list((await second).tools) == expected(5, 100)
    assert list((await first).tools) == list((await third).tools) == expected(5, 300)


async def test_who_gives_up_keeps_nobody_else_waiting() -> None:
    policy, table = made(count=200)
    me = caller(5)
    first = asyncio.create_task(policy.shown(me, table))
    second = asyncio.create_task(policy.shown(me, table))
    await asyncio.sleep(0)
    first.cancel()
    assert list((await second).tools) == expected(5, 200)


async def test_what_fails_is_tried_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, table = made(count=50)
    me = caller(5)

    def fail(*_: Any) -> list[bool]:
        raise ValueError("broken")

    with monkeypatch.context() as broken:
        broken.setattr(policy._policies, "allowed", fail)
        with pytest.raises(ValueError, match="broken"):
            await policy.shown(me, table)
    assert list((await policy.shown(me, table)).tools) == expected(5, 50)


async def test_lists_of_many_callers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHOWN", 500)
    policy, table = made(count=84)  # and what is kept of any table: 100
    callers = [caller(n) for n in range(12)]
    for number, each in enumerate(callers):
        assert list((await policy.shown(each, table)).tools) == expected(number, 84)
        assert len(policy._shown) <= 5
    assert len(policy._shown) == 5
    assert list(policy.visible(callers[0], table).tools) == expected(0, 84)


def test_what_was_asked_for_last_stays() -> None:
    recent: Recent[str, int] = Recent(10)
    for key, weight in (("a", 4), ("b", 4)):
        recent.put(key, weight, weight)
    assert recent.get("a") == 4
    recent.put("c", 2, 2)
    recent.put("d", 3, 3)
    assert [recent.get(key) for key in "abcd"] == [4, None, 2, 3]
    recent.put("d", 5, 1)
    recent.put("e", 3, 3)
    assert [recent.get(key) for key in "acde"] == [4, 2, 5, 3]
    recent.put("f", 99, 99)
    assert (len(recent), recent.get("f")) == (1, 99)


async def test_a_policy_that_a_swap_brings_counts_for_the_list_that_is_being_decided() -> None:
    """Nothing is shown by policies that are no longer in use when the list is answered."""
    keys = {"alice": "alice-key-0123456789"}
    auth = {"apiKeys": [{"name": "alice", "secret": {"file": "alice"}}]}
    open_to_all = {"policies": 'permit(principal, action, resource) when { resource.name like "*" };'}
    mcp: FastMCP[Any] = FastMCP("s")
    mcp.tool(lambda: 1, name="one")
    async with ServedMCP(mcp) as served:
        config = make_config({"s": served.url}, auth=auth, authorization=open_to_all)
        async with running_gateway(config, keys) as gateway:
            state = gateway.proxy.state
            assert state is not None
            closed = policy_of(
                config.model_copy(
                    update={"authorization": config.authorization.model_copy(update={"policies": "// none"})}  # type: ignore[union-attr]
                )
            )

            class Slow:
                """The policy of before, which takes until the swap."""

                async def shown(self, principal: Principal | None, table: RouteTable) -> RouteTable:
                    gateway.proxy.state = replace(state, policy=closed)
                    return await state.policy.shown(principal, table)

            gateway.proxy.state = replace(state, policy=Slow())  # type: ignore[arg-type]
            async with raw_client(gateway.url, "legacy", headers={"x-api-key": keys["alice"]}) as client:
                answer = await client.ask("tools/list", {})
                assert answer.message["result"]["tools"] == []
