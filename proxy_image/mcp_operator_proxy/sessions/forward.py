"""Hand a request to the process that holds its session, and its answer back, both as they come.

A peer has to show that it knows the signing key before it is sent anything of a client's: the address of a pod that is
gone may have become somebody else's.
"""

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import quote

import httpx2
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy.sessions.ids import Keys, nonce
from mcp_operator_proxy.sessions.peers import Peers
from mcp_operator_proxy.sessions.wire import Answer, Lost, Silent, Unreachable, Wire
from mcp_operator_proxy.tasks import cancel, keep

logger = logging.getLogger(__name__)
HOP_HEADER: Final = b"mcp-proxy-hop"
HOP: Final = "mcp_operator_proxy.hop"
"""Key of a `Hop` in the ASGI scope of a request that came from a peer."""
HELLO_PATH: Final = "/hello"
MISS_STATUS: Final = 421
CONNECT_SECONDS: Final = 1.0
TRUST_SECONDS: Final = 30.0
"""So long a proof of the key counts for an address."""
_NOT_PASSED_ON: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
)
"""Of one connection: RFC 9110, 7.6.1."""
_REPLACED: Final = _NOT_PASSED_ON | {HOP_HEADER, b"content-length"}


class Hop(Enum):
    """What the sender asks of a peer."""

    HOLD = "hold"
    """Serve it if you hold the session."""
    TAKE = "take"
    """Serve it, and take the session up if you do not hold it."""


class Outcome(Enum):
    ANSWERED = auto()
    MISSED = auto()
    """The peer does not hold the session, or will soon be gone."""
    UNREACHABLE = auto()
    """The request has not been sent."""
    LOST = auto()
    """The request was sent, and the peer went away before it answered."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An HTTP request whose body has been read, and where its answer goes."""

    scope: Scope
    body: bytes
    receive: Receive
    send: Send


class Forwarder:
    """`close` it in the end."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        # For greetings alone. No CA bundle is to be loaded: it is plain HTTP.
        self._http = httpx2.AsyncClient(timeout=CONNECT_SECONDS, trust_env=False, verify=False)
        self._wires: dict[str, Wire] = {}
        self._trusted: dict[str, tuple[str, float]] = {}
        self._greeting: dict[str, asyncio.Task[str | None]] = {}
        self._streams: set[asyncio.Task[Outcome]] = set()

    async def close(self) -> None:
        await cancel([*self._greeting.values(), *self._streams])
        await self._http.aclose()
        for wire in self._wires.values():
            wire.close()

    async def end_streams(self) -> None:
        """End the standing GET streams that run through here."""
        await cancel(self._streams)

    async def instance(self, address: str, keys: Keys) -> str | None:
        """Which process is at `address`; None where nobody answers, or somebody who does not know the key."""
        known = self._trusted.get(address)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        task = self._greeting.get(address)
        if task is None:
            task = self._greeting[address] = asyncio.get_running_loop().create_task(self._greet(address, keys))
            task.add_done_callback(lambda _: self._greeting.pop(address, None))
        return await asyncio.shield(task)

    async def _greet(self, address: str, keys: Keys) -> str | None:
        challenge = nonce()
        try:
            response = await self._http.get(f"http://{address}{HELLO_PATH}", params={"challenge": challenge})
            answer = response.json()
            instance, proof = str(answer["instance"]), str(answer["proof"])
        except httpx2.TimeoutException:
            self.peers.shun(address)
            return None
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return None
        if not keys.proven(f"{challenge} {instance}", proof):
            logger.warning("a peer does not know the signing key", extra={"address": address})
            self.peers.shun(address)
            return None
        self.peers.answered(address)
        self._trusted[address] = instance, time.monotonic() + TRUST_SECONDS
        return instance

    async def forward(self, address: str, hop: Hop, exchange: Exchange) -> Outcome:
        """Send the request there; only with ANSWERED has anything been sent to the client."""
        loop = asyncio.get_running_loop()
        relaying = loop.create_task(self._relay(address, hop, exchange))
        leaving = loop.create_task(_gone(exchange.receive))
        if exchange.scope["method"] == "GET":
            keep(relaying, self._streams)
        try:
            await asyncio.wait([relaying, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not relaying.done():  # the client has left
                await cancel([relaying])
            return Outcome.ANSWERED if relaying.cancelled() else relaying.result()
        finally:
            await cancel([relaying, leaving])

    async def _relay(self, address: str, hop: Hop, exchange: Exchange) -> Outcome:
        wire = self._wires.get(address)
        if wire is None:
            wire = self._wires[address] = Wire(address, CONNECT_SECONDS)
        try:
            answer = await wire.send(_request(address, hop, exchange))
        except (Unreachable, Lost) as error:
            self._trusted.pop(address, None)
            if self._wires.get(address) is wire:
                self._wires.pop(address).close()
            if isinstance(error, Silent):
                self.peers.shun(address)
            if isinstance(error, Unreachable):
                return Outcome.UNREACHABLE
            logger.warning("a peer went away", extra={"address": address})
            return Outcome.LOST
        try:
            status, headers = answer.head.result()
            if status == MISS_STATUS and HOP_HEADER in headers:
                return Outcome.MISSED
            await _pass_on(answer, exchange)
            return Outcome.ANSWERED
        finally:
            answer.abort()


async def _pass_on(answer: Answer, exchange: Exchange) -> None:
    send = exchange.send
    status, headers = answer.head.result()
    kept = [(k, v) for k, v in headers.items() if k not in _NOT_PASSED_ON and k not in (b"date", b"server")]
    await send({"type": "http.response.start", "status": status, "headers": kept})
    try:
        async for chunk in answer.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except Lost:
        if not headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            raise
        if exchange.scope["method"] == "POST":
            await send({"type": "http.response.body", "body": _event(lost(exchange.body)), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def lost(body: bytes) -> bytes:
    """The JSON-RPC error for a request whose holder went away; empty where it was no request."""
    try:
        request_id = json.loads(body).get("id")
    except (ValueError, AttributeError):
        return b""
    message = "the replica that held the session went away during the call, which may or may not have run"
    error: dict[str, Any] = {"code": -32603, "message": message, "data": {"errorClass": "ConnectionReset"}}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode() if request_id is not None else b""


def _event(data: bytes) -> bytes:
    # The blank line in front ends an event that was cut off.
    return b"\n\nevent: message\ndata: " + data + b"\n\n" if data else b""


def _request(address: str, hop: Hop, exchange: Exchange) -> bytes:
    scope, body = exchange.scope, exchange.body
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string") or b""
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), path + (b"?" + query if query else b""))]
    kept = [(key, value) for key, value in scope["headers"] if key not in _REPLACED]
    if all(key != b"host" for key, _ in kept):
        kept.append((b"host", address.encode()))
    # The owner checks Host and Origin by itself, and has to know of which scheme this process thinks.
    kept.append((HOP_HEADER, f"{hop.value};{scope.get('scheme', 'http')}".encode()))
    if scope["method"] == "POST":
        kept.append((b"content-length", b"%d" % len(body)))
    lines += [b"%b: %b" % header for header in kept]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
