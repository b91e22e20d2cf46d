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

import httpx2
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy.sessions.ids import Keys, nonce
from mcp_operator_proxy.sessions.peers import Peers
from mcp_operator_proxy.tasks import cancel

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
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=30),
            trust_env=False,
            verify=False,
        )
        self._trusted: dict[str, tuple[str, float]] = {}
        self._greeting: dict[str, asyncio.Task[str | None]] = {}
        self._streams: set[asyncio.Task[Outcome]] = set()

    async def close(self) -> None:
        await cancel([*self._greeting.values(), *self._streams])
        await self._http.aclose()

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
            response = await self._http.get(
                f"http://{address}{HELLO_PATH}", params={"challenge": challenge}, timeout=CONNECT_SECONDS
            )
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
            self._streams.add(relaying)
            relaying.add_done_callback(self._streams.discard)
        try:
            await asyncio.wait([relaying, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not relaying.done():  # the client has left
                await cancel([relaying])
            return Outcome.ANSWERED if relaying.cancelled() else relaying.result()
        finally:
            await cancel([relaying, leaving])

    async def _relay(self, address: str, hop: Hop, exchange: Exchange) -> Outcome:
        scope, body = exchange.scope, exchange.body
        request = httpx2.Request(
            scope["method"], _url(address, scope), headers=_headers(scope, hop, body), content=body or None
        )
        try:
            response = await self._http.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            self._trusted.pop(address, None)
            if isinstance(error, httpx2.ConnectTimeout):
                self.peers.shun(address)
            return Outcome.UNREACHABLE
        except httpx2.HTTPError as error:
            self._trusted.pop(address, None)
            logger.warning("a peer went away", extra={"address": address, "error": type(error).__name__})
            return Outcome.LOST
        try:
            if response.status_code == MISS_STATUS and HOP_HEADER.decode() in response.headers:
                await response.aread()
                return Outcome.MISSED
            await _pass_on(response, exchange)
            return Outcome.ANSWERED
        finally:
            await response.aclose()


async def _pass_on(response: httpx2.Response, exchange: Exchange) -> None:
    send = exchange.send
    headers = [(k.lower(), v) for k, v in response.headers.raw]
    kept = [(k, v) for k, v in headers if k not in _NOT_PASSED_ON and k not in (b"date", b"server")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
    try:
        async for chunk in response.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except httpx2.HTTPError:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
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


def _url(address: str, scope: Scope) -> httpx2.URL:
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string") or b""
    return httpx2.URL(f"http://{address}").copy_with(raw_path=path + (b"?" + query if query else b""))


def _headers(scope: Scope, hop: Hop, body: bytes) -> list[tuple[bytes, bytes]]:
    dropped = _NOT_PASSED_ON | {HOP_HEADER, b"content-length"}
    kept = [(k, v) for k, v in scope["headers"] if k not in dropped]
    # The owner checks Host and Origin by itself, and has to know of which scheme this process thinks.
    kept.append((HOP_HEADER, f"{hop.value};{scope.get('scheme', 'http')}".encode()))
    if body or scope["method"] == "POST":
        kept.append((b"content-length", str(len(body)).encode()))
    return kept


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
