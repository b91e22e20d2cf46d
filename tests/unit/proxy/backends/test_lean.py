# ruff: noqa: SIM117 - nested, in the order in which they start
"""Servers listed with prepared bytes: what is found, said and left behind is what the client library's session would."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.catalogue import list_catalogue
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.connect import Target, connect
from mcp_operator_proxy.backends.lean import messages
from mcp_operator_proxy.backends.lean.exchange import Unplain
from mcp_operator_proxy.backends.lean.session import LeanSession
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.swap.pace import Turns
from support.backends import HungServer, ServedApp, ServedMCP, dead_port, eventually
from support.subscribable import Subscribable


def everything() -> FastMCP[Any]:
    """A server with all kinds of lists, two entries a page."""
    mcp: FastMCP[Any] = FastMCP("every", version="3", instructions="Be brief.", list_page_size=2)
    for number in range(5):

        @mcp.tool(name=f"tool{number}", description=f"Number {number}: é ☃")
        def tool(word: str, often: int = 1) -> str:
            return word * often

    @mcp.prompt
    def greet(name: str) -> str:
        return name

    @mcp.resource("data://one")
    def one() -> str:
        return "1"

    @mcp.resource("data://many/{number}")
    def many(number: int) -> str:
        return str(number)

    return mcp


@contextlib.asynccontextmanager
async def lean(target: Target, **more: Any) -> AsyncIterator[LeanSession]:
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    options = {"era": None, "turns": Turns(), "on_change": nothing, "on_stream_end": nothing, **more}
    session = LeanSession(target, options.pop("era"), **options)
    try:
        await session.open()
        yield session
    finally:
        await session.close()


@contextlib.asynccontextmanager
async def backend(url: str, **more: Any) -> AsyncIterator[Backend]:
    """A backend that has answered, or failed to, once."""
    server = Server.model_validate({"id": "ns/x", "url": url, **more})
    made = Backend(ResolvedServer(server, {}), on_change=lambda _: None)
    made.start()
    try:
        await asyncio.wait_for(made.asked.wait(), 60)
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("json_response", [True, False], ids=["json", "stream"])
@pytest.mark.parametrize("era", ["legacy", "modern", "both"])
async def test_it_finds_what_the_library_finds(era: str, json_response: bool) -> None:
    async with ServedMCP(everything(), era=era, json_response=json_response) as served:
        target = Target(url=served.url, headers={"X-Key": "secret-value"})
        async with connect(target) as connected:
            expected = await list_catalogue(connected)
            said = (connected.era, connected.protocol_version, connected.server_info, connected.capabilities)
        asked, verbs = list(served.methods), set(served.verbs)
        served.methods.clear()
        served.verbs.clear()
        served.requests.clear()
        async with lean(target) as session:
            assert await list_catalogue(session) == expected
            assert (session.era, session.protocol_version, session.server_info, session.capabilities) == said
            assert session.modern == (era != "legacy")
        assert [tool["name"] for tool in expected.tools] == [f"tool{number}" for number in range(5)]
        assert expected.prompts
        assert expected.resources
        assert expected.resource_templates
        assert served.methods == asked
        assert ("DELETE" in served.verbs) == ("DELETE" in verbs) == (era == "legacy")
        assert {request["x-key"] for request in served.requests} == {"secret-value"}


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_known_era_is_not_asked_for_again(era: str) -> None:
    async with ServedMCP(everything(), era=era) as served:
        target = Target(url=served.url)
        async with lean(target) as first:
            known = first.era
        served.methods.clear()
        async with lean(target, era=known) as again:
            assert (await list_catalogue(again)).tools
        assert "server/discover" not in served.methods
        assert ("initialize" in served.methods) == (era == "legacy")


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_other_headers_are_sent_from_then_on(era: str) -> None:
    async with ServedMCP(everything(), era=era) as served:
        async with lean(Target(url=served.url, headers={"X-Key": "old"})) as session:
            served.requests.clear()
            session.aim(Target(url=served.url, headers={"X-Key": "new"}))
            await list_catalogue(session)
        assert {request["x-key"] for request in served.requests} == {"new"}


@pytest.mark.parametrize(
    ("target", "suits"),
    [
        (Target(url="http://h/mcp"), True),
        (Target(url="https://h/mcp", transport="streamable-http", ca_bundle="x"), True),
        (Target(url="http://h/sse", transport="sse"), False),
        (Target(url="https://h/mcp", http2=True), False),
        (Target(url="http://h/mcp", uds="/run/s"), False),
        (Target(url="http://user:word@h/mcp"), False),
        (Target(url="http://h/mcp", headers={"X": "a\r\nb: c"}), False),
    ],
)
def test_whom_it_suits(target: Target, suits: bool) -> None:
    assert LeanSession.suits(target) is suits


@pytest.mark.parametrize("era", ["legacy", "both"])
async def test_a_backend_needs_nothing_else(era: str) -> None:
    async with ServedMCP(everything(), era=era) as served:
        async with backend(served.url) as found:
            assert len(found.catalogue.tools) == 5
            assert found.status.phase == "initialized"
            assert (found.status.server_name, found.status.server_version) == ("every", "3")
            assert found.transport_kind == "streamable-http"
            assert served.mcp.name == "every"
        assert not any("user-agent" in request for request in served.requests)


# What is odd is asked again with the library, which says what is wrong

LEGACY = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}}
TOOL = {"name": "t", "inputSchema": {"type": "object"}}


class Odd:
    """A handshake-era server whose answer to `method` is made by `answer` from the request's id."""

    def __init__(self, method: str, answer: Callable[[Any], Response]) -> None:
        self.served = ServedApp(
            lambda: Starlette(routes=[Route("/mcp", self._answer, methods=["POST", "GET", "DELETE"])])
        )
        self.ended = 0
        self._method = method
        self._odd = answer

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            self.ended += request.method == "DELETE"
            return Response(status_code=405 if request.method == "GET" else 200)
        message = await request.json()
        method, request_id = message["method"], message.get("id")
        if method == self._method:
            return self._odd(request_id)
        if request_id is None:
            return Response(status_code=202)
        results = {"initialize": LEGACY, "tools/list": {"tools": [TOOL]}}
        if method not in results:
            error = {"code": -32601, "message": "Method not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": error})
        headers = {"mcp-session-id": "s1"} if method == "initialize" else {}
        return JSONResponse({"jsonrpc": "2.0", "id": request_id, "result": results[method]}, headers=headers)


def result(content: Any) -> Callable[[Any], Response]:
    return lambda request_id: JSONResponse({"jsonrpc": "2.0", "id": request_id, "result": content})


def raw(content: str, status: int = 200, kind: str = "application/json", **headers: str) -> Callable[[Any], Response]:
    return lambda _: Response(content, status, media_type=kind, headers=headers)


def error(code: int, status: int = 200) -> Callable[[Any], Response]:
    said = {"code": code, "message": "no"}
    return lambda request_id: JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": said}, status)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("tools/list", raw("{")),
        ("tools/list", raw("[]")),
        ("tools/list", raw("<html>", kind="text/html")),
        ("tools/list", raw("busy", 503, "text/plain")),
        ("tools/list", raw("who?", 401, "text/plain", **{"www-authenticate": "Bearer"})),
        ("tools/list", raw("", 200, "text/event-stream")),
        ("tools/list", raw('data: {"jsonrpc": "2.0"\n\n', 200, "text/event-stream")),
        ("tools/list", result({"tools": [TOOL, {"name": 1}]})),
        ("tools/list", result({"tools": {}})),
        ("tools/list", result([])),
        ("tools/list", result({"tools": [TOOL], "nextCursor": "again"})),
        ("tools/list", error(-32603)),
        ("tools/list", error(-32601, 404)),
        ("initialize", error(-32602)),
        ("initialize", result({**LEGACY, "protocolVersion": "1999-01-01"})),
        ("initialize", result({"protocolVersion": "2025-11-25"})),
        ("initialize", raw("no", 403, "text/plain")),
        ("initialize", raw("no", 500, "text/plain")),
        ("initialize", raw("<html>", kind="text/html")),
        ("notifications/initialized", raw("no", 500, "text/plain")),
        ("server/discover", raw("who?", 401, "text/plain")),
        ("server/discover", raw("no", 404, "text/plain")),
        ("server/discover", raw("no", 405, "text/plain")),
        ("server/discover", raw("no", 500, "text/plain")),
        ("server/discover", error(-32600, 400)),
        ("server/discover", error(-32022, 400)),
        ("server/discover", result({"supportedVersions": []})),
        ("server/discover", result({"supportedVersions": ["2030-01-01"], "capabilities": {}})),
        ("server/discover", raw("{")),
    ],
)
async def test_odd_servers_have_the_same_status(
    method: str, answer: Callable[[Any], Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[ErrorReport | None, Any]] = []
    for suits in (True, False):
        if not suits:
            monkeypatch.setattr(LeanSession, "suits", staticmethod(lambda _: False))
        odd = Odd(method, answer)
        async with odd.served as served:
            async with backend(served.url, transport="streamable-http", connectTimeoutSeconds=20) as made:
                found.append((made.status.error, made.catalogue))
    assert found[0] == found[1]


async def test_a_session_that_went_wrong_is_ended() -> None:
    odd = Odd("tools/list", raw("{"))
    async with odd.served as served, lean(Target(url=served.url)) as session:
        with pytest.raises(Unplain):
            await list_catalogue(session)
    assert odd.ended == 1


async def test_odd_definitions_harm_no_other_server() -> None:
    odd = Odd("tools/list", result({"tools": [{"name": 1}]}))
    async with odd.served as bad, ServedMCP(everything()) as good:
        async with backend(bad.url) as one, backend(good.url) as other:
            assert one.status.error is not None
            assert one.status.error.error_class == "ProtocolError"
            assert one.catalogue.tools == ()
            assert len(other.catalogue.tools) == 5


async def test_a_server_that_hangs_or_is_gone_is_asked_once() -> None:
    async with HungServer() as hung:
        with pytest.raises(BackendError) as silent:
            async with lean(Target(url=hung.url, connect_timeout=0.2)):
                pass
    with pytest.raises(BackendError) as gone:
        async with lean(Target(url=f"http://127.0.0.1:{dead_port()}/mcp")):
            pass
    found = [(e.value.report.error_class, e.value.executed) for e in (silent, gone)]
    assert found == [("Timeout", False), ("ConnectionRefused", False)]


async def test_a_name_that_does_not_resolve_is_no_riddle() -> None:
    too_long_to_be_asked_for = ".".join(["a" * 60] * 5)
    with pytest.raises(BackendError) as caught:
        async with lean(Target(url=f"http://{too_long_to_be_asked_for}/mcp")):
            pass
    assert caught.value.report.error_class == "DNSFailure"


# What servers say by themselves


class Standing:
    """A handshake-era server whose GET streams end when `cut` is set, once; they begin with `first`."""

    def __init__(self, *first: dict[str, Any]) -> None:
        self.served = ServedApp(
            lambda: Starlette(routes=[Route("/mcp", self._answer, methods=["POST", "GET", "DELETE"])])
        )
        self.cut = asyncio.Event()
        self.streams: list[str | None] = []
        """The `Last-Event-ID` of each."""
        self.replies: list[dict[str, Any]] = []
        self._first = first

    async def _stream(self) -> AsyncIterator[str]:
        for number, message in enumerate(self._first):
            yield f"id: e{number}\ndata: {json.dumps({'jsonrpc': '2.0', **message})}\n\n"
        await self.cut.wait()
        self.cut.clear()

    async def _answer(self, request: Request) -> Response:
        if request.method == "GET":
            assert request.headers["mcp-session-id"] == "s1"
            assert request.headers["mcp-protocol-version"] == "2025-11-25"
            self.streams.append(request.headers.get("last-event-id"))
            return StreamingResponse(self._stream(), media_type="text/event-stream")
        message = await request.json() if request.method == "POST" else {}
        if "method" not in message:
            self.replies.append(message)
        if "id" not in message or "method" not in message:
            return Response(status_code=202)
        results = {"initialize": LEGACY, "tools/list": {"tools": [TOOL]}}
        if message["method"] not in results:
            return Response(status_code=400)
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}
        return JSONResponse(answer, headers={"mcp-session-id": "s1"})


async def test_what_a_standing_stream_says() -> None:
    server = Standing(
        {"method": "notifications/tools/list_changed"},
        {"id": "p", "method": "ping"},
        {"id": 7, "method": "roots/list"},
        {"method": "notifications/message", "params": {"level": "info", "data": "x"}},
    )
    changes: list[None] = []
    ends: list[None] = []
    async with server.served as served:
        watched = lean(
            Target(url=served.url), on_change=lambda: changes.append(None), on_stream_end=lambda: ends.append(None)
        )
        async with watched as session:
            following = asyncio.create_task(session.follow())
            await eventually(lambda: len(server.replies) == 2)
            assert (len(changes), ends) == (1, [])
            server.cut.set()
            await eventually(lambda: len(server.streams) == 2)
            assert server.streams == [None, "e3"]
            assert len(ends) == 1
            following.cancel()
            await asyncio.wait([following])
    by_id = {reply["id"]: reply for reply in server.replies[:2]}
    assert by_id["p"] == {"jsonrpc": "2.0", "id": "p", "result": {}}
    assert by_id[7]["error"]["code"] == -32600


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_changed_list_is_heard_of(era: str) -> None:
    mcp = everything()
    told = Subscribable(mcp)
    async with ServedMCP(mcp, era=era) as served:
        async with backend(served.url, refreshSeconds=3600) as made:
            await eventually(lambda: era == "legacy" or "subscriptions/listen" in served.methods)
            await eventually(lambda: era == "modern" or "GET" in served.verbs)

            @mcp.tool
            def another() -> str:
                return ""

            async def told_and_listed() -> bool:
                await told.tools_changed()
                return len(made.catalogue.tools) == 6

            await eventually(told_and_listed)
            assert not any("user-agent" in request for request in served.requests)


@pytest.mark.parametrize("era", ["legacy", "both"])
async def test_a_server_that_was_replaced_is_listed_again(era: str) -> None:
    mcp = everything()
    async with ServedMCP(mcp, era=era) as served:
        async with backend(served.url, refreshSeconds=1) as made:
            await served.stop()

            @mcp.tool
            def another() -> str:
                return ""

            await served.start()
            await eventually(lambda: len(made.catalogue.tools) == 6)
            assert made.status.error is None


# Messages


def test_results_and_errors() -> None:
    assert messages.result({"result": {"a": 1}}) == {"a": 1}
    with pytest.raises(MCPError, match="no"):
        messages.result({"error": {"code": -1, "message": "no"}})
    for odd in (
        {},
        {"result": 1},
        {"result": {}, "error": {}},
        {"error": {"code": "1", "message": "no"}},
        {"error": 1},
    ):
        with pytest.raises(Unplain):
            messages.result(odd)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"{}", b'{"jsonrpc":"1.0"}', b"\xff"])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(Unplain):
        messages.parse(data)


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        ({"id": 1, "result": {}}, True),
        ({"id": 2, "result": {}}, False),
        ({"id": "1", "result": {}}, False),
        ({"id": True, "result": {}}, False),
        ({"id": 1, "method": "ping"}, False),
        ({"id": None, "error": {}}, False),
    ],
)
def test_whose_answer_it_is(message: dict[str, Any], answers: bool) -> None:
    assert messages.answers(message, 1) is answers


@pytest.mark.parametrize(("ttl", "floored"), [(-1, 0), (-0.5, 0), (5, 5), (True, True), ("-1", "-1")])
def test_a_negative_ttl_is_none(ttl: Any, floored: Any) -> None:
    answer = {"ttlMs": ttl}
    messages.floor_ttl(answer)
    assert answer == {"ttlMs": floored}
