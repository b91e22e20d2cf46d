# ruff: noqa: SIM117 - nested, in the order in which they start
"""Through a whole proxy: limits, deadlines, the circuit breaker and repeated calls, each in both protocol eras."""

import asyncio
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from mcp.shared.exceptions import MCPError

from support.backends import HungServer, ServedMCP, client, eventually
from support.gateway import Gateway, make_config, running_gateway

FRONTS = ["legacy", "auto"]
PAIRS = [("legacy", "legacy"), ("auto", "both")]
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


class Counting:
    """A server whose tools wait until they are let go, and count how often they ran."""

    def __init__(self) -> None:
        self.mcp: FastMCP[Any] = FastMCP("counting")
        self.ran: dict[str, int] = {"hold": 0, "peek": 0, "quick": 0}
        self.running = self.most = 0
        self.let_go = asyncio.Event()
        self.mcp.tool(self.hold)
        self.mcp.tool(self.peek, annotations={"readOnlyHint": True})
        self.mcp.tool(self.quick)

    async def hold(self) -> str:
        return await self._wait("hold")

    async def peek(self) -> str:
        return await self._wait("peek")

    async def quick(self) -> int:
        self.ran["quick"] += 1
        return self.ran["quick"]

    async def _wait(self, name: str) -> str:
        self.ran[name] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.let_go.wait()
        finally:
            self.running -= 1
        return name


def error_data(error: BaseException) -> Any:
    assert isinstance(error, MCPError), error
    return error.data


def report(running: Gateway, name: str = "c") -> Any:
    return next(r for r in running.proxy.status().servers if r.id == f"ns/{name}")


@pytest.mark.parametrize("front", FRONTS)
async def test_no_more_calls_than_allowed_and_all_get_their_turn(front: str) -> None:
    counting = Counting()
    async with ServedMCP(counting.mcp) as served:
        async with running_gateway(make_config({"c": served.url}, server={"maxConcurrency": 3})) as running:
            async with client(running.url, front) as through:
                calls = [asyncio.create_task(through.call_tool("c_hold", {})) for _ in range(10)]
                waiting = 'mcp_proxy_backend_calls_waiting{server="ns/c"}'

                async def seven_wait() -> bool:
                    return await running.metric(waiting) == 7

                await eventually(seven_wait)
                await eventually(lambda: counting.running == 3)
                assert await running.metric('mcp_proxy_backend_calls_in_flight{server="ns/c"}') == 3
                counting.let_go.set()
                assert {result.data for result in await asyncio.gather(*calls)} == {"hold"}
                assert (counting.ran["hold"], counting.most) == (10, 3)


@pytest.mark.parametrize("front", FRONTS)
async def test_a_tools_own_deadline_and_a_full_server(front: str) -> None:
    counting = Counting()
    config = {"maxConcurrency": 1, "tools": [{"name": "ho*", "callTimeoutSeconds": 60},
                                             {"name": "quick", "callTimeoutSeconds": 0.2}]}  # fmt: skip
    async with ServedMCP(counting.mcp) as served:
        async with running_gateway(make_config({"c": served.url}, server=config)) as running:
            async with client(running.url, front) as through:
                holding = asyncio.create_task(through.call_tool("c_hold", {}))
                await eventually(lambda: counting.running == 1)
                with pytest.raises(MCPError) as caught:
                    await through.call_tool("c_quick", {})
                assert error_data(caught.value) == {"server": "ns/c", "errorClass": "Overloaded", "executed": False}
                assert not holding.done()
                counting.let_go.set()
                assert (await holding).data == "hold"
                assert counting.ran == {"hold": 1, "peek": 0, "quick": 0}
                assert (await through.call_tool("c_hold", {})).data == "hold", "its place is free again"


@pytest.mark.parametrize(("front", "back"), PAIRS)
async def test_the_circuit_opens_for_one_server_and_a_trial_closes_it(front: str, back: str) -> None:
    counting, other = Counting(), Counting()
    config = {
        "circuitBreaker": {"failures": 2, "openSeconds": 3600},
        "tools": [{"name": "hold", "callTimeoutSeconds": 0.1}],
    }
    async with ServedMCP(counting.mcp, era=back) as served, ServedMCP(other.mcp) as alive:
        urls = {"c": served.url, "alive": alive.url}
        async with running_gateway(make_config(urls, server=config)) as running:
            async with client(running.url, front) as through:
                for _ in range(2):
                    with pytest.raises(MCPError) as caught:
                        await through.call_tool("c_hold", {})
                    assert error_data(caught.value)["errorClass"] == "Timeout"
                assert report(running).circuit == "open"
                assert report(running, "alive").circuit == "closed"
                with pytest.raises(MCPError, match="did not answer the last 2 calls") as caught:
                    await through.call_tool("c_quick", {})
                assert error_data(caught.value) == {"server": "ns/c", "errorClass": "CircuitOpen", "executed": False}
                assert counting.ran["quick"] == 0
                assert await running.metric('mcp_proxy_backend_circuit_state{server="ns/c",state="open"}') == 1
                assert await running.metric('mcp_proxy_backend_circuit_opened_total{server="ns/c"}') == 1
                assert (await through.call_tool("alive_quick", {})).data == 1
                assert len(await through.list_tools()) == 6
                # Another configuration with a shorter time: the circuit's time is over, and the next call tries.
                shorter = {**config, "circuitBreaker": {"failures": 2, "openSeconds": 0.01}}
                await running.proxy.apply(make_config(urls, server=shorter))
                await eventually(
                    lambda: running.proxy.state.backends["ns/c"].gate._until < asyncio.get_running_loop().time()
                )
                assert (await through.call_tool("c_quick", {})).data == 1
                assert report(running).circuit == "closed"


async def test_a_server_that_comes_back_is_tried_before_the_circuits_time() -> None:
    counting = Counting()
    config = {"circuitBreaker": {"failures": 1, "openSeconds": 3600}, "retry": {"attempts": 20, "backoffSeconds": 0.05}}
    async with ServedMCP(counting.mcp) as served:
        async with running_gateway(make_config({"c": served.url}, server=config)) as running:
            async with client(running.url) as through:
                await served.stop()
                with pytest.raises(MCPError) as caught:
                    await through.call_tool("c_quick", {})
                assert error_data(caught.value)["errorClass"] == "ConnectionRefused"
                await eventually(lambda: report(running).phase == "error")
                assert report(running).circuit == "open"
                await served.start()
                await eventually(lambda: report(running).phase == "initialized")
                assert (await through.call_tool("c_quick", {})).data == 1


@pytest.mark.parametrize(("front", "back"), PAIRS)
@pytest.mark.parametrize(
    ("tool", "setting", "repeated"),
    [("hold", None, False), ("hold", True, True), ("peek", None, True), ("peek", False, False)],
)
async def test_a_call_whose_connection_breaks(
    tool: str, setting: bool | None, repeated: bool, front: str, back: str
) -> None:
    counting = Counting()
    config = {"tools": [{"name": tool, "idempotent": setting}]} if setting is not None else {}
    async with ServedMCP(counting.mcp, era=back) as served:
        async with running_gateway(make_config({"c": served.url}, server=config)) as running:
            async with client(running.url, front) as through:
                calling = asyncio.create_task(through.call_tool(f"c_{tool}", {}))
                await eventually(lambda: counting.ran[tool] == 1)
                served.cut()
                if repeated:
                    await eventually(lambda: counting.ran[tool] == 2)
                    counting.let_go.set()
                    assert (await calling).data == tool
                else:
                    with pytest.raises(MCPError) as caught:
                        await calling
                    assert error_data(caught.value) == {"server": "ns/c", "errorClass": "ConnectionReset"}
                    assert counting.ran[tool] == 1
                    counting.let_go.set()


async def lists(through: Client[Any], tools: int) -> bool:
    return len(await through.list_tools()) == tools


@pytest.mark.parametrize("front", FRONTS)
async def test_while_a_call_hangs_nothing_else_waits(front: str) -> None:
    counting, other = Counting(), Counting()
    async with HungServer() as hung, ServedMCP(counting.mcp) as served, ServedMCP(other.mcp) as alive:
        urls = {"c": served.url, "alive": alive.url, "hung": hung.url}
        config = make_config(urls, server={"connectTimeoutSeconds": 60, "callTimeoutSeconds": 60})
        async with running_gateway(config, warm_seconds=0.01) as running:
            # From the first moment: a server that never says a word is being connected to all the while.
            async with client(running.url, front) as through:
                assert report(running, "hung").phase == "pending"
                await eventually(lambda: report(running).phase == report(running, "alive").phase == "initialized")
                await eventually(lambda: lists(through, 6))
                hanging = asyncio.create_task(through.call_tool("c_hold", {}))
                await eventually(lambda: counting.running == 1)
                async with client(running.url, "legacy") as legacy, client(running.url, "auto") as modern:
                    for fresh in (legacy, modern):
                        assert len(await fresh.list_tools()) == 6
                        assert (await fresh.call_tool("alive_quick", {})).data
                        assert (await fresh.call_tool("c_quick", {})).data
                    await legacy.set_logging_level("debug")
                assert (await through.call_tool("alive_quick", {})).data == 3
                await running.proxy.apply(make_config({"c": served.url, "alive": alive.url}))
                assert not hanging.done()
                counting.let_go.set()
                assert (await hanging).data == "hold"


async def test_calls_of_one_client_wait_for_one_attempt_to_connect_together() -> None:
    counting = Counting()
    config = {"circuitBreaker": {"failures": 100}}
    async with ServedMCP(counting.mcp, era="legacy") as served:
        urls = {"c": served.url}
        async with running_gateway(make_config(urls, server=config)) as running:
            async with client(running.url, "legacy") as through:
                await running.proxy.apply(make_config(urls, server={**config, "connectTimeoutSeconds": 0.5}))
                await served.stop()
                backend = running.proxy.state.backends["ns/c"]  # type: ignore[union-attr]
                opened, session = [], backend.session

                def counted(*args: Any, **options: Any) -> Any:
                    opened.append(args)
                    return session(*args, **options)

                backend.session = counted  # type: ignore[method-assign]
                async with HungServer(served.port):
                    calls = (through.call_tool("c_quick", {}) for _ in range(8))
                    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [error_data(error)["errorClass"] for error in outcomes if isinstance(error, MCPError)] == ["Timeout"] * 8
    assert len(opened) < 4, "one attempt serves all that wait for it; stragglers may need another"
