"""A session opened at one replica is answered at every other, and outlives the replica that it was opened at."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastmcp import Context, FastMCP

from mcp_operator_proxy.sessions.ids import Keys
from support.backends import ServedMCP
from support.gateway import make_config
from support.replicas import ACCEPT, INITIALIZE, SECRETS, SIGNED, Replica, Wire, running_replicas
from support.waiting import Eventually
from support.waitingserver import WaitingServer

CALL = {"name": "s_who", "arguments": {}}
LARGE = "x" * 3_000_000


def backend(gate: WaitingServer) -> FastMCP[Any]:
    mcp = gate.mcp

    @mcp.tool
    def who(ctx: Context) -> str:
        return f"session {ctx.session_id}"

    @mcp.tool
    async def ask(ctx: Context) -> str:
        answer = await ctx.elicit("your name?", response_type=str)
        return f"hello {answer.data}"  # type: ignore[union-attr]

    @mcp.tool
    def large() -> str:
        return LARGE

    return mcp


@pytest.fixture
def gate() -> WaitingServer:
    return WaitingServer()


@pytest.fixture
async def served(gate: WaitingServer) -> AsyncIterator[ServedMCP]:
    async with ServedMCP(backend(gate), era="legacy") as served:
        yield served


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=20) as client:
        yield client


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def text_of(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    result = events(response.text)[-1]
    return str(result["result"]["content"][0]["text"])


async def messages(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


async def read_until(stream: AsyncIterator[dict[str, Any]], member: str, value: object) -> dict[str, Any]:
    async with asyncio.timeout(30):
        async for message in stream:
            if message.get(member) == value:
                return message
    raise AssertionError(f"the stream ended without {value}")


async def test_a_call_at_another_replica_uses_the_session_of_the_first(
    served: ServedMCP, http: httpx2.AsyncClient
) -> None:
    async with running_replicas(3, make_config({"s": served.url}, **SIGNED)) as (a, b, c):
        wire = Wire(http)
        await wire.open(a)
        answers = {text_of(await wire.ask(at, "tools/call", **CALL)) for at in (a, b, c, a)}

        assert len(answers) == 1  # one session with the backend, so one session here
        assert [r.held() for r in (a, b, c)] == [1, 0, 0]


async def test_a_stream_at_another_replica_hears_a_swap(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    config = make_config({"s": served.url}, **SIGNED)
    async with running_replicas(2, config) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        async with wire.listening(b) as stream:
            assert stream.status_code == 200
            await a.proxy.apply(make_config({"s": served.url}, prefixes={"s": "t"}, **SIGNED), SECRETS)
            await read_until(messages(stream), "method", "notifications/tools/list_changed")
        await b.proxy.apply(make_config({"s": served.url}, prefixes={"s": "t"}, **SIGNED), SECRETS)

        assert "session " in text_of(await wire.ask(b, "tools/call", name="t_who", arguments={}))


async def test_an_elicitation_is_answered_at_another_replica(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        message = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "s_ask", "arguments": {}}}
        async with http.stream("POST", a.url, json=message, headers=wire.headers) as calling:
            stream = messages(calling)
            asked = await read_until(stream, "method", "elicitation/create")
            result = {"action": "accept", "content": {"value": "Ann"}}
            await wire.post(b, {"jsonrpc": "2.0", "id": asked["id"], "result": result})
            answer = await read_until(stream, "id", 5)

        assert answer["result"]["content"][0]["text"] == "hello Ann"


async def test_the_session_goes_on_when_its_replica_is_gone(
    served: ServedMCP, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async with running_replicas(3, make_config({"s": served.url}, **SIGNED)) as (a, b, c):
        wire = Wire(http)
        await wire.open(a)
        before = text_of(await wire.ask(a, "tools/call", **CALL))
        await a.stop()
        answers = [text_of(await wire.ask(at, "tools/call", **CALL)) for at in (b, c, b)]

        assert len(set(answers)) == 1
        assert before not in answers  # a session with the backend of its own
        assert b.held() + c.held() == 1  # they agreed on one of them

        holder, other = (b, c) if b.held() else (c, b)
        async with wire.listening(other) as stream:  # and it hears of changes, though nobody said initialized there
            changed = make_config({"s": served.url}, prefixes={"s": "t"}, **SIGNED)
            await eventually(lambda: all(s.has_stream for s in holder.proxy.endpoints["/mcp"].sessions.all()))
            await holder.proxy.apply(changed, SECRETS)
            await read_until(messages(stream), "method", "notifications/tools/list_changed")


async def test_a_session_that_was_taken_up_knows_its_client(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        session_id = await wire.open(a)
        await a.stop()
        await wire.ask(b, "ping")
        session = b.proxy.endpoints["/mcp"].sessions.find(session_id)

        assert session is not None
        assert session.protocol_version == "2025-11-25"
        assert session.connection.client_params is not None
        assert session.connection.client_params.client_info.name == "t"
        assert session.connection.client_params.capabilities.elicitation is not None
        assert session.connection.initialize_accepted


async def test_a_replica_that_comes_back_alone_takes_its_sessions_up(
    served: ServedMCP, http: httpx2.AsyncClient
) -> None:
    config = make_config({"s": served.url}, **SIGNED)
    wire = Wire(http)
    async with running_replicas(1, config) as (a,):
        await wire.open(a)
    async with running_replicas(1, config) as (again,):
        assert "session " in text_of(await wire.ask(again, "tools/call", **CALL))


async def test_without_a_shared_key_sessions_end_with_their_process(
    served: ServedMCP, http: httpx2.AsyncClient
) -> None:
    config = make_config({"s": served.url})
    wire = Wire(http)
    async with running_replicas(1, config) as (a,):
        await wire.open(a)
    async with running_replicas(1, config) as (again,):
        assert (await wire.ask(again, "ping")).status_code == 404


async def test_delete_ends_the_session_everywhere(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        assert (await wire.delete(b)).status_code == 200

        assert (a.held(), b.held()) == (0, 0)
        assert [(await wire.ask(at, "ping")).status_code for at in (a, b)] == [404, 404]
        await a.stop()
        assert (await wire.ask(b, "ping")).status_code == 404


async def test_a_session_deleted_where_it_was_taken_up_stays_ended(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        await a.stop()
        assert (await wire.ask(b, "ping")).status_code == 200
        assert (await wire.delete(b)).status_code == 200

        assert (await wire.ask(b, "ping")).status_code == 404
        assert b.held() == 0


@pytest.mark.parametrize("at", [0, 1])
async def test_ids_that_are_not_ones_own_are_unknown(served: ServedMCP, http: httpx2.AsyncClient, at: int) -> None:
    entries = [{"server": "ns/s", "prefix": "s"}]
    routes = [{"name": f"r{path}", "path": path, "servers": entries} for path in ("/mcp", "/other")]
    auth = {"apiKeys": [{"name": name, "secret": {"file": name}} for name in ("ann", "bob")]}
    config = make_config({"s": served.url}, routes=routes, auth=auth, **SIGNED)
    secrets = {**SECRETS, "ann": "a" * 20, "bob": "b" * 20}
    async with running_replicas(2, config, secrets) as replicas:
        ann, bob = (Wire(http, **{"x-api-key": letter * 20}) for letter in "ab")
        session_id = await ann.open(replicas[0])
        replica = replicas[at]
        forged = Keys((b"z" * 32,))
        ticket = Keys((SECRETS["session-key"].encode(),)).open(session_id, "/mcp", None, 0)
        assert ticket is None  # it is Ann's

        unknown = await _answer(ann, replica, "never-heard-of")
        assert unknown[0] == 404
        for altered in (session_id[:-1] + ("A" if session_id[-1] != "A" else "B"), f"x{session_id}", f"{session_id}x"):
            assert await _answer(ann, replica, altered) == unknown
        assert await _answer(bob, replica, session_id) == unknown
        foreign_route = await http.post(
            replica.url.replace("/mcp", "/other"), json=_PING, headers={**ann.headers, "mcp-session-id": session_id}
        )
        assert (foreign_route.status_code, foreign_route.text) == unknown
        stolen = next(iter(replicas[0].proxy.endpoints["/mcp"].sessions.all())).ticket
        assert await _answer(ann, replica, forged.seal(stolen, None)) == unknown
        nobody = await http.post(replica.url, json=_PING, headers={**Wire(http).headers, "mcp-session-id": session_id})
        assert nobody.status_code == 401
        assert (await ann.ask(replica, "ping")).status_code == 200


_PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def _answer(wire: Wire, replica: Replica, session_id: str) -> tuple[int, str]:
    mine = wire.headers.get("mcp-session-id")
    wire.headers["mcp-session-id"] = session_id
    response = await wire.ask(replica, "ping")
    if mine is None:
        del wire.headers["mcp-session-id"]
    else:
        wire.headers["mcp-session-id"] = mine
    return response.status_code, response.text


async def test_the_hop_header_means_nothing_in_public(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        wire.headers["mcp-proxy-hop"] = "take;http"

        assert (await wire.ask(b, "ping")).status_code == 200
        assert (a.held(), b.held()) == (1, 0)


async def test_the_internal_port_asks_for_credentials_too(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    auth = {"apiKeys": [{"name": "ann", "secret": {"file": "ann"}}]}
    config = make_config({"s": served.url}, auth=auth, allowedHosts=["127.0.0.1"], **SIGNED)
    async with running_replicas(1, config, {**SECRETS, "ann": "a" * 20}) as (a,):
        inside = f"http://{a.address}/mcp"
        headers = {**Wire(http).headers, "mcp-proxy-hop": "take;http"}
        plain = await http.post(inside, json=_PING, headers=Wire(http, **{"x-api-key": "a" * 20}).headers)
        nobody = await http.post(inside, json=_PING, headers=headers)
        rebound = await http.post(inside, json=_PING, headers={**headers, "host": "evil.example"})

        assert [plain.status_code, nobody.status_code, rebound.status_code] == [404, 401, 421]


async def test_nothing_is_sent_to_who_does_not_know_the_key(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    """The address in an id has become somebody else's: it gets a challenge and no credentials."""
    config = make_config({"s": served.url}, **SIGNED)
    async with running_replicas(2, config) as (a, b), running_replicas(1, make_config({"s": served.url})) as (other,):
        wire = Wire(http)
        await wire.open(b)
        ticket = next(iter(b.proxy.endpoints["/mcp"].sessions.all())).ticket
        stranger = type(ticket)(
            "another", "n" * 16, "/mcp", other.address, "2025-11-25", {"capabilities": {}}, ticket.issued
        )
        wire.headers["mcp-session-id"] = a.proxy.holder.keys.seal(stranger, None)

        assert (await wire.ask(a, "ping")).status_code == 200
        assert other.held() == 0
        assert a.held() + b.held() == 2


async def test_messages_of_an_http_sse_client_reach_the_replica_with_its_stream(
    served: ServedMCP, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        async with http.stream("GET", f"{a.url}/sse") as stream:
            lines = stream.aiter_lines()
            where = await anext(line[6:] async for line in lines if line.startswith("data: /"))
            base = b.url.removesuffix("/mcp")
            accepted = await http.post(base + where, json=INITIALIZE)
            assert accepted.status_code == 202
            answered = await anext(line async for line in lines if line.startswith("data: {"))
            assert json.loads(answered[6:])["result"]["protocolVersion"] == "2025-11-25"
            as_session = await http.post(
                b.url, json=_PING, headers={**ACCEPT, "mcp-session-id": where.partition("=")[2]}
            )
            assert as_session.status_code == 404  # such an id opens nothing else

        await eventually(lambda: a.proxy.endpoints["/mcp"].open_sessions == 0)
        gone = await http.post(base + where, json=_PING)
        assert gone.status_code == 404


async def test_a_large_answer_comes_through_whole(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED)) as (a, b):
        wire = Wire(http)
        await wire.open(a)

        assert text_of(await wire.ask(b, "tools/call", name="s_large", arguments={})) == LARGE


async def test_in_an_orderly_stop_calls_end_where_they_began_and_the_stream_is_opened_elsewhere(
    served: ServedMCP, http: httpx2.AsyncClient, gate: WaitingServer, eventually: Eventually
) -> None:
    async with running_replicas(2, make_config({"s": served.url}, **SIGNED), grace_seconds=60) as (a, b):
        wire = Wire(http)
        await wire.open(a)
        async with wire.listening(b) as stream:
            calling = asyncio.create_task(wire.ask(b, "tools/call", name="s_wait", arguments={}))
            await eventually(gate.begun.is_set)
            stopping = asyncio.create_task(a.stop())
            assert "data:" not in "".join([line async for line in stream.aiter_lines()])  # it ends
        async with wire.listening(b) as again:
            assert again.status_code == 200
            await eventually(lambda: b.held() == 1)
            gate.end.set()
            assert text_of(await calling) == "done"
            await stopping


async def test_a_replica_that_stops_takes_nothing_up(served: ServedMCP, http: httpx2.AsyncClient) -> None:
    async with running_replicas(3, make_config({"s": served.url}, **SIGNED)) as (a, b, c):
        wires = [Wire(http) for _ in range(8)]
        for wire in wires:
            await wire.open(a)
        await a.stop()
        await c.proxy.drain()
        answers = [(await wire.ask(at, "ping")).status_code for wire in wires for at in (b, c)]

        assert set(answers) == {200}
        assert (b.held(), c.held()) == (8, 0)
