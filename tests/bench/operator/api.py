"""Requests to the API server as plain as they can be: the benchmark should cost the machine little."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

Body = dict[str, Any]
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
_LINE: Final = 64 * 2**20


class ApiError(Exception):
    """An answer that is no success."""


class Api:
    """Use as `async with`. Paths as of the API: `/api/v1/namespaces/x/pods`."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._url = url
        self._ssl = context
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=64)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=_LINE, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, content: str = MERGE) -> Body:
        """One request. Raises ApiError."""
        headers = {"content-type": content if method == "PATCH" else "application/json"}
        data = None if body is None else json.dumps(body).encode()
        async with self._session.request(method, self._url + path, data=data, headers=headers) as answer:
            text = await answer.read()
            if answer.status >= 300:
                raise ApiError(f"{method} {path}: {answer.status} {text[:400].decode(errors='replace')}")
            found: Body = json.loads(text)
            return found

    async def apply(self, path: str, body: Mapping[str, Any]) -> Body:
        """Server-side apply, as `kubectl apply --server-side` does it."""
        return await self.send("PATCH", f"{path}?fieldManager=bench&force=true", body, APPLY)

    async def watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Body]]:
        """Type and object of each event after `version`, until the server ends the stream, as it does to who reads too slowly."""
        timeout = aiohttp.ClientTimeout(total=None)
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "false", "timeoutSeconds": "3600"}
        async with self._session.get(self._url + path, params=query, timeout=timeout) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]

    async def follow(self, path: str, on_event: Callable[[str, Body], None]) -> None:
        """List, then watch, and list again when the stream ends, until cancelled. What a list holds comes as `ADDED`."""
        while True:
            listed = await self.send("GET", path)
            for item in listed["items"]:
                on_event("ADDED", item)
            async for kind, body in self.watch(path, listed["metadata"]["resourceVersion"]):
                on_event(kind, body)


async def eventually(holds: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    """Wait until it holds. Raises TimeoutError with `why`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {why()}")
        await asyncio.sleep(0.02)
