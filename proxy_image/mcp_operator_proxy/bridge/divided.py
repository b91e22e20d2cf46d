"""Isolations `session` and `user` behind the proxy: besides the processes of its clients there is one for its lists.

The proxy keeps a session of its own with each server, on which it lists what there is. That one must not hold a
client's process, and no client's process is asked for what all clients see.
"""

import asyncio
from dataclasses import replace
from typing import Final

from mcp_operator_proxy.bridge import modern
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.hub import Caller, Health, Hub, Opened, Refused, nobody
from mcp_operator_proxy.bridge.isolated import IsolatedHub
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.sessions import Session
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.shared import SharedHub
from mcp_operator_proxy.bridge.stderr import ServerLog
from mcp_operator_proxy.bridge.users import UsersHub

_FOR_ALL: Final = frozenset(
    {"ping", modern.DISCOVER, "prompts/list", "resources/list", "resources/templates/list", "tools/list"}
)
"""What concerns no user: anybody may ask it who reaches the bridge over TCP."""


class DividedHub(Hub):
    """Two hubs behind one endpoint; a session belongs to the one that opened it."""

    def __init__(self, settings: Settings, metrics: Metrics, log: ServerLog | None = None) -> None:
        super().__init__(settings, metrics, log)
        self._catalogue = SharedHub(replace(settings, isolation="shared"), Metrics(), self.log)
        self._clients: UsersHub | IsolatedHub = (
            UsersHub(settings, Metrics(), self.log)
            if settings.isolation == "user"
            else IsolatedHub(settings, Metrics(), self.log)
        )
        self._hub_of: dict[str, Hub] = {}
        self._anonymous: set[str] = set()
        for hub in (self._catalogue, self._clients):
            hub.on_end = self._ended

    async def run(self) -> None:
        await asyncio.gather(self._catalogue.run(), self._clients.run())

    def stop(self) -> None:
        self._catalogue.stop()
        self._clients.stop()

    def restart(self) -> None:
        self._catalogue.restart()
        self._clients.restart()

    def health(self) -> Health:
        """The state is that of the process for lists, or of the clients' where that one is merely not needed."""
        one, many = self._catalogue.health(), self._clients.health()
        return Health(
            state=many.state if one.ready and not many.ready else one.state,
            ready=one.ready and not self.draining,
            processes=one.processes + many.processes,
            restarts=one.restarts + many.restarts,
            exit_code=one.exit_code if one.last_error else many.exit_code,
            last_error=one.last_error or many.last_error,
            uptime=one.uptime,
            details=one.details,
        )

    async def open(self, message: Message, caller: Caller) -> Opened | Refused:
        self._clients.assume(self._catalogue.known)
        hub = self._catalogue if caller.catalogue else self._clients
        answer = await hub.open(message, caller)
        if isinstance(answer, Opened) and answer.session.id in hub.sessions:
            self._hub_of[answer.session.id] = hub
            if caller.anonymous:
                self._anonymous.add(answer.session.id)
            self._admit(answer.session)
        return answer

    @property
    def known(self) -> Message | None:
        return self._catalogue.known

    async def exchange(self, call: Call, caller: Caller) -> None:
        """What is the same for all, and changes of it, comes from the process for lists."""
        same = call.method == modern.DISCOVER or (call.stands and modern.lists_only(call.message))
        if caller.anonymous and not same and call.method not in _FOR_ALL:
            call.finish(nobody(self.settings.name, call.message))
            return
        if same or caller.catalogue:
            await self._catalogue.exchange(call, caller)
            return
        if (error := await self._catalogue.learn(call.message)) is not None:
            call.finish(error)
            return
        self._clients.assume(self._catalogue.known)
        await self._clients.exchange(call, caller)

    async def submit(self, session: Session, call: Call) -> None:
        if session.id in self._anonymous and call.method not in _FOR_ALL:
            call.finish(nobody(self.settings.name, call.message))
            return
        await self._hub_of[session.id].submit(session, call)

    async def notify(self, session: Session, message: Message) -> None:
        await self._hub_of[session.id].notify(session, message)

    async def respond(self, session: Session, message: Message) -> None:
        await self._hub_of[session.id].respond(session, message)

    def leave(self, key: str) -> None:
        self._clients.leave(key)

    async def dismiss(self, user: str) -> bool:
        return await self._clients.dismiss(user)

    async def sweep(self) -> None:
        await asyncio.gather(self._catalogue.sweep(), self._clients.sweep())

    async def _release(self, session: Session) -> None:
        self._anonymous.discard(session.id)
        hub = self._hub_of.pop(session.id, None)
        if hub is not None:
            await hub.end(session, "the session was ended")

    def _ended(self, session: Session) -> None:
        """A hub ended one of its sessions by itself."""
        self._hub_of.pop(session.id, None)
        self._anonymous.discard(session.id)
        self.sessions.pop(session.id, None)
        self.metrics.sessions.set(len(self.sessions))
