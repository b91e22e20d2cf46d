"""An MCP server that answers calls with prepared bytes and keeps what it was sent, in either era.

scripted = Scripted(era="legacy")
async with ServedApp(scripted.app) as served: …
scripted.calls            # the requests for calls, reads and gets: headers and body
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

META = "io.modelcontextprotocol/"
INFO = {"name": "scripted", "version": "1"}
CAPABILITIES = {"tools": {}, "prompts": {}, "resources": {}, "logging": {}}
TOOLS = (
    "text", "empty", "structured", "odd_structured", "image", "audio", "link", "failed", "meta", "extra", "broken",
    "no_result", "refused", "web_page", "overloaded", "bare_404", "progress", "hold", "die", "large", "escaped",
    "read_only", "cached", "headed", "compressed", "asks", "ping_me", "pauses",
)  # fmt: skip


@dataclass
class Sent:
    """One request as it came."""

    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def params(self) -> dict[str, Any]:
        found = self.body.get("params", {})
        assert isinstance(found, dict)
        return found


@dataclass
class Scripted:
    era: Literal["legacy", "modern"] = "legacy"
    calls: list[Sent] = field(default_factory=list)
    others: list[Sent] = field(default_factory=list)
    """Everything else that was posted."""
    gone: int = 0
    """Calls whose client went away."""

    def __post_init__(self) -> None:
        self.go = asyncio.Event()
        """Tools that hold go on when it is set."""
        self.more_tools: list[str] = []
        self.answers: dict[str, tuple[int, str, str | bytes]] = {}
        """Status, content type and body of the answers of further tools; ID and TOKEN in a body are the call's own, as JSON."""
        self.hold_once = ""
        """A tool whose next call gets no answer."""
        self.pause = 0.0
        """Seconds that a tool takes which pauses."""
        self.sessions = 0
        self.forgotten = False
        """It knows no session any more."""

    def app(self) -> ASGIApp:
        return self

    # HTTP

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] != "POST":
            await _reply(send, 405 if scope["method"] == "GET" else 200, b"")
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        sent = Sent(headers, json.loads(body))
        method = sent.body.get("method", "")
        if self.forgotten and "mcp-session-id" in headers and method != "initialize":
            await _reply(send, 404, b"{}")
        elif method in ("tools/call", "prompts/get", "resources/read"):
            self.calls.append(sent)
            await self._call(sent, receive, send)
        else:
            self.others.append(sent)
            await self._other(method, sent, send)

    async def _other(self, method: str, sent: Sent, send: Send) -> None:
        request_id = sent.body.get("id")
        if request_id is None or "method" not in sent.body:
            await _reply(send, 202, b"")
            return
        cache = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if self.era == "modern" else {}
        results: dict[str, Any] = {
            "tools/list": {**cache, "tools": [_definition(name) for name in (*TOOLS, *self.more_tools, *self.answers)]},
            "prompts/list": {**cache, "prompts": [{"name": "hello"}]},
            "resources/list": {**cache, "resources": [{"uri": "data://one", "name": "one"}]},
            "resources/templates/list": {**cache, "resourceTemplates": []},
            "logging/setLevel": {},
        }
        more: list[tuple[bytes, bytes]] = []
        if self.era == "legacy":
            results["initialize"] = {
                "protocolVersion": "2025-11-25",
                "capabilities": CAPABILITIES,
                "serverInfo": INFO,
            }
            if method == "initialize":
                self.sessions += 1
                self.forgotten = False
                more = [(b"mcp-session-id", b"s%d" % self.sessions)]
        else:
            discovered = {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "serverInfo": INFO}
            results["server/discover"] = {**cache, **discovered}
        if method in results:
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "result": results[method]}
        else:
            answer = {"jsonrpc": "2.0", "id": request_id, "error": {"code": -32601, "message": "Method not found"}}
        await _reply(send, 200, json.dumps(answer).encode(), more)

    # Calls

    async def _call(self, sent: Sent, receive: Receive, send: Send) -> None:
        name, request_id = sent.params.get("name", "read"), sent.body["id"]
        if name in self.answers:
            status, kind, body = self.answers[name]
            token = json.dumps(sent.params.get("_meta", {}).get("progressToken"))
            whole = body.encode() if isinstance(body, str) else body
            whole = whole.replace(b"ID", json.dumps(request_id).encode()).replace(b"TOKEN", token.encode())
            await _reply(send, status, whole, kind=kind.encode())
            return
        special = getattr(self, f"_{name}", None)
        if name == self.hold_once:
            self.hold_once, special = "", self._hold
        if special is not None:
            await special(sent, receive, send)
            return
        await _reply(send, 200, _answer(request_id, self._result(name, sent)))

    def _result(self, name: str, sent: Sent) -> dict[str, Any]:
        text = {"type": "text", "text": json.dumps(sent.params.get("arguments"), sort_keys=True)}
        found: dict[str, Any] = {
            "read": {"contents": [{"uri": sent.params.get("uri"), "text": "one"}], **self._fresh()},
            "hello": {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]},
            "empty": {"content": []},
            "structured": {"content": [text], "structuredContent": {"a": [1, None, "é"]}},
            "odd_structured": {"content": [text], "structuredContent": [1, 2]},
            "image": {"content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]},
            "audio": {"content": [{"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}]},
            "link": {"content": [{"type": "resource_link", "uri": "data://one", "name": "one"}]},
            "failed": {"content": [text], "isError": True},
            "meta": {"content": [text], "_meta": {"x.example/y": 1, f"{META}serverInfo": INFO}},
            "extra": {"content": [{"type": "text", "text": "x", "annotations": {"priority": 1.0}}], "more": 1},
            "broken": {"content": "not a list"},
        }.get(name, {"content": [text]})
        return {"resultType": "complete", **found} if self.era == "modern" else found

    def _fresh(self) -> dict[str, Any]:
        return {"ttlMs": 1000, "cacheScope": "public"} if self.era == "modern" else {}

    async def _no_result(self, sent: Sent, _: Receive, send: Send) -> None:
        await _reply(send, 200, json.dumps({"jsonrpc": "2.0", "id": sent.body["id"]}).encode())

    async def _refused(self, sent: Sent, _: Receive, send: Send) -> None:
        error = {"code": -32602, "message": "no such argument", "data": {"a": 1}}
        body = json.dumps({"jsonrpc": "2.0", "id": sent.body["id"], "error": error}).encode()
        await _reply(send, 400 if self.era == "modern" else 200, body)

    async def _web_page(self, _: Sent, __: Receive, send: Send) -> None:
        await _reply(send, 200, b"<html>", kind=b"text/html")

    async def _overloaded(self, _: Sent, __: Receive, send: Send) -> None:
        await _reply(send, 503, b"busy", kind=b"text/plain")

    async def _bare_404(self, _: Sent, __: Receive, send: Send) -> None:
        await _reply(send, 403, b"no", kind=b"text/plain")

    async def _compressed(self, sent: Sent, _: Receive, send: Send) -> None:
        assert sent.headers["accept-encoding"] in (
            "identity",
            "gzip, deflate, br, zstd",
            "gzip, deflate, br",
            "gzip, deflate",
        )
        await _reply(send, 200, _answer(sent.body["id"], self._result("text", sent)))

    async def _escaped(self, sent: Sent, _: Receive, send: Send) -> None:
        result = json.dumps(self._result("text", sent)).encode()
        await _reply(
            send,
            200,
            b' {"result" : ' + result + b' , "id":' + json.dumps(sent.body["id"]).encode() + b',"jsonrpc":"2.0"} ',
        )

    async def _large(self, sent: Sent, _: Receive, send: Send) -> None:
        """1 MiB of text in 16 parts; after the first half it holds."""
        result = {**self._result("text", sent), "content": [{"type": "text", "text": "x" * 2**20}]}
        body = json.dumps({"jsonrpc": "2.0", "id": sent.body["id"], "result": result}, separators=(",", ":")).encode()
        await send(_start(200, b"application/json", []))
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await self.go.wait()
        await send({"type": "http.response.body", "body": body[half:], "more_body": False})

    async def _progress(self, sent: Sent, _: Receive, send: Send) -> None:
        """A log line, progress, and after `go` the answer."""
        await send(_start(200, b"text/event-stream", []))
        token = sent.params.get("_meta", {}).get("progressToken")
        notes: list[dict[str, Any]] = [
            {"method": "notifications/message", "params": {"level": "info", "data": "working"}},
            {"method": "notifications/resources/list_changed"},
        ]
        if token is not None:
            params = {"progressToken": token, "progress": 1, "total": 2}
            notes.append({"method": "notifications/progress", "params": params})
        for note in notes:
            await send(_event({"jsonrpc": "2.0", **note}))
        await self.go.wait()
        await send(_event(json.loads(_answer(sent.body["id"], self._result("text", sent)))))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ping_me(self, sent: Sent, _: Receive, send: Send) -> None:
        await send(_start(200, b"text/event-stream", []))
        for number, method in enumerate(("ping", "roots/list")):
            await send(_event({"jsonrpc": "2.0", "id": f"q{number}", "method": method}))
        await self.go.wait()
        await send(_event(json.loads(_answer(sent.body["id"], self._result("text", sent)))))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pauses(self, sent: Sent, _: Receive, send: Send) -> None:
        await asyncio.sleep(self.pause)
        await _reply(send, 200, _answer(sent.body["id"], self._result("text", sent)))

    async def _hold(self, sent: Sent, receive: Receive, send: Send) -> None:
        waiting = asyncio.ensure_future(self.go.wait())
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait([waiting, leaving], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if leaving.done():
            self.gone += 1
            return
        leaving.cancel()
        await _reply(send, 200, _answer(sent.body["id"], self._result("text", sent)))

    async def _die(self, sent: Sent, _: Receive, send: Send) -> None:
        """The connection breaks in the middle of the answer."""
        body = _answer(sent.body["id"], self._result("text", sent))
        await send(_start(200, b"application/json", [(b"content-length", b"%d" % len(body))]))
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        raise ConnectionResetError

    async def _asks(self, sent: Sent, _: Receive, send: Send) -> None:
        """A modern server's question; the second request has the answer."""
        if "inputResponses" in sent.params:
            result = {
                "resultType": "complete",
                "content": [{"type": "text", "text": json.dumps(sent.params["inputResponses"])}],
            }
        else:
            schema = {"type": "object", "properties": {"a": {"type": "string"}}}
            question = {
                "method": "elicitation/create",
                "params": {"mode": "form", "message": "?", "requestedSchema": schema},
            }
            result = {"resultType": "input_required", "inputRequests": {"q": question}, "requestState": "s"}
        await _reply(send, 200, _answer(sent.body["id"], result))


def _definition(name: str) -> Mapping[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if name == "headed":
        schema["properties"] = {"region": {"type": "string", "x-mcp-header": "Region"}}
    annotations = {"annotations": {"readOnlyHint": True}} if name in ("read_only", "cached") else {}
    return {"name": name, "inputSchema": schema, **annotations}


def _answer(request_id: Any, result: Mapping[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()


def _event(message: Mapping[str, Any]) -> dict[str, Any]:
    data = b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"
    return {"type": "http.response.body", "body": data, "more_body": True}


def _start(status: int, kind: bytes, more: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), *more]}


async def _reply(
    send: Send,
    status: int,
    body: bytes,
    more: list[tuple[bytes, bytes]] | None = None,
    kind: bytes = b"application/json",
) -> None:
    await send(_start(status, kind, [(b"content-length", b"%d" % len(body)), *(more or [])]))
    await send({"type": "http.response.body", "body": body})
