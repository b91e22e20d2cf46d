"""A real HTTP proxy between an operator and the API server: it notes what is asked, and disturbs it as a test wants.

async with Between(plane.url, tls) as between:
    between.refuse(lambda asked: asked.method == "PATCH", 429, times=20, retry_after=1)
    between.mute("mcpservers")          # its watch streams bring nothing any more, and stay open
    between.tell("mcpservers", event)   # an event of the test's own in its watch streams
    between.cut()                       # every watch stream breaks
"""

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

Body = dict[str, Any]
_HEADERS = ("Accept", "Authorization", "Content-Type", "User-Agent")


@dataclass(frozen=True)
class Asked:
    """One request. `path` is without the query; `at` is monotonic, `status` that of the answer."""

    method: str
    path: str
    query: dict[str, str]
    agent: str
    body: bytes
    status: int
    at: float

    @property
    def watches(self) -> bool:
        return self.query.get("watch") in {"1", "true"}

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def plural(self) -> str:
        """Of the collection or object that it is about: `mcpservers`."""
        parts = self.path.strip("/").split("/")
        rest = parts[3 if parts[0] == "apis" else 2 :]
        return rest[2] if rest[:1] == ["namespaces"] and len(rest) > 2 else rest[0] if rest else ""


Chooses = Callable[[Asked], bool]


@dataclass
class _Refusal:
    chooses: Chooses
    status: int
    reason: str
    left: int
    headers: dict[str, str]
    used: int = 0


@dataclass(eq=False)
class _Stream:
    plural: str
    own: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    """Lines on their way to the client; b"" ends the stream, None breaks it."""


class Between:
    """Use as `async with`; `url` is what the operator's kubeconfig names."""

    def __init__(self, upstream: str, tls: ssl.SSLContext) -> None:
        self._upstream = upstream
        self._tls = tls
        self._refusals: list[_Refusal] = []
        self._muted: set[str] = set()
        self._streams: set[_Stream] = set()
        self.asked: list[Asked] = []
        self.sent: list[Asked] = []
        """What was passed on, noted before its answer is there (`status` 0): who asked may not live to hear it."""
        self.opened: Counter[str] = Counter()
        """Watch streams that were opened so far, by plural."""
        self.url = ""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False)
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    @property
    def writes(self) -> list[Asked]:
        """Requests that changed something, but for those of the Lease."""
        return [asked for asked in self.asked if asked.writes and asked.status < 300 and asked.plural != "leases"]

    def watching(self, plural: str) -> int:
        """Open watch streams."""
        return sum(stream.plural == plural for stream in self._streams)

    def refuse(
        self, chooses: Chooses, status: int, *, reason: str = "", times: int = 10**9, retry_after: int | None = None
    ) -> _Refusal:
        """Answer what is chosen with a `Status` of one's own, so often."""
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        refusal = _Refusal(chooses, status, reason, times, headers)
        self._refusals.append(refusal)
        return refusal

    def relent(self) -> None:
        """Refuse nothing, mute nothing."""
        self._refusals.clear()
        self._muted.clear()

    def mute(self, *plurals: str) -> None:
        """From now on nothing comes out of the watch streams of these, neither of open ones nor of new ones."""
        self._muted.update(plurals)

    def tell(self, plural: str, event: Body) -> int:
        """Put an event into the open watch streams; how many there are."""
        streams = [stream for stream in self._streams if stream.plural == plural]
        for stream in streams:
            stream.own.put_nowait(json.dumps(event).encode() + b"\n")
        return len(streams)

    def cut(self, *plurals: str) -> None:
        """Break the watch streams (of these) in the middle."""
        for stream in self._streams:
            if not plurals or stream.plural in plurals:
                stream.own.put_nowait(None)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method,
            request.path,
            dict(request.query),
            request.headers.get("User-Agent", ""),
            await request.read(),
            0,
            time.monotonic(),
        )
        refusal = next((one for one in self._refusals if one.left > 0 and one.chooses(asked)), None)
        if refusal is not None:
            refusal.left -= 1
            refusal.used += 1
            self._note(asked, refusal.status)
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": refusal.status}
            body = {**status, "reason": refusal.reason, "message": "refused by the test"}
            return web.json_response(body, status=refusal.status, headers=refusal.headers)
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
        headers["Accept-Encoding"] = (
            "identity"  # the API server compresses long answers, and bodies go through as they are
        )
        url = URL(self._upstream + request.raw_path, encoded=True)
        timeout = aiohttp.ClientTimeout(total=None)
        self.sent.append(asked)
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=asked.body or None, timeout=timeout
            ) as answer:
                self._note(asked, answer.status)
                if asked.watches and answer.status == 200 and asked.query.get("timeoutSeconds") != "1":
                    return await self._stream(request, asked.plural, answer)
                kept = {
                    name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers
                }
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)
        except aiohttp.ClientError:  # the API server is away: so is this
            _break(request)
            return web.Response(status=502)

    def _note(self, asked: Asked, status: int) -> None:
        self.asked.append(Asked(**{**asked.__dict__, "status": status}))

    async def _stream(self, request: web.Request, plural: str, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass on the watch's lines, and those of the test."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        stream = _Stream(plural)
        self._streams.add(stream)
        self.opened[plural] += 1
        upstream = asyncio.create_task(self._pump(answer, stream))
        try:
            while line := await stream.own.get():
                await response.write(line)
            if line is None:
                _break(request)
            return response
        finally:
            self._streams.discard(stream)
            upstream.cancel()
            await asyncio.gather(upstream, return_exceptions=True)

    async def _pump(self, answer: aiohttp.ClientResponse, stream: _Stream) -> None:
        rest = b""
        end: bytes | None = b""
        try:
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if stream.plural not in self._muted:
                        stream.own.put_nowait(line + b"\n")
        except aiohttp.ClientError:
            end = None
        stream.own.put_nowait(end)


def _break(request: web.Request) -> None:
    """End the connection in the middle of what it carries."""
    if request.transport is not None:
        request.transport.abort()
