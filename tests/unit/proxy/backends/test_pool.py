"""What sessions are shared, by whom, how many there are, and that they end."""

import asyncio
import gc
from collections.abc import Hashable
from contextlib import AsyncExitStack
from typing import Any

import psutil
import pytest
from fastmcp import Context, FastMCP
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.connect import Callbacks, Target, connect
from mcp_operator_proxy.backends.pool import SessionPool
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.backends.session import BackendSession, Call
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.eras.capabilities import Capabilities
from support.backends import HungServer, ServedApp, ServedMCP, eventually

CALL = {"name": "who", "arguments": {}}


def who() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("who")

    @mcp.tool
    def who(ctx: Context) -> str:
        return str(ctx.session_id)

    return mcp


class Pooled:
    """A pool of sessions with a real server, over one HTTP client."""

    def __init__(self, url: str, **options: Any) -> None:
        self.target = Target(url=url)
        self.http = self.target.http_client()
        self.opened = 0
        self.pool = SessionPool(self._session, **options)

    def _session(self, _: Hashable) -> BackendSession:
        self.opened += 1
        return BackendSession(lambda: connect(self.target, http=self.http), lambda: ())

    async def ask(self, key: Hashable) -> str:
        async with self.pool.lease(key) as session:
            result = await session.request("tools/call", CALL, Call(None, 20))
        return str(result["structuredContent"]["result"])

    async def __aenter__(self) -> "Pooled":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pool.close()
        await self.http.aclose()


ANN, BOB = (Capabilities.of(None, Principal(name)) for name in ("ann", "bob"))


async def test_a_session_is_taken_again_by_the_same_user_and_never_by_another() -> None:
    async with ServedMCP(who(), era="legacy") as served, Pooled(served.url) as pooled:
        assert pooled.opened == 0, "sessions are opened when they are needed"
        first = await pooled.ask(ANN)
        assert await pooled.ask(ANN) == first
        assert await pooled.ask(BOB) != first
        assert await pooled.ask(Capabilities('{"sampling": {}}', owner="ann")) != first
        assert await pooled.ask(ANN) == first
        assert (pooled.opened, pooled.pool.idle, pooled.pool.leased) == (3, 3, 0)


async def test_a_leased_session_serves_nobody_else() -> None:
    async with ServedMCP(who(), era="legacy") as served, Pooled(served.url) as pooled:
        async with pooled.pool.lease(ANN) as one, pooled.pool.lease(ANN) as two:
            assert one is not two
            assert pooled.pool.leased == 2
        assert len({await pooled.ask(ANN) for _ in range(4)}) == 1, "the newest is taken first, so that the others age"


async def test_idle_sessions_are_bounded_and_end_at_the_server() -> None:
    async with ServedMCP(who(), era="legacy") as served, Pooled(served.url, max_idle=2) as pooled:
        users = [Capabilities(owner=str(number)) for number in range(5)]
        for user in users:
            await pooled.ask(user)
        assert pooled.pool.idle == 2
        await eventually(lambda: served.verbs.count("DELETE") == 3)
        pooled.pool.drop_idle(older_than=1000)
        assert pooled.pool.idle == 2
        pooled.pool.drop_idle(older_than=0)
        assert pooled.pool.idle == 0
        await eventually(lambda: served.verbs.count("DELETE") == 5)


async def test_sessions_that_nobody_used_for_a_while_end_by_themselves() -> None:
    async with ServedMCP(who(), era="legacy") as served, Pooled(served.url, idle_seconds=0.05) as pooled:
        async with pooled.pool.lease(ANN):
            await pooled.ask(BOB)
            await eventually(lambda: served.verbs.count("DELETE") == 1)
            assert (pooled.pool.idle, pooled.pool.leased) == (0, 1), "one that is on lease is in use"
        await eventually(lambda: served.verbs.count("DELETE") == 2)
        assert pooled.pool.idle == 0


async def test_a_session_that_is_being_opened_ends_with_the_pool() -> None:
    async with HungServer() as hung, Pooled(hung.url) as pooled:
        asking = asyncio.create_task(pooled.ask(ANN))
        await eventually(lambda: hung.connections == 1)
        await pooled.pool.close()
        await pooled.http.aclose()
        with pytest.raises(BackendError, match="ended while it was being opened") as cut:
            await asking
        assert cut.value.executed is False
        with pytest.raises(BackendError, match="the proxy has let go of the server"):
            await pooled.ask(ANN)


async def test_a_session_that_broke_is_not_taken_again() -> None:
    async with ServedMCP(who(), era="legacy") as served, Pooled(served.url) as pooled:
        first = await pooled.ask(ANN)
        with pytest.raises(RuntimeError):
            async with pooled.pool.lease(ANN):
                raise RuntimeError("in the middle of an exchange")
        assert await pooled.ask(ANN) != first
        await served.stop()
        with pytest.raises(BackendError):
            await pooled.ask(ANN)
        with pytest.raises(BackendError):
            await pooled.ask(BOB)
        assert (pooled.pool.idle, pooled.pool.leased) == (0, 0)


class Handshake:
    """A server of the handshake era with nothing behind it: it counts its sessions."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.begun = 0
        self.served = ServedApp(
            lambda: Starlette(routes=[Route("/mcp", self._answer, methods=["GET", "POST", "DELETE"])])
        )

    async def _answer(self, request: Request) -> Response:
        session = request.headers.get("mcp-session-id")
        if request.method == "GET":
            return Response(status_code=405)
        if request.method == "DELETE":
            self.open.discard(str(session))
            return Response(status_code=204)
        message = await request.json()
        if message["method"] == "initialize":
            self.begun += 1
            self.open.add(str(self.begun))
            info = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "h", "version": "1"}}
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": info}
            return JSONResponse(answer, headers={"mcp-session-id": str(self.begun)})
        if "id" not in message:
            return Response(status_code=202)
        if message["method"] == "server/discover":
            error = {"code": -32601, "message": "Method not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})
        assert session in self.open
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": {}})


def sockets() -> int:
    return len(psutil.Process().net_connections(kind="tcp"))


def sessions_in_memory() -> int:
    gc.collect()
    return sum(type(thing) is BackendSession for thing in gc.get_objects())


@pytest.mark.parametrize("rounds", [4])
async def test_nothing_is_left_of_many_sessions(rounds: int) -> None:
    """20 at a time, `rounds` times; with 50 rounds it is a thousand."""
    counting = Handshake()
    async with counting.served as served, AsyncExitStack() as stack:
        server = Server.model_validate({"id": "ns/h", "url": served.url, "refreshSeconds": 3600})
        backend = Backend(ResolvedServer(server, {}), on_change=lambda _: None)
        stack.push_async_callback(backend.close)
        backend.start()
        await backend.asked.wait()

        async def visit() -> None:
            session = backend.session(Callbacks())
            await session.open()
            await session.request("ping", {}, Call(None, 20))
            await session.close()

        await asyncio.gather(*(visit() for _ in range(20)))
        gc.collect()
        tasks, before = len(asyncio.all_tasks()), sockets()
        for _ in range(rounds):
            await asyncio.gather(*(visit() for _ in range(20)))
        await eventually(lambda: len(counting.open) == 1)  # the watch's own
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        await eventually(lambda: sockets() <= before + 4)
        await eventually(lambda: sessions_in_memory() <= 1)
    await eventually(lambda: not counting.open)
