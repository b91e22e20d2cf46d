"""A client of the 2026-07-28 era that writes its requests itself, so that nothing is done for it.

async with ModernClient(url, {"elicitation": {}}) as modern:
    answer = await modern.call("ask", {})
    answer.result, answer.error, answer.notes      # what came back, and the notifications before it
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

import httpx2

VERSION = "2026-07-28"
_NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"} | dict.fromkeys(
    ("tasks/get", "tasks/update", "tasks/cancel"), "taskId"
)


@dataclass
class Answer:
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    status: int = 200
    notes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def questions(self) -> dict[str, Any]:
        assert self.result is not None, self.error
        found = self.result.get("inputRequests")
        return found if isinstance(found, dict) else {}

    @property
    def state(self) -> str:
        assert self.result is not None, self.error
        assert self.result["resultType"] == "input_required", self.result
        return str(self.result["requestState"])

    @property
    def text(self) -> str:
        assert self.result is not None, self.error
        return str(self.result["content"][0]["text"])


class ModernClient:
    def __init__(self, url: str, capabilities: Mapping[str, Any] | None = None, *, key: str | None = None) -> None:
        self.url = url
        self.capabilities = capabilities or {}
        self._headers = {"x-api-key": key} if key else {}
        self._ids = count(1)
        self.http = httpx2.AsyncClient(timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **more: Any) -> Answer:
        return await self.request("tools/call", {"name": tool, "arguments": arguments or {}}, **more)

    async def go_on(self, before: Answer, tool: str, responses: Any, arguments: Any = None, **more: Any) -> Answer:
        """The same call with answers to what `before` asked."""
        return await self.call(tool, arguments, requestState=before.state, inputResponses=responses, **more)

    async def request(self, method: str, params: dict[str, Any], *, meta: Any = None, **more: Any) -> Answer:
        said = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            **(meta or {}),
        }
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": {**params, **more, "_meta": said}}
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": VERSION,
            "mcp-method": method,
            **self._headers,
        }
        if method in _NAMES:
            headers["mcp-name"] = str(params[_NAMES[method]])
        response = await self.http.post(self.url, json=body, headers=headers)
        return _read(response)


def _read(response: httpx2.Response) -> Answer:
    answer = Answer(status=response.status_code)
    if response.headers["content-type"].startswith("text/event-stream"):
        lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        messages = [json.loads(line) for line in lines]
    else:
        messages = [response.json()]
    for message in messages:
        if "method" in message:
            answer.notes.append(message)
        else:
            answer.result, answer.error = message.get("result"), message.get("error")
    return answer
