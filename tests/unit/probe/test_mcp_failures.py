"""A probe of what is no healthy MCP server: each has its class and a message to act on, in time, and with no secret in it.

Nobody there: closed port, unknown host · there but silent: before, in and after the handshake · there but something else: HTML,
garbage, statuses, redirects, JSON that is no JSON-RPC · TLS: untrusted, plain on either side, a bundle that is none · there but
hostile: endless bodies, pages, tools, compressed answers, echoed credentials.
"""

import asyncio
import base64
import gzip
import json
import logging
import ssl
import time
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_operator.probe import mcp
from mcp_operator.probe.facts import ProbeResult
from mcp_operator.probe.mcp import probe
from mcp_operator.probe.target import Target
from support.backends import dead_port
from support.tls import Certificate
from unit.probe.servers import (
    INITIALIZED,
    Connection,
    Reply,
    RPCError,
    Scripted,
    always,
    as_json,
    event_stream,
    http,
    raw,
    served,
    tool,
)

TIMEOUT = 30.0
SHORT = 0.25


def failed(result: ProbeResult) -> tuple[str, str]:
    assert result.error is not None, result.facts
    assert result.facts is None
    assert not result.ok
    return result.error.error_class, result.error.message


def html(status: str = "200 OK") -> Reply:
    return http(status, b"<!doctype html><title>Welcome</title>", content_type="text/html")


async def test_a_dead_port() -> None:
    error_class, message = failed(await probe(Target(url=f"http://127.0.0.1:{dead_port()}/mcp")))
    assert error_class == "ConnectionRefused"
    assert "check" in message


async def test_an_unknown_host() -> None:
    too_long_to_be_asked_for = ".".join(["a" * 60] * 5)
    error_class, message = failed(await probe(Target(url=f"http://{too_long_to_be_asked_for}/mcp")))
    assert (error_class, "resolve" in message) == ("DNSFailure", True)


ANSWERS: dict[str, tuple[Reply, str, str]] = {
    "a web page": (html(), "NotMCP", "text/html"),
    "no content": (http("200 OK"), "NotMCP", ""),
    "garbage that claims to be JSON": (
        http("200 OK", b"\x00\xff{]", content_type="application/json"),
        "NotMCP",
        "JSON",
    ),
    "JSON that is no JSON-RPC": (as_json({"status": "ok"}), "NotMCP", "JSON-RPC"),
    "a JSON list": (as_json([1, 2]), "NotMCP", "JSON-RPC"),
    "no HTTP": (Reply(b"220 mail.example.com ESMTP\r\n", "close"), "ConnectionReset", ""),
    "400": (html("400 Bad Request"), "HTTPError", "400"),
    "401": (http("401 Unauthorized", www_authenticate="Bearer"), "Unauthorized", "bearer token"),
    "403": (html("403 Forbidden"), "Unauthorized", "403"),
    "404": (html("404 Not Found"), "NotFound", "path"),
    "405": (http("405 Method Not Allowed"), "HTTPError", "405"),
    "500": (html("500 Internal Server Error"), "HTTPError", "500"),
    "503": (as_json({"detail": "starting"}, "503 Service Unavailable"), "HTTPError", "503"),
    "202 without an answer": (http("202 Accepted"), "ProtocolError", ""),
    "a connection that is closed": (Reply(then="close"), "ConnectionReset", "closed"),
    "a body that is cut short": (
        http("200 OK", b'{"json', length=99, then="close", content_type="application/json"),
        "ConnectionReset",
        "",
    ),
    "an event stream that ends": (event_stream(b""), "ConnectionReset", ""),
    "an event that is no JSON": (event_stream(b"event: message\ndata: hello\n\n"), "NotMCP", ""),
    "an event that is no JSON-RPC": (event_stream(b'event: message\ndata: {"a": 1}\n\n'), "NotMCP", ""),
}


@pytest.mark.parametrize(("reply", "error_class", "words"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_none(reply: Reply, error_class: str, words: str) -> None:
    async with raw(always(reply)) as url:
        result = await probe(Target(url=url, transport="streamable-http", timeout=TIMEOUT))
    found, message = failed(result)
    assert found == error_class, message
    assert words in message
    assert result.seconds < TIMEOUT - 1, "it was found out, not waited for"


@pytest.mark.parametrize("answer", ["a web page", "JSON that is no JSON-RPC", "401", "404", "405", "500"])
async def test_what_streamable_http_met_is_told_when_sse_fails_too(answer: str) -> None:
    reply, error_class, words = ANSWERS[answer]
    async with raw(always(reply)) as url:
        found, message = failed(await probe(Target(url=url, timeout=TIMEOUT)))
    assert (found, words in message) == (error_class, True), message


async def test_a_redirect_to_elsewhere() -> None:
    async with raw(always(http("302 Found", location="http://127.0.0.1:1/login?next=mcp"))) as url:
        error_class, message = failed(await probe(Target(url=url)))
    assert error_class in {"HTTPError", "ProtocolError"}
    assert "edirect" in message


SILENCES: dict[str, Reply | Scripted] = {
    "says nothing": Reply(then="hang"),
    "half a status line": Reply(b"HTTP/1.1 2", "hang"),
    "headers and no body": http("200 OK", length=99, then="hang", content_type="application/json"),
    "an event stream of comments": Reply(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: ping\n\n", "hang"
    ),
    "no answer to initialize": Scripted({"initialize": Reply(then="hang")}),
    "no answer to initialized": Scripted({"notifications/initialized": Reply(then="hang")}),
    "no answer to tools/list": Scripted({"tools/list": Reply(then="hang")}),
    "half an answer to tools/list": Scripted(
        {"tools/list": http("200 OK", b"{", length=99, then="hang", content_type="application/json")}
    ),
}


@pytest.mark.parametrize("server", SILENCES.values(), ids=SILENCES)
async def test_a_server_that_hangs(server: Reply | Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_operator.probe.exchange._CLOSE_SECONDS", 0.2)
    began = time.monotonic()
    async with raw(always(server) if isinstance(server, Reply) else server) as url:
        error_class, _ = failed(await probe(Target(url=url, timeout=SHORT)))
    assert error_class == "Timeout"
    assert time.monotonic() - began < SHORT + 30


async def test_a_server_that_hangs_on_discovery_alone_is_healthy() -> None:
    async with raw(Scripted({"server/discover": Reply(then="hang"), "tools/list": {"tools": [tool("a")]}})) as url:
        result = await probe(Target(url=url, timeout=5))
    assert result.facts is not None, result.error
    assert result.facts.tools == ("a",)


async def test_the_session_of_a_server_that_hangs_is_ended() -> None:
    server = Scripted({"tools/list": Reply(then="hang")})
    async with raw(server) as url:
        failed(await probe(Target(url=url, timeout=3)))
    assert server.methods[-1] == "DELETE"


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "initialize without a version": ({"initialize": {"capabilities": {}}}, "ProtocolError"),
    "a version from nowhere": ({"initialize": INITIALIZED | {"protocolVersion": "1999-01-01"}}, "ProtocolError"),
    "tools that are no list": ({"tools/list": {"tools": "all"}}, "ProtocolError"),
    "a tool without a schema": ({"tools/list": {"tools": [{"name": "a"}]}}, "ProtocolError"),
    "initialize is refused": ({"initialize": RPCError("no more licences")}, "ProtocolError"),
    "initialize is refused with a status": ({"initialize": RPCError("no", status="400 Bad Request")}, "ProtocolError"),
    "tools/list fails": ({"tools/list": RPCError("database is down")}, "ProtocolError"),
    "tools/list is unauthorized": ({"tools/list": http("401 Unauthorized")}, "Unauthorized"),
    "tools/list is cut off": ({"tools/list": Reply(then="close")}, "ConnectionReset"),
    "the session is gone": ({"tools/list": http("404 Not Found")}, "NotFound"),
    "a cursor that comes again": ({"tools/list": {"tools": [tool("a")], "nextCursor": "again"}}, "ProtocolError"),
}


@pytest.mark.parametrize(("script", "error_class"), BROKEN.values(), ids=BROKEN)
async def test_a_server_that_breaks_the_protocol(script: dict[str, Any], error_class: str) -> None:
    async with raw(Scripted(script)) as url:
        found, message = failed(await probe(Target(url=url)))
    assert found == error_class, message


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


async def test_a_certificate_that_nobody_trusts(tls: ssl.SSLContext) -> None:
    async with raw(Scripted(), tls) as url:
        error_class, message = failed(await probe(Target(url=url)))
    assert (error_class, "CA bundle" in message) == ("TLSFailure", True)


async def test_tls_to_a_plain_port() -> None:
    async with raw(always(html())) as url:
        error_class, _ = failed(await probe(Target(url=url.replace("http:", "https:"), timeout=1)))
    assert error_class in {"TLSFailure", "Timeout"}


async def test_plain_http_to_a_tls_port(tls: ssl.SSLContext) -> None:
    async with raw(Scripted(), tls) as url:
        error_class, _ = failed(await probe(Target(url=url.replace("https:", "http:"))))
    assert error_class in {"ConnectionReset", "NotMCP"}


async def test_a_ca_bundle_that_is_none() -> None:
    error_class, message = failed(await probe(Target(url="https://127.0.0.1:1", ca_bundle="-----BEGIN NOTHING-----")))
    assert (error_class, "PEM" in message) == ("TLSFailure", True)


@pytest.mark.parametrize("value", ["two\nlines", "snow \N{SNOWMAN}", "nul\0"])
async def test_a_header_that_cannot_be_sent(value: str) -> None:
    _, message = failed(await probe(Target(url="http://127.0.0.1:1", headers={"X-Key": value})))
    assert "X-Key" in message
    assert value not in message


@pytest.mark.parametrize(
    "url", ["http://a..b/mcp", "http://[::1/mcp", "http://127.0.0.1:99999/mcp", "ftp://127.0.0.1/"]
)
async def test_a_url_that_leads_nowhere(url: str) -> None:
    failed(await probe(Target(url=url)))


SECRETS = {
    "X-Api-Key": "k-0123456789abcdef",
    "Authorization": "Bearer eyJ.token.abc",
    "Proxy-Authorization": "Basic " + base64.b64encode(b"alice:opensesame").decode(),
}


@pytest.mark.parametrize("where", ["server/discover", "initialize", "tools/list", "page", "schema"])
async def test_echoed_credentials_are_not_told(where: str, caplog: pytest.LogCaptureFixture) -> None:
    words = " ".join(["k-0123456789abcdef", "eyJ.token.abc", "opensesame", *SECRETS.values()])
    script: dict[str, Any] = {
        "server/discover": {"server/discover": RPCError(words), "initialize": RPCError(words)},
        "initialize": {"initialize": RPCError(words)},
        "tools/list": {"tools/list": RPCError(words)},
        "page": {"initialize": http("500 Internal Server Error", words.encode(), content_type="text/plain")},
        "schema": {"tools/list": {"tools": [{"name": {words: words}}]}},
    }[where]
    with caplog.at_level(logging.DEBUG, logger="mcp_operator"):
        async with raw(Scripted(script)) as url:
            result = await probe(Target(url=url, headers=SECRETS))
    _, message = failed(result)
    for secret in ("0123456789abcdef", "token", "opensesame", SECRETS["Proxy-Authorization"].split()[1]):
        assert secret not in message
    assert "0123456789abcdef" not in repr(Target(url="http://a", headers=SECRETS))
    assert not [
        record
        for record in caplog.records
        if record.name.startswith("mcp_operator") and "opensesame" in record.getMessage()
    ]


def endless(head: bytes, chunk: bytes) -> Connection:
    """Sends `chunk` for ever, until the other side hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        while True:
            writer.write(chunk)
            await writer.drain()

    return handle


ENDLESS = {
    "JSON": endless(b"content-type: application/json", b" " * 65536),
    "an event": endless(b"content-type: text/event-stream", b"data: " + b"x" * 65530),
    "comments": endless(b"content-type: text/event-stream", b": ping\n" * 8192),
    "an error page": endless(b"content-type: text/html", b" " * 65536),
}


@pytest.mark.parametrize("server", ENDLESS.values(), ids=ENDLESS)
async def test_an_answer_without_end(server: Connection) -> None:
    async with raw(server) as url:
        result = await probe(Target(url=url, timeout=TIMEOUT, transport="streamable-http"))
    assert failed(result)[0] in {"ProtocolError", "NotMCP", "ConnectionReset"}
    assert result.seconds < TIMEOUT - 1


async def test_pages_without_end() -> None:
    """Every page has another cursor; each holds as much as a small answer may."""
    asked = 0

    def page(_: Any) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"tools": [tool(f"t{asked}") | {"description": "x" * 400_000}], "nextCursor": str(asked)}

    async with raw(Scripted({"tools/list": page})) as url:
        error_class, message = failed(await probe(Target(url=url, timeout=90)))
    assert (error_class, "8 MiB" in message) == ("ProtocolError", True)
    assert asked < 25


@pytest.mark.parametrize(("count", "fine"), [(10_000, True), (10_001, False)])
async def test_how_many_tools_are_taken_in(count: int, fine: bool) -> None:
    async with raw(Scripted({"tools/list": {"tools": [tool(f"t{number}") for number in range(count)]}})) as url:
        result = await probe(Target(url=url, timeout=90))
    if fine:
        assert result.facts is not None
        assert len(result.facts.tools) == mcp.MAX_TOOLS
    else:
        assert "10001 tools" in failed(result)[1]


async def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(json.dumps({"jsonrpc": "2.0", "id": 1, "result": "x" * 1_000_000}).encode())
    async with raw(always(http("200 OK", bomb, content_type="application/json", content_encoding="gzip"))) as url:
        error_class, _ = failed(await probe(Target(url=url, transport="streamable-http")))
    assert error_class == "NotMCP"


async def test_a_server_that_wants_oauth_says_whom_it_trusts() -> None:
    async def refuse(_: Request) -> Response:
        return Response(status_code=401, headers={"www-authenticate": "Bearer"})

    async def tell(_: Request) -> Response:
        return JSONResponse({"authorization_servers": ["https://auth.example.com"]})

    routes = [Route("/mcp", refuse, methods=["POST"]), Route("/.well-known/oauth-protected-resource/mcp", tell)]
    async with served(Starlette(routes=routes)) as url:
        error_class, message = failed(await probe(Target(url=f"{url}/mcp")))
    assert (error_class, "get a token from https://auth.example.com" in message) == ("Unauthorized", True)
