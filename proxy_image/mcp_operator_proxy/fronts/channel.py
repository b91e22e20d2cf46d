"""Clients that hold one two-way channel to an endpoint: HTTP+SSE, stdin and stdout, Python in this process.

Streamable HTTP has its own sessions.

    async with channels.open(principal) as channel:
        await channel.put(message)                  # from the client
        async for message in channel.messages():    # to the client
            ...

A channel is a session of the handshake eras; with `modern` the client's first request decides its era.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final
from uuid import uuid4

import anyio
from mcp.client._transport import TransportStreams
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop, serve_loop
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse, RequestId

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.sessions.ids import CHANNEL, Ticket, nonce
from mcp_operator_proxy.tasks import cancel, spawn

logger = logging.getLogger(__name__)
END_SECONDS: Final = 7.0
"""For the end of a channel's handlers and backend sessions, before they are cut off."""
_STANDING: Final = "subscriptions/listen"
"""A request that stays open for as long as the client likes: nobody waits for its answer."""


class TooManyChannels(Exception):
    """The endpoint has as many as it may."""


class ChannelClosed(Exception):
    """The channel has ended, so nothing can be put into it."""


class Channel:
    """One client's channel. Made by `Channels.open`."""

    def __init__(self, channel_id: str, principal: Principal | None) -> None:
        self.id = channel_id
        self.principal = principal
        self.expires = 0.0
        """When the newest token ends that its owner has shown on it, in seconds since the epoch."""
        self._pending: set[RequestId] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._inbound, self.read = create_context_streams[SessionMessage | Exception](0)
        self.write, self._outbound = create_context_streams[SessionMessage](0)

    def renew(self, principal: Principal | None) -> None:
        """Its owner has shown a token that is good."""
        if principal is not None and principal.expires is not None:
            self.expires = max(self.expires, principal.expires)

    async def put(self, message: JSONRPCMessage, request: Any = None) -> None:
        """Hand over a message of the client; `request` is the HTTP request that brought it. Raises ChannelClosed."""
        metadata = ServerMessageMetadata(request_context=request)
        if isinstance(message, JSONRPCRequest) and message.method != _STANDING:
            self._pending.add(message.id)
            self._quiet.clear()
            metadata.on_request_unanswered = partial(self._unanswered, message.id)
        try:
            await self._inbound.send(SessionMessage(message, metadata))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise ChannelClosed from None

    async def messages(self) -> AsyncIterator[JSONRPCMessage]:
        """What goes to the client, until the channel ends. A message counts as sent when the next one is asked for."""
        async for sent in self._outbound:
            yield sent.message
            if isinstance(sent.message, JSONRPCResponse | JSONRPCError) and sent.message.id is not None:
                self._answered(sent.message.id)

    async def _unanswered(self, request_id: RequestId) -> None:
        self._answered(request_id)

    def _answered(self, request_id: RequestId) -> None:
        self._pending.discard(request_id)
        if not self._pending:
            self._quiet.set()

    @contextlib.asynccontextmanager
    async def transport(self) -> AsyncIterator[TransportStreams]:
        """The client's ends, instead of `put` and `messages`: for the SDK's client in this process."""
        yield self._outbound, self._inbound

    async def quiet(self) -> None:
        """Wait until each request that came has its answer."""
        await self._quiet.wait()

    def end(self) -> None:
        """No more messages of the client: its requests that still run are cut off, and `messages` ends."""
        self._inbound.close()

    def abandon(self) -> None:
        """Nobody reads `messages` any more."""
        self.end()
        self._outbound.close()
        self._quiet.set()


class Channels:
    """All channels of one endpoint, whose FastMCP server answers them."""

    def __init__(self, server: Server[Any], holder: Holder) -> None:
        self._server = server
        self._holder = holder
        self._channels: dict[str, Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._channels)

    def all(self) -> list[Channel]:
        return list(self._channels.values())

    def find(self, channel_id: str) -> Channel | None:
        return self._channels.get(channel_id)

    @contextlib.asynccontextmanager
    async def open(
        self, principal: Principal | None, *, modern: bool = False, kind: str = "sse"
    ) -> AsyncIterator[Channel]:
        """A channel for as long as the block runs. Raises TooManyChannels."""
        if len(self._channels) >= self._holder.limits.max_sessions or self._draining:
            raise TooManyChannels
        channel = Channel(self._id(kind, principal), principal)
        self._channels[channel.id] = channel
        serving = asyncio.get_running_loop().create_task(self._serve(channel, modern=modern), name=channel.id)
        self._tasks.add(serving)
        try:
            yield channel
        finally:
            self._channels.pop(channel.id, None)
            channel.abandon()
            await asyncio.wait([serving], timeout=END_SECONDS)
            await cancel([serving])
            self._tasks.discard(serving)

    def _id(self, kind: str, principal: Principal | None) -> str:
        holder = self._holder
        if kind != "sse" or not holder.address:
            return f"{kind}-{uuid4().hex}"
        # Messages may come to another worker: the id says where the stream is.
        ticket = Ticket(holder.instance, nonce(), CHANNEL, holder.address, "", {}, time.time())
        return holder.keys.seal(ticket, principal)

    async def _serve(self, channel: Channel, *, modern: bool) -> None:
        loop = serve_dual_era_loop if modern else serve_loop
        try:
            async with self._server.lifespan(self._server) as state:
                await loop(self._server, channel.read, channel.write, lifespan_state=state, session_id=channel.id)
        except Exception:
            logger.exception("a client's channel failed", extra={"channel": channel.id})
        finally:
            channel.read.close()
            channel.write.close()

    def drain(self) -> None:
        """End each channel as soon as its requests are answered, and let no new one in."""
        self._draining = True
        for channel in self._channels.values():
            spawn(_end_when_quiet(channel), self._ending)

    async def close(self) -> None:
        """End all of them now."""
        self._draining = True
        await cancel(self._ending)
        for channel in list(self._channels.values()):
            channel.end()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=END_SECONDS)
        await cancel(self._tasks)


async def _end_when_quiet(channel: Channel) -> None:
    await channel.quiet()
    channel.end()
