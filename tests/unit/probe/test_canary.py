"""Canary calls through a real proxy to real servers of both eras.

passing · each way to fail, in its words · a server that is discovered and whose tool does not work · a proxy that is gone,
that does not answer, that wants a key · secrets · a tool that asks
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError

from mcp_operator.probe.canary import CanaryCall, CanaryResult, call
from mcp_operator.probe.expectation import Expectation
from mcp_operator.probe.mcp import probe
from mcp_operator.probe.target import Target
from support.backends import HungServer, ServedMCP, dead_port
from support.gateway import Gateway, make_config, running_gateway

KEY = "an-operators-own-key-0123456789"


def _server() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("demo", version="1")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    @mcp.tool
    def login(password: str) -> str:
        raise ToolError(f"the upstream refused {password} with Authorization: Bearer abcdef123456")

    @mcp.tool
    def silent() -> None:
        return None

    @mcp.tool
    async def forever() -> str:
        await asyncio.Event().wait()
        return "never"

    @mcp.tool
    async def ask(context: Context) -> str:
        answer = await context.elicit("How many?", response_type=int)
        return str(answer)

    return mcp


@pytest.fixture(params=["legacy", "modern", "both"])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    async with (
        ServedMCP(_server(), era=request.param) as served,
        running_gateway(make_config({"demo": served.url})) as running,
    ):
        yield running


async def _called(gateway: Gateway, tool: str, expect: Expectation | None = None, **more: Any) -> CanaryResult:
    target = Target(
        url=gateway.url, transport="streamable-http", timeout=more.pop("timeout", 60.0), headers=more.pop("headers", {})
    )
    secrets = more.pop("secrets", ())
    return await call(
        CanaryCall(target=target, tool=tool, arguments=more, expect=expect or Expectation(), secrets=secrets)
    )


async def test_passing(gateway: Gateway) -> None:
    expect = Expectation(contains="3", matches="^3$", structured={"result": 3})
    found = await _called(gateway, "demo_add", expect, a=1, b=2)
    assert (found.outcome, found.message) == ("CallPassed", "")
    assert found.passed
    assert found.seconds > 0


async def test_ways_to_fail(gateway: Gateway) -> None:
    unexpected = await _called(gateway, "demo_add", Expectation(contains="5"), a=1, b=2)
    assert (unexpected.outcome, unexpected.message) == (
        "UnexpectedAnswer",
        "the answer's text does not contain what expect.contains says",
    )
    nothing = await _called(gateway, "demo_silent", Expectation(contains="5"))
    assert (nothing.outcome, nothing.message) == ("UnexpectedAnswer", "the answer has no text")
    absent = await _called(gateway, "demo_none")
    assert absent.outcome == "CallFailed"
    assert "demo_none" in absent.message
    wrong = await _called(gateway, "demo_add", a="one")
    assert wrong.outcome == "CallFailed"
    assert "error" in wrong.message


async def test_no_secret_comes_out_of_a_failure(gateway: Gateway) -> None:
    found = await _called(gateway, "demo_login", password="hunter2", secrets=("hunter2",))
    assert found.outcome == "CallFailed"
    assert found.message.startswith("the tool answered with an error: ")
    assert "hunter2" not in found.message
    assert "abcdef123456" not in found.message
    assert "hunter2" not in repr(CanaryCall(target=Target(url="http://a"), tool="t", secrets=("hunter2",)))


async def test_nobody_answers_what_a_tool_asks(gateway: Gateway) -> None:
    found = await _called(gateway, "demo_ask")
    assert found.outcome == "CallFailed", found


async def test_a_tool_that_does_not_end(gateway: Gateway) -> None:
    found = await _called(gateway, "demo_forever", timeout=0.5)
    assert found.outcome == "Timeout"
    assert found.seconds < 60


async def test_a_listing_proves_less_than_a_call() -> None:
    """The backend is discovered, and every probe of it goes well; its tool does not work."""
    mcp: FastMCP[Any] = FastMCP("broken")

    @mcp.tool
    def query() -> str:
        raise ToolError("the database is away")

    async with ServedMCP(mcp) as served, running_gateway(make_config({"b": served.url})) as gateway:
        assert (await probe(Target(url=served.url))).ok
        found = await _called(gateway, "b_query")
    assert (found.outcome, found.message) == ("CallFailed", "the tool answered with an error: the database is away")


async def test_a_backend_that_is_gone() -> None:
    async with ServedMCP(_server()) as served, running_gateway(make_config({"demo": served.url})) as gateway:
        await served.stop()
        found = await _called(gateway, "demo_add", a=1, b=2)
        assert not found.passed
        assert "127.0.0.1" not in found.message


async def test_a_proxy_that_is_gone_or_hangs() -> None:
    gone = await call(CanaryCall(target=Target(url=f"http://127.0.0.1:{dead_port()}/mcp", timeout=5), tool="t"))
    assert gone.outcome == "ConnectionRefused"
    async with HungServer() as hung:
        silent = await call(CanaryCall(target=Target(url=hung.url, timeout=0.4), tool="t"))
    assert silent.outcome == "Timeout"


async def test_a_proxy_that_wants_a_key() -> None:
    """The operator has no way around a proxy's authentication: it shows a key of its own, or is refused."""
    auth = {"apiKeys": [{"name": "mcp-operator", "secret": {"file": "operator-key"}}]}
    async with ServedMCP(_server()) as served:
        config = make_config({"demo": served.url}, auth=auth)
        async with running_gateway(config, {"operator-key": KEY}) as gateway:
            refused = await _called(gateway, "demo_add", a=1, b=2)
            assert refused.outcome == "Unauthorized"
            admitted = await _called(gateway, "demo_add", a=1, b=2, headers={"Authorization": f"Bearer {KEY}"})
            assert admitted.passed, admitted
