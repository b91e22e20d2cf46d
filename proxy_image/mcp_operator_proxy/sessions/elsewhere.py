"""A request whose session is not held here: find the process that holds it, or agree on one that takes it up."""

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mcp_operator_proxy.auth import PRINCIPAL
from mcp_operator_proxy.sessions.forward import HOP, Exchange, Forwarder, Hop, Outcome, lost
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.sessions.ids import CHANNEL, Ticket
from mcp_operator_proxy.sessions.internal import missed
from mcp_operator_proxy.sessions.peers import ranked
from mcp_operator_proxy.sessions.session import Session
from mcp_operator_proxy.sessions.table import NOT_FOUND, TOO_MANY, SessionTable, read_body, replaying

logger = logging.getLogger(__name__)
MAX_MOVED: Final = 50_000
"""Sessions that are remembered as let go of by their maker."""


class Elsewhere:
    """For one route."""

    def __init__(self, table: SessionTable, path: str, holder: Holder) -> None:
        self._table = table
        self._path = path
        self._holder = holder
        self._moved: OrderedDict[str, None] = OrderedDict()

    async def session(
        self, session_id: str, scope: Scope, receive: Receive, send: Send
    ) -> tuple[Session, Receive] | None:
        """The session, taken up here, and the request's body again; None where the request has been answered.

        It may be held here still, by a process that ends: then it stays where nobody else takes it up.
        """
        ticket = self._holder.keys.open(session_id, self._path, scope.get(PRINCIPAL), time.time())
        let_go = self._table.find(session_id) is not None
        if ticket is None or (self._table.has_ended(ticket) and not let_go):
            await NOT_FOUND(scope, receive, send)
            return None
        hop = scope.get(HOP)
        if hop is Hop.HOLD or (hop is Hop.TAKE and self._holder.draining):
            await missed()(scope, receive, send)
            return None
        forwarder = self._holder.forwarder
        if hop is None and forwarder is not None:
            body = await read_body(receive) if scope["method"] == "POST" else b""
            if await self._forwarded(forwarder, session_id, ticket, Exchange(scope, body, receive, send)):
                return None
            receive = replaying(body, receive)
        session = await self._table.take_up(session_id, ticket, scope.get(PRINCIPAL))
        if session is None:
            await TOO_MANY(scope, receive, send)
            return None
        return session, receive

    async def pass_on(self, channel_id: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the process that has the HTTP+SSE stream of that id has answered; it has to hold it already."""
        forwarder = self._holder.forwarder
        ticket = self._holder.keys.open(channel_id, CHANNEL, scope.get(PRINCIPAL), time.time())
        if ticket is None or forwarder is None or HOP in scope or ticket.owner in ("", forwarder.peers.own):
            return False
        if await forwarder.instance(ticket.owner, self._holder.keys) != ticket.instance:
            return False
        exchange = Exchange(scope, await read_body(receive), receive, send)
        scope.setdefault("mcp_method", "forwarded")
        return await forwarder.forward(ticket.owner, Hop.HOLD, exchange) is Outcome.ANSWERED

    async def _forwarded(self, forwarder: Forwarder, session_id: str, ticket: Ticket, exchange: Exchange) -> bool:
        """Whether another process has answered; otherwise the session is to be taken up here."""
        scope = exchange.scope
        sent, status = _watching(exchange.send)
        watched = replace(exchange, send=sent)
        peers = forwarder.peers
        for address, hop in self._candidates(forwarder, session_id, ticket):
            if address == peers.own:
                return False
            wanted = ticket.instance if hop is Hop.HOLD else None
            found = await forwarder.instance(address, self._holder.keys)
            if found is None or (wanted is not None and found != wanted):
                continue
            outcome = await forwarder.forward(address, hop, watched)
            if outcome is Outcome.ANSWERED:
                scope.setdefault("mcp_method", "forwarded")  # the holder counts it
                if scope["method"] == "DELETE" and status() < 300:
                    self._table.remember_ended(ticket)
                return True
            if outcome is Outcome.MISSED and hop is Hop.HOLD:
                self._remember_moved(session_id)
            if outcome is Outcome.LOST and _may_have_run(exchange.body):
                scope.setdefault("mcp_method", "forwarded")
                answer = Response(lost(exchange.body), 200, media_type="application/json")
                await answer(scope, exchange.receive, exchange.send)
                return True
        return False

    def _remember_moved(self, session_id: str) -> None:
        """Its maker, which is ending, has let go of it: to ask it again is to ask a process that may just be gone."""
        self._moved[session_id] = None
        if len(self._moved) > MAX_MOVED:
            self._moved.popitem(last=False)

    def _candidates(self, forwarder: Forwarder, session_id: str, ticket: Ticket) -> list[tuple[str, Hop]]:
        """Whom to ask, in this order.

        The process that made the session comes first. If it is gone, another one at its address is no better than
        any; it is passed over, so that its return does not move the session once more.
        """
        peers = forwarder.peers
        unasked = ticket.owner in ("", peers.own) or session_id in self._moved
        maker = [] if unasked or peers.shuns(ticket.owner) else [(ticket.owner, Hop.HOLD)]
        others = peers.live() - {ticket.owner}
        if self._holder.draining and len(others) > 1:
            others -= {peers.own}
        return [*maker, *((address, Hop.TAKE) for address in ranked(session_id, others))]


def _may_have_run(body: bytes) -> bool:
    """Whether a request that was sent must not be sent again."""
    try:
        return bool(json.loads(body).get("method") == "tools/call")
    except (ValueError, AttributeError):
        return False


def _watching(send: Send) -> tuple[Send, Callable[[], int]]:
    seen = [0]

    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen[0] = message["status"]
        await send(message)

    return watched, lambda: seen[0]
