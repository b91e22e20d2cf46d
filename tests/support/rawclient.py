"""A client that writes its HTTP requests itself, in either era, so that a test can say every byte.

async with raw_client(url, "legacy") as front:
    answer = await front.call("time_now", {})
    answer.status, answer.message, answer.notes
"""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import httpx2

Front = Literal["legacy", "modern"]
VERSIONS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
KEYS = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
ACCEPT = "application/json, text/event-stream"


@dataclass
class Answer:
    status: int
    kind: str
    message: dict[str, Any] | None
    """The JSON-RPC answer."""
    notes: list[dict[str, Any]] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)


class RawClient:
    def __init__(self, http: httpx2.AsyncClient, url: str, front: Front, headers: Mapping[str, str]) -> None:
        self.http = http
        self.url = url
        self.front: Front = front
        self.headers = {"accept": ACCEPT, "content-type": "application/json", **headers}
        self._ids = count(1)
        self.capabilities: dict[str, Any] = {}

    async def initialize(self, capabilities: dict[str, Any]) -> None:
        self.capabilities = capabilities
        if self.front == "modern":
            return
        info = {"clientInfo": {"name": "raw", "version": "1"}, "capabilities": capabilities}
        response = await self.post(
            {"id": 0, "method": "initialize", "params": {"protocolVersion": VERSIONS["legacy"], **info}}
        )
        self.headers["mcp-session-id"] = response.headers["mcp-session-id"]
        self.headers["mcp-protocol-version"] = VERSIONS["legacy"]
        await self.post({"method": "notifications/initialized"})

    def request(
        self, method: str, params: dict[str, Any], meta: dict[str, Any] | None = None, request_id: Any = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Body and headers of a request as this era has them."""
        meta, more = dict(meta or {}), {}
        if self.front == "modern":
            prefix = "io.modelcontextprotocol/"
            meta |= {
                f"{prefix}protocolVersion": VERSIONS["modern"],
                f"{prefix}clientInfo": {"name": "raw", "version": "1"},
                f"{prefix}clientCapabilities": self.capabilities,
            }
            more = {"mcp-protocol-version": VERSIONS["modern"], "mcp-method": method}
            if method in KEYS:
                more["mcp-name"] = str(params[KEYS[method]])
        sent = {**params, **({"_meta": meta} if meta else {})}
        return {"id": next(self._ids) if request_id is None else request_id, "method": method, "params": sent}, more

    async def post(self, message: Any, headers: Mapping[str, str] | None = None) -> Answer:
        content = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
        response = await self.http.post(self.url, content=content, headers={**self.headers, **(headers or {})})
        return read(response)

    async def ask(self, method: str, params: dict[str, Any], meta: dict[str, Any] | None = None) -> Answer:
        body, headers = self.request(method, params, meta)
        return await self.post(body, headers)

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> Answer:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments or {}}, **options)

    @contextlib.asynccontextmanager
    async def streamed(
        self, tool: str, meta: dict[str, Any] | None = None, request_id: Any = None
    ) -> AsyncIterator[httpx2.Response]:
        """A call whose response is read as it comes."""
        body, headers = self.request("tools/call", {"name": tool, "arguments": {}}, meta, request_id)
        content = json.dumps({"jsonrpc": "2.0", **body}).encode()
        async with self.http.stream("POST", self.url, content=content, headers={**self.headers, **headers}) as response:
            yield response


def read(response: httpx2.Response) -> Answer:
    kind = response.headers.get("content-type", "").partition(";")[0]
    if kind == "text/event-stream":
        messages = events(response.text)
    else:
        messages = [json.loads(response.content)] if kind == "application/json" and response.content else []
    answers = [m for m in messages if "method" not in m]
    return Answer(
        response.status_code,
        kind,
        answers[-1] if answers else None,
        [m for m in messages if "method" in m],
        response.headers,
    )


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]


@contextlib.asynccontextmanager
async def raw_client(
    url: str, front: Front, *, capabilities: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[RawClient]:
    async with httpx2.AsyncClient(timeout=20) as http:
        made = RawClient(http, url, front, headers or {})
        await made.initialize(capabilities or {})
        yield made
