"""A near-free MCP server as a process of its own: prepared bytes, requests counted by method.

    python -m bench.backend --port 0 --era both --server starlette

prints `{"port": N}`. Three servers give the same answers: `starlette` (a request parsed and an answer rendered by Starlette and
the standard library, on uvicorn, uvloop and httptools: the least that an MCP server in Python does), `uvicorn` (an ASGI
application of prepared bytes, about a third of that), and `raw` (a protocol of its own over uvloop and httptools, a third again).
Every path is an MCP endpoint, so one process stands for any number of servers, but `/counts`, which tells the requests since
the last look with `?reset`: `{"tools/call": 3, "GET": 1, …}`.
"""

import argparse
import asyncio
import json
import signal
import socket
from collections import Counter
from typing import Any, Final, TypeAlias, cast

import httptools
import msgspec
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from bench.wire import results

Header: TypeAlias = tuple[bytes, bytes]
Reply: TypeAlias = tuple[int, tuple[Header, ...], bytes]
"""Status, headers without the length, body."""
_NO_METHOD: Final = b',"error":{"code":-32601,"message":"Method not found"}}'
_JSON: Final = ((b"content-type", b"application/json"),)
_STREAM: Final = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))
_OPEN_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_REASONS: Final = {200: b"OK", 202: b"Accepted", 400: b"Bad Request", 405: b"Method Not Allowed"}


class _Message(msgspec.Struct):
    method: str = ""
    id: msgspec.Raw = msgspec.Raw(b"")


_MESSAGE: Final = msgspec.json.Decoder(_Message)


class Backend:
    """What all connections share. `sse` answers calls as an event stream of one message, as FastMCP does by default."""

    def __init__(self, *, era: str = "both", tools: int = 1, sse: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.sse = sse
        self.sessions = 0
        self.results = {method: b',"result":' + body + b"}" for method, body in results(tools).items()}
        if era == "legacy":
            del self.results["server/discover"]
        elif era == "modern":
            del self.results["initialize"]

    def answer(self, body: bytes) -> Reply:
        """To one POST."""
        try:
            message = _MESSAGE.decode(body)
        except msgspec.MsgspecError:
            return 400, (), b""
        method = message.method
        self.counts[method] += 1
        if not message.id:
            return 202, (), b""
        out = b'{"jsonrpc":"2.0","id":' + message.id + self.results.get(method, _NO_METHOD)
        if method == "initialize":
            self.sessions += 1
            return 200, (*_JSON, (b"mcp-session-id", b"bench-%d" % self.sessions)), out
        if self.sse and method == "tools/call":
            return 200, _STREAM, b"event: message\r\ndata: " + out + b"\r\n\r\n"
        return 200, _JSON, out

    def stands(self, method: str, path: str) -> bool:
        """Whether it is a session's standing stream, which is opened and says nothing."""
        if method != "GET" or path == "/counts":
            return False
        self.counts[method] += 1
        return True

    def other(self, method: str, path: str, query: bytes) -> Reply:
        """To a DELETE, or a look at the counts."""
        if path != "/counts":
            self.counts[method] += 1
            return 200 if method == "DELETE" else 405, (), b""
        body = json.dumps(self.counts).encode()
        if query == b"reset":
            self.counts.clear()
        return 200, _JSON, body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As an ASGI application."""
        if scope["method"] == "POST":
            message = await receive()
            body = message["body"]
            while message.get("more_body"):
                message = await receive()
                body += message["body"]
            status, headers, content = self.answer(body)
        elif self.stands(scope["method"], scope["path"]):
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            await receive()  # the client has gone
            return
        else:
            status, headers, content = self.other(scope["method"], scope["path"], scope["query_string"])
        if headers is not _STREAM:
            headers = (*headers, (b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def starlette(backend: Backend) -> Starlette:
    """As an application that parses what comes and renders what goes, in the way of Starlette's documentation."""
    values = {method: msgspec.json.decode(b"{" + body[1:]) for method, body in backend.results.items()}

    async def post(request: Request) -> Response:
        try:
            message = await request.json()
            method, request_id = message["method"], message.get("id")
        except (ValueError, TypeError, KeyError):
            return Response(status_code=400)
        backend.counts[method] += 1
        if request_id is None:
            return Response(status_code=202)
        if method not in values:
            error = {"code": -32601, "message": "Method not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": error})
        headers = {}
        if method == "initialize":
            backend.sessions += 1
            headers = {"mcp-session-id": f"bench-{backend.sessions}"}
        return JSONResponse({"jsonrpc": "2.0", "id": request_id, **values[method]}, headers=headers)

    return Starlette(routes=[Route("/{path:path}", post, methods=["POST"]), Mount("/", backend)])


def rendered(reply: Reply) -> bytes:
    """A whole HTTP/1.1 response; an event stream as one chunk."""
    status, headers, body = reply
    if headers is _JSON:
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    head = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS[status]) + b"".join(b"%b: %b\r\n" % header for header in headers)
    if headers is _STREAM:
        return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


class _Connection(asyncio.Protocol):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport
        self._body = b""
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        method = self._parser.get_method()
        if method == b"POST":
            self._transport.write(rendered(self._backend.answer(body)))
            return
        path, _, query = self._url.partition(b"?")
        if self._backend.stands(method.decode(), path.decode()):
            self._transport.write(_OPEN_STREAM)
            return
        self._transport.write(rendered(self._backend.other(method.decode(), path.decode(), query)))


async def serve(backend: Backend, server: str, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    if server != "raw":
        config = uvicorn.Config(
            backend if server == "uvicorn" or backend.sse else starlette(backend),
            log_level="error",
            access_log=False,
            lifespan="off",
            http="httptools",
            timeout_keep_alive=600,
            timeout_graceful_shutdown=1,
        )
        await uvicorn.Server(config).serve([listening])
        return
    loop = asyncio.get_running_loop()
    raw = await loop.create_server(lambda: _Connection(backend), sock=listening, backlog=4096)
    ended = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, ended.set)
    await ended.wait()
    raw.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--era", choices=("legacy", "modern", "both"), default="both")
    parser.add_argument("--tools", type=int, default=1)
    parser.add_argument("--server", choices=("starlette", "uvicorn", "raw"), default="starlette")
    parser.add_argument("--sse", action="store_true", help="answer calls as event streams")
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        listening = socket.create_server((args.host, args.port), backlog=4096)
        runner.run(serve(Backend(era=args.era, tools=args.tools, sse=args.sse), args.server, listening))


if __name__ == "__main__":
    main()
