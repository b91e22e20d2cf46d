# ruff: noqa: SIM117 - nested, in the order in which they start
"""How bytes get to a backend: HTTP/2, TLS, unix sockets, either MCP transport; no cookies, no answer without a limit."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastmcp import FastMCP
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.connect import Target, connect
from mcp_operator_proxy.backends.http import BackendTransport, http_client
from mcp_operator_proxy.backends.session import BackendSession, Call
from mcp_operator_proxy.backends.stdio import URL as STDIO_URL
from support.backends import ServedApp, ServedMCP, client
from support.gateway import make_config, running_gateway
from support.http2 import served_http2
from support.tls import Certificate


def echo(name: str = "echo", **options: Any) -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP(name, **options)

    @mcp.tool
    def say(word: str) -> str:
        return word

    return mcp


async def error_of(target: Target) -> tuple[str, str]:
    with pytest.raises(BackendError) as caught:
        async with connect(target) as connected:
            await connected.session.list_tools()
    return caught.value.report.error_class, caught.value.report.message


async def test_http2_carries_all_calls_on_one_connection(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_operator_proxy.backends.http.KEPT_SECONDS", 600.0)
    app = echo().http_app()
    async with app.router.lifespan_context(app), served_http2(app, certificate.certificate, certificate.key) as served:
        config = {"caBundle": certificate.pem, "http2": True}
        async with running_gateway(make_config({"e": f"{served.url}/mcp"}, server=config)) as running:
            async with client(running.url, "legacy") as legacy, client(running.url, "auto") as modern:
                words = [str(number) for number in range(20)]
                for through in (legacy, modern):
                    said = await asyncio.gather(*(through.call_tool("e_say", {"word": word}) for word in words))
                    assert [result.data for result in said] == words
            assert served.connections == 1
            assert served.streams > 40


async def test_http2_is_offered_only_where_the_config_says_so(certificate: Certificate) -> None:
    app = echo().http_app()
    async with app.router.lifespan_context(app), served_http2(app, certificate.certificate, certificate.key) as served:
        target = Target(url=f"{served.url}/mcp", ca_bundle=certificate.pem)
        assert (await error_of(target))[0] in {"ConnectionReset", "TLSFailure", "Unreachable"}
        assert served.streams == 0


async def test_a_server_without_http2_is_spoken_to_without_it(certificate: Certificate) -> None:
    async with served_uvicorn(echo(), ssl_certfile=certificate.certificate, ssl_keyfile=certificate.key) as server:
        port = server.servers[0].sockets[0].getsockname()[1]
        target = Target(url=f"https://127.0.0.1:{port}/mcp", ca_bundle=certificate.pem, http2=True)
        async with connect(target) as connected:
            assert len((await connected.session.list_tools()).tools) == 1


@contextlib.asynccontextmanager
async def served_uvicorn(mcp: FastMCP[Any], **options: Any) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(mcp.http_app(), log_config=None, timeout_graceful_shutdown=1, port=0, **options)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.002)
    try:
        yield server
    finally:
        server.should_exit = True
        await serving


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "mcp.sock")
    target = Target(url=STDIO_URL, uds=path)
    assert (await error_of(target))[0] == "Unreachable"
    async with served_uvicorn(echo(), uds=path):
        async with connect(target) as connected:
            assert len((await connected.session.list_tools()).tools) == 1
    assert (await error_of(target))[0] in {"ConnectionRefused", "Unreachable"}


@pytest.mark.parametrize(("transport", "forced"), [("http", "sse"), ("sse", "streamable-http")])
async def test_a_forced_transport_is_the_only_one_tried(transport: str, forced: Any) -> None:
    async with ServedMCP(echo(), transport=transport) as served:
        error_class, _ = await error_of(Target(url=served.url, transport=forced, connect_timeout=2))
        assert error_class in {"HTTPError", "NotMCP", "NotFound", "ProtocolError", "Timeout"}
        wrong = {"streamable-http": "GET", "sse": "POST"}[forced]
        assert wrong not in served.verbs
        right: Any = {"http": "streamable-http", "sse": "sse"}[transport]
        async with connect(Target(url=served.url, transport=right)) as connected:
            assert connected.transport == right


KINDS: dict[str, dict[str, Any]] = {
    "json": {"json_response": True},
    "stream": {"json_response": False},
    "sse": {"transport": "sse"},
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_list_larger_than_a_mebibyte(kind: str) -> None:
    mcp = echo()
    for number in range(12):
        mcp.tool(lambda: "", name=f"t{number}", description="x" * 100_000)
    async with (
        ServedMCP(mcp, **KINDS[kind]) as served,
        running_gateway(make_config({"e": served.url})) as running,
    ):
        async with client(running.url) as through:
            assert len(await through.list_tools()) == 13


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_larger_than_the_limit_is_refused_with_words(kind: str) -> None:
    mcp = echo()
    mcp.tool(lambda: "", name="t", description="x" * 100_000)
    async with ServedMCP(mcp, **KINDS[kind]) as served:
        target = Target(url=served.url, max_answer=50_000)
        async with target.http_client() as http:
            session = BackendSession(lambda: connect(target, http=http), lambda: ())
            await session.open()
            with pytest.raises(BackendError) as caught:
                await session.request("tools/list", {}, Call(None, 20))
            await session.close()
        report = caught.value.report
        assert (report.error_class, report.message) == (
            "ProtocolError", "the server's answer is larger than 50,000 bytes",
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["a length", "no length", "compressed"])
async def test_the_limit_holds_however_a_body_comes(kind: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"x": "y" * 100_000}}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    async def answer(_: Request) -> Response:
        if kind == "a length":
            return Response(body, media_type="application/json")
        if kind == "compressed":
            return Response(gzip.compress(body), media_type="application/json", headers={"content-encoding": "gzip"})
        return StreamingResponse(pieces(), media_type="application/json")

    async with ServedApp(lambda: Starlette(routes=[Route("/mcp", answer, methods=["POST"])])) as served:
        target = Target(url=served.url, transport="streamable-http", max_answer=50_000)
        assert await error_of(target) == ("ProtocolError", "the server's answer is larger than 50,000 bytes")
        async with Target(url=served.url, max_answer=200_000).http_client() as http:
            response = await http.post(served.url, headers={"accept": "application/json, text/event-stream"})
            assert response.content == body


async def test_cookies_of_one_users_answer_are_not_sent_with_anothers_request() -> None:
    cookies: list[str | None] = []

    async def answer(request: Request) -> Response:
        cookies.append(request.headers.get("cookie"))
        return JSONResponse({}, headers={"set-cookie": "session=ann; Path=/"})

    async with ServedApp(lambda: Starlette(routes=[Route("/mcp", answer, methods=["POST"])])) as served:
        async with http_client(BackendTransport({}, None), 5) as http:
            await http.post(served.url)
            await http.post(served.url)
        async with http_client(BackendTransport({"Cookie": "configured=1"}, None), 5) as http:
            await http.post(served.url)
    assert cookies == [None, None, "configured=1"]


@pytest.mark.parametrize(
    ("kind", "stream", "words"),
    [
        ("text/event-stream", "event: endpoint\ndata: http://elsewhere.example/m\n\n", "on another origin"),
        ("text/event-stream", ": nothing\n\n", "ended before it named an endpoint"),
        ("text/html", "<h1>Welcome</h1>", "it answered with text/html"),
    ],
)
async def test_what_is_no_sse_server(kind: str, stream: str, words: str) -> None:
    async def answer(_: Request) -> Response:
        return Response(stream, headers={"content-type": kind})

    async with ServedApp(lambda: Starlette(routes=[Route("/sse", answer)]), "/sse") as served:
        error_class, message = await error_of(Target(url=served.url, transport="sse"))
    assert (error_class, words in message) == ("NotMCP", True), message
