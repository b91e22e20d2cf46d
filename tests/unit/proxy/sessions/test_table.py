"""Sessions end by idleness, DELETE and with their route, there are only so many, and nothing of them stays."""

import asyncio
import gc
import json
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from fastmcp import Context, FastMCP
from mcp.server.connection import Connection
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from starlette.types import Message

from mcp_operator_proxy.app import App
from mcp_operator_proxy.backends.session import BackendSession
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.sessions import table
from mcp_operator_proxy.sessions.session import Session
from support.backends import ServedMCP
from support.gateway import make_config
from support.replicas import ACCEPT, INITIALIZE, SECRETS, SIGNED, Replica, Wire, running_replicas
from support.waiting import Eventually


def backend(gate: asyncio.Event) -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("backend")

    @mcp.tool
    async def wait() -> str:
        await gate.wait()
        return "done"

    @mcp.tool
    def session(ctx: Context) -> str:
        return ctx.session_id

    return mcp


@pytest.fixture
def thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def served(gate: asyncio.Event) -> AsyncIterator[ServedMCP]:
    async with ServedMCP(backend(gate), era="legacy") as served:
        yield served


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=20) as client:
        yield client


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What idles is looked for often. It idles for long by itself: `_age` says when."""
    monkeypatch.setattr(table, "SWEEP_SECONDS", 0.02)


def held(replica: Replica) -> list[Session]:
    return replica.proxy.endpoints["/mcp"].sessions.all()


@pytest.mark.usefixtures("swept")
async def test_an_idle_session_ends_and_stays_ended(
    served: ServedMCP, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        _age(a)
        await eventually(lambda: not held(a))

        assert [(await wire.ask(at, "ping")).status_code for at in (a, b)] == [404, 404]
        assert a.proxy.status().sessions == 0


@pytest.mark.usefixtures("swept")
async def test_an_open_stream_and_a_call_in_flight_keep_a_session(
    served: ServedMCP, http: httpx2.AsyncClient, gate: asyncio.Event, eventually: Eventually
) -> None:
    async with running_replicas(1, make_config({"s": served.url}, **SIGNED)) as (a,):

        def left(count: int) -> bool:
            _age(a)
            return len(held(a)) == count

        idle, listener, caller = Wire(http), Wire(http), Wire(http)
        calling = asyncio.create_task(_call_after_opening(caller, a))
        await listener.open(a)
        async with listener.listening(a):
            await eventually(lambda: len(held(a)) == 2 and all(s.in_flight for s in held(a)))
            await idle.open(a)
            assert len(held(a)) == 3
            await eventually(lambda: left(2))  # the one that does nothing has gone
            gate.set()
            assert "done" in (await calling).text
            await eventually(lambda: left(1))
        await eventually(lambda: left(0))


async def _call_after_opening(wire: Wire, replica: Replica) -> httpx2.Response:
    await wire.open(replica)
    return await wire.ask(replica, "tools/call", name="s_wait", arguments={})


async def test_there_are_only_so_many_sessions(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    config = make_config({"s": served.url}, sessions={**SIGNED["sessions"], "maxSessions": 2})
    async with running_replicas(1, config) as (a,):
        first = Wire(http)
        await first.open(a)
        await Wire(http).open(a)
        refused = await http.post(a.url, json=INITIALIZE, headers=ACCEPT)

        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert (await first.ask(a, "ping")).status_code == 200
        await first.delete(a)
        assert (await http.post(a.url, json=INITIALIZE, headers=ACCEPT)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"[1]", 400, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', 400, -32600),
        (b'{"jsonrpc":"2.0","method":"notifications/initialized"}', 400, -32600),
    ],
)
async def test_only_initialize_goes_without_a_session(
    served: ServedMCP, http: httpx2.AsyncClient, body: bytes, status: int, code: int
) -> None:
    async with running_replicas(1, make_config({"s": served.url}, **SIGNED)) as (a,):
        response = await http.post(a.url, content=body, headers=ACCEPT)

        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert [(await http.request(verb, a.url, headers=ACCEPT)).status_code for verb in ("GET", "DELETE")] == [
            400
        ] * 2
        assert held(a) == []


async def test_a_refused_initialize_leaves_no_session(
    served: ServedMCP, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async with running_replicas(1, make_config({"s": served.url}, **SIGNED)) as (a,):
        wrong = {**INITIALIZE, "params": {"protocolVersion": 7}}
        response = await http.post(a.url, json=wrong, headers=ACCEPT)

        assert '"error"' in response.text
        await eventually(lambda: held(a) == [])


async def test_a_removed_route_ends_its_sessions(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    entries = [{"server": "ns/s", "prefix": "s"}]
    two = [{"name": path, "path": path, "servers": entries} for path in ("/mcp", "/other")]
    config = make_config({"s": served.url}, routes=two, **SIGNED)
    async with running_replicas(1, config) as (a,):
        wire = Wire(http)
        await wire.open(a)
        endpoint = a.proxy.endpoints["/mcp"]
        await a.proxy.apply(make_config({"s": served.url}, routes=two[1:], **SIGNED), SECRETS)
        assert (await wire.ask(a, "ping")).status_code == 404
        await a.proxy.apply(config, SECRETS)

        assert (await wire.ask(a, "ping")).status_code == 404  # the path is back, its old sessions are not
        assert len(endpoint.sessions) == 0


async def test_keys_rotate_while_sessions_go_on(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    def keys(*files: str) -> dict[str, Any]:
        return {"sessions": {"signingKeys": [{"file": file} for file in files]}}

    secrets = {"old": "o" * 32, "new": "n" * 32}
    async with running_replicas(2, make_config({"s": served.url}, **keys("old")), secrets) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        for files in (("old", "new"), ("new", "old")):
            for replica in (a, b):
                await replica.proxy.apply(make_config({"s": served.url}, **keys(*files)), secrets)
                assert [(await wire.ask(at, "ping")).status_code for at in (a, b)] == [200, 200]


async def test_a_client_that_leaves_its_stream_leaves_it_at_the_holder_too(
    served: ServedMCP, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        for _ in range(2):
            async with wire.listening(b) as stream:
                assert stream.status_code == 200
                await eventually(lambda: held(a)[0].has_stream)
            await eventually(lambda: not held(a)[0].has_stream and not held(a)[0].in_flight)


@pytest.mark.usefixtures("thaw")
async def test_a_thousand_sessions_leave_nothing(
    served: ServedMCP, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    """Most end by idleness, some by DELETE after a call, some by idleness after a call."""
    async with running_replicas(1, make_config({"s": served.url}, **SIGNED)) as (a,):
        await _visit(http, a, delete=True)
        await eventually(lambda: not held(a))
        tasks = len(asyncio.all_tasks())
        gc.collect()
        gc.freeze()  # what there is now is not counted
        app = App(a.proxy)
        for _ in range(12):
            await asyncio.gather(*(_open(app) for _ in range(80)))
        for _ in range(3):
            await asyncio.gather(*(_visit(http, a, delete=n % 2 == 0) for n in range(8)))
        seen = [weakref.ref(session) for session in held(a)]
        assert len(seen) == 972
        await eventually(lambda: all(session.in_flight == 0 for session in held(a)))
        _age(a)
        await a.proxy.endpoints["/mcp"].sessions.sweep()

        assert held(a) == []
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        await eventually(lambda: not _alive(), within=60)
        assert all(ref() is None for ref in seen)
        assert len(a.proxy.endpoints["/mcp"].audience) == 0


def _age(replica: Replica) -> None:
    for session in held(replica):
        session.last_used -= 3600


async def _visit(http: httpx2.AsyncClient, replica: Replica, *, delete: bool) -> None:
    wire = Wire(http)
    await wire.open(replica)
    assert (await wire.ask(replica, "tools/call", name="s_session", arguments={})).status_code == 200
    if delete:
        await wire.delete(replica)


async def _open(app: App) -> None:
    """Without HTTP, for its speed."""
    statuses: list[int] = []

    bodies = [json.dumps(INITIALIZE).encode()]

    async def receive() -> Message:
        if not bodies:
            await asyncio.get_running_loop().create_future()  # the client stays
        return {"type": "http.request", "body": bodies.pop()}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(key.encode(), value.encode()) for key, value in ACCEPT.items()]
    await app(
        {"type": "http", "method": "POST", "path": "/mcp", "query_string": b"", "headers": headers}, receive, send
    )
    assert statuses == [200]


_KINDS = (Session, StreamableHTTPServerTransport, Connection, FrontSession, BackendSession)


def _alive() -> Counter[type]:
    gc.collect()
    return Counter(type(found) for found in gc.get_objects() if type(found) in _KINDS)


def test_the_private_parts_that_are_used_are_there() -> None:
    dispatcher: JSONRPCDispatcher[Any] = JSONRPCDispatcher(None, None)  # type: ignore[arg-type]

    assert dispatcher._next_id == 0
