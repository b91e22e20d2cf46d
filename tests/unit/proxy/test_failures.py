# ruff: noqa: SIM117 - nested, in the order in which they start
"""Backends that die, return, hang, lie or stall: only their own calls suffer, and everybody is told the truth."""

import asyncio
from typing import Any

import pytest
from fastmcp import Context, FastMCP
from mcp.shared.exceptions import MCPError
from starlette.responses import HTMLResponse, JSONResponse, Response

from support.backends import HungServer, ServedApp, ServedMCP, client, eventually, free_port
from support.gateway import Gateway, make_config, running_gateway

FRONTS = ["legacy", "auto"]
BACKS = ["legacy", "both"]


def counter() -> tuple[FastMCP[Any], list[int]]:
    """A server that counts how often its tools ran."""
    ran: list[int] = []
    mcp: FastMCP[Any] = FastMCP("counter")

    @mcp.tool
    def count() -> int:
        ran.append(1)
        return len(ran)

    return mcp, ran


def state(running: Gateway, name: str = "c") -> Any:
    return next(r for r in running.proxy.status().servers if r.id == f"ns/{name}")


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_restarted_backend_is_met_again_by_the_same_clients(front: str, back: str) -> None:
    mcp, ran = counter()
    async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"c": served.url})) as running:
        async with client(running.url, front) as through:
            assert (await through.call_tool("c_count", {})).data == 1
            await served.stop()
            await served.start()
            # Its sessions are unknown now: the call is repeated because it certainly did not run.
            assert (await through.call_tool("c_count", {})).data == 2
            assert len(ran) == 2
            assert [t.name for t in await through.list_tools()] == ["c_count"]


@pytest.mark.parametrize("front", FRONTS)
async def test_a_dead_backend_fails_its_calls_at_once_and_lists_stay(front: str) -> None:
    mcp, ran = counter()
    other, _ = counter()
    async with ServedMCP(mcp) as served, ServedMCP(other) as alive:
        async with running_gateway(make_config({"c": served.url, "alive": alive.url})) as running:
            async with client(running.url, front) as through:
                await served.stop()
                with pytest.raises(MCPError) as caught:
                    await through.call_tool("c_count", {})
                assert caught.value.data == {"server": "ns/c", "errorClass": "ConnectionRefused", "executed": False}
                assert caught.value.message.startswith("server ns/c: nothing listens")
                await eventually(lambda: state(running).state == "error")
                report = state(running)
                assert report.error.error_class == "ConnectionRefused"
                assert report.tools == ("count",)
                assert 'mcp_proxy_backend_up{server="ns/c"} 0.0' in (await running.get("/metrics")).text
                assert len(await through.list_tools()) == 2
                assert (await through.call_tool("alive_count", {})).data == 1
                await served.start()
                await eventually(lambda: state(running).state == "ready")
                assert (await through.call_tool("c_count", {})).data == 1
                assert len(ran) == 1


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_call_that_may_have_run_is_not_repeated(front: str, back: str) -> None:
    begun: list[int] = []
    mcp: FastMCP[Any] = FastMCP("k")

    @mcp.tool
    async def pay() -> str:
        begun.append(1)
        await asyncio.Event().wait()
        return "paid"

    @mcp.tool(annotations={"readOnlyHint": True})
    async def look() -> str:
        begun.append(1)
        if len(begun) == 2:
            await asyncio.Event().wait()
        return "seen"

    async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"k": served.url})) as running:
        async with client(running.url, front) as through:
            paying = asyncio.create_task(through.call_tool("k_pay", {}))
            await eventually(lambda: len(begun) == 1)
            await served.stop()
            with pytest.raises(MCPError) as caught:
                await paying
            assert caught.value.data == {"server": "ns/k", "errorClass": "ConnectionReset"}
            await served.start()
            looking = asyncio.create_task(through.call_tool("k_look", {}))
            await eventually(lambda: len(begun) == 2)
            await served.stop()
            await served.start()
            # What only looks may be asked twice, when the server was back in time.
            (outcome,) = await asyncio.gather(looking, return_exceptions=True)
            if isinstance(outcome, MCPError):
                assert outcome.data["errorClass"] in ("ConnectionRefused", "ConnectionReset")
            else:
                assert outcome.data == "seen"  # type: ignore[union-attr]


@pytest.mark.parametrize("front", FRONTS)
async def test_a_slow_call_ends_at_its_deadline_and_others_go_on(front: str) -> None:
    mcp, _ = counter()

    @mcp.tool
    async def forever() -> None:
        await asyncio.Event().wait()

    config = {"tools": [{"name": "forever", "callTimeoutSeconds": 1}]}
    async with ServedMCP(mcp) as served, running_gateway(make_config({"c": served.url}, server=config)) as running:
        async with client(running.url, front) as through:
            waiting = asyncio.create_task(through.call_tool("c_forever", {}))
            assert (await through.call_tool("c_count", {})).data == 1
            with pytest.raises(MCPError) as caught:
                await waiting
            assert caught.value.data == {"server": "ns/c", "errorClass": "Timeout"}
            assert (await through.call_tool("c_count", {})).data == 2


async def test_progress_keeps_a_long_call_alive() -> None:
    mcp: FastMCP[Any] = FastMCP("p")
    limit = 2.5

    @mcp.tool
    async def steps(ctx: Context) -> str:
        loop, step = asyncio.get_running_loop(), 0
        until = loop.time() + 1.2 * limit
        while loop.time() < until:
            await asyncio.sleep(0.1)
            await ctx.report_progress(step := step + 1)
        return "done"

    async def progress(*_: Any) -> None: ...

    config = {"callTimeoutSeconds": limit}
    async with ServedMCP(mcp) as served, running_gateway(make_config({"p": served.url}, server=config)) as running:
        async with client(running.url, "legacy") as through:
            assert (await through.call_tool("p_steps", {}, progress_handler=progress)).data == "done"


async def test_a_hung_backend_delays_nobody() -> None:
    mcp, _ = counter()
    async with HungServer() as hung, ServedMCP(mcp) as served:
        config = make_config({"hung": hung.url, "c": served.url}, each={"hung": {"connectTimeoutSeconds": 60}})
        async with running_gateway(config, warm_seconds=0.05) as running:
            await eventually(lambda: state(running).state == "ready")
            async with client(running.url, "legacy") as through:
                assert (await through.call_tool("c_count", {})).data == 1
            assert state(running, "hung").state == "pending"  # its minute is not over
        async with running_gateway(make_config({"hung": hung.url}, server={"connectTimeoutSeconds": 0.1})) as running:
            await eventually(lambda: state(running, "hung").error)
            assert state(running, "hung").error.error_class == "Timeout"


class Pages:
    """An HTTP server that gives one answer to everything."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            await self._response(scope, receive, send)


@pytest.mark.parametrize(
    ("response", "error_class"),
    [
        (HTMLResponse("<h1>Welcome</h1>"), "NotMCP"),
        (Response("", 204), "ProtocolError"),
        (Response("Unauthorized: token s3cr3t-token", 401), "Unauthorized"),
        (Response("", 403), "Unauthorized"),
        (HTMLResponse("no", 404), "NotFound"),
        (Response("", 500), "HTTPError"),
        (Response("{", 200, media_type="application/json"), "NotMCP"),
        (JSONResponse({"hello": "world"}), "NotMCP"),
        (
            JSONResponse({"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "key s3cr3t-token"}}, 400),
            "ProtocolError",
        ),
        (Response("", 302, {"location": "http://elsewhere.example/"}), "ProtocolError"),
    ],
    ids=["html", "empty", "401", "403", "404", "500", "cut", "json", "rpc-error", "redirect"],
)
async def test_what_is_no_mcp_server(response: Response, error_class: str) -> None:
    headers = {"headers": [{"name": "X-Key", "value": "s3cr3t-token"}]}
    async with (
        ServedApp(lambda: Pages(response)) as served,
        running_gateway(make_config({"c": served.url}, server=headers)) as running,
    ):
        await eventually(lambda: state(running).error)
        assert state(running).error.error_class == error_class
        assert "s3cr3t-token" not in (await running.get("/status")).text


async def test_names_that_do_not_resolve() -> None:
    patient = {"connectTimeoutSeconds": 60}  # whatever answers such questions here may itself be out of reach
    config = make_config({"c": "http://no-such-host.invalid/mcp"}, server=patient)
    async with running_gateway(config) as running:
        await eventually(lambda: state(running).error, 60)
        assert state(running).error.error_class == "DNSFailure"


async def test_tls_where_there_is_none() -> None:
    mcp, _ = counter()
    async with (
        ServedMCP(mcp) as served,
        running_gateway(make_config({"c": served.url.replace("http:", "https:")})) as running,
    ):
        await eventually(lambda: state(running).error)
        assert state(running).error.error_class == "TLSFailure"


async def test_a_server_that_comes_late_is_found() -> None:
    mcp, _ = counter()
    served = ServedMCP(mcp)
    served.port = free_port()
    async with running_gateway(make_config({"c": served.url})) as running:
        assert state(running).error.error_class == "ConnectionRefused"
        async with served:
            await eventually(lambda: running.proxy.status().routes[0].tools == ("c_count",))


@pytest.mark.parametrize("front", FRONTS)
async def test_an_upgraded_backend_speaks_another_era(front: str) -> None:
    mcp, ran = counter()
    old = ServedMCP(mcp, era="legacy")
    async with old, running_gateway(make_config({"c": old.url})) as running, client(running.url, front) as through:
        await through.call_tool("c_count", {})
        for era in ("both", "legacy"):
            new = ServedMCP(mcp, era=era)
            new.port = old.port
            await old.stop()
            await new.start()
            old = new
            await through.call_tool("c_count", {})
        await old.stop()
    assert len(ran) == 3


async def test_nothing_is_left_of_a_removed_backend() -> None:
    mcp, _ = counter()
    async with ServedMCP(mcp, era="legacy") as served, running_gateway(make_config({"c": served.url})) as running:
        async with client(running.url, "legacy") as one, client(running.url, "auto") as two:
            await one.call_tool("c_count", {})
            await two.call_tool("c_count", {})
            await running.proxy.apply(make_config({}, routes=[{"name": "r", "path": "/mcp"}]))
            await eventually(lambda: served.verbs.count("DELETE") == 3)  # the watch's, one's and the pool's session


async def test_a_front_sessions_end_ends_its_backend_session() -> None:
    mcp, _ = counter()
    async with ServedMCP(mcp, era="legacy") as served, running_gateway(make_config({"c": served.url})) as running:
        async with client(running.url, "legacy") as through:
            await through.call_tool("c_count", {})
        await eventually(lambda: served.verbs.count("DELETE") == 1)
        await eventually(lambda: running.proxy.status().sessions == 0)
