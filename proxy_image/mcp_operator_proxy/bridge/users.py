"""Isolation `user`: a process for each user, which that user's sessions share."""

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Final

from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.hub import Caller, Health, Hub, Opened, Refused, longest_idle, no_token, nobody, too_many
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.owndirs import OwnDirs
from mcp_operator_proxy.bridge.sessions import Session
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.shared import SharedHub
from mcp_operator_proxy.bridge.stderr import ServerLog
from mcp_operator_proxy.bridge.supervisor import State
from mcp_operator_proxy.callertoken import CallerToken
from mcp_operator_proxy.tasks import cancel, spawn

_SWEEP: Final = 30.0
_REST_SECONDS: Final = 1.0
_OWN_DIRS: Final = 10_000
"""Folders of users who are not here just now, and may come back."""
_LOOK_FIRST: Final = 0.05
_LOOK_MOST: Final = 5.0


@dataclass(frozen=True, eq=False)
class _User:
    """A user's process, and its folder."""

    hub: SharedHub
    running: "asyncio.Task[None]"
    own_dir: str


class UsersHub(Hub):
    """A process starts with the first call of its user, and ends when it is idle. The user's sessions stay."""

    def __init__(self, settings: Settings, metrics: Metrics, log: ServerLog | None = None) -> None:
        super().__init__(settings, metrics, log)
        self._users: dict[str, _User] = {}
        self._own_dir_of: dict[str, str] = {}
        self._hub_of: dict[str, SharedHub] = {}
        self._tokens: dict[str, CallerToken] = {}
        self._own_dirs = OwnDirs(settings.own_dirs, stay=settings.own_dirs_stay)
        self._parting: list[_User] = []
        """Those who are gone, and whose calls may go on."""
        self._seeing_off: set[asyncio.Task[None]] = set()
        self._known: Message | None = None
        self._stopped = asyncio.Event()
        self._gone = 0
        self._last: Health | None = None

    async def run(self) -> None:
        await self._stopped.wait()
        await cancel(self._seeing_off)
        users = self._all
        for user in users:
            user.hub.stop()
        await asyncio.gather(*(user.running for user in users))
        self._own_dirs.close()

    def stop(self) -> None:
        self._stopped.set()

    def restart(self) -> None:
        for user in self._users.values():
            if not user.hub.rests:
                user.hub.restart()

    @property
    def _all(self) -> list[_User]:
        return [*self._users.values(), *self._parting]

    @property
    def known(self) -> Message | None:
        return self._known

    def assume(self, result: Message | None) -> None:
        """What the server is known to say of itself: sessions are opened with it, without a process."""
        self._known = result or self._known

    def equip(self, caller: Caller) -> None:
        """Of two tokens of a user the one that was shown later counts, so that two replicas of a proxy don't take turns."""
        user, token = caller.user, caller.token
        if user is None or token is None or self.settings.credential_env is None:
            return
        before = self._tokens.get(user)
        if before is not None and token.since < before.since:
            return
        hub = self._hub(user)
        self._tokens[user] = token
        if before is None or token.token != before.token:
            hub.renew({self.settings.credential_env: token.token})

    async def dismiss(self, user: str) -> bool:
        self._tokens.pop(user, None)
        self._own_dir_of.pop(user, None)
        found = self._users.pop(user, None)
        if found is None:
            return False
        ran = not found.hub.rests
        found.hub.renew({})  # nothing starts with the user's token any more, and what runs ends after its calls
        self._parting.append(found)
        if not self._seeing_off:
            spawn(self._see_off(), self._seeing_off)
        return ran

    async def _see_off(self) -> None:
        """Let go of the users who are gone, once their calls have ended."""
        pause = _LOOK_FIRST
        while self._parting:
            await self._let_go()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LOOK_MOST)

    async def _let_go(self) -> None:
        for user in list(self._parting):
            for session in [session for session in user.hub.sessions.values() if not session.busy]:
                await self.end(session, "the user is gone")
            if user.hub.rests and not user.hub.sessions:
                user.hub.stop()
                await user.running
                self._parting.remove(user)
                self._gone += user.hub.health().restarts
                self._own_dirs.remove(user.own_dir)

    def _refusal(self, message: Message, caller: Caller) -> Refused | None:
        if self.settings.credential_env is None:
            return None if caller.user is not None else Refused(nobody(self.settings.name, message), 403)
        if caller.user is None:
            return Refused(nobody(self.settings.name, message), 401)
        if caller.token is None:
            return Refused(no_token(self.settings.name, message), 403)
        self.equip(caller)
        return None

    def health(self) -> Health:
        """Of the whole: one user's failing process is that user's alone, but its words are shown."""
        healths = [user.hub.health() for user in self._all]
        failed = next((h for h in reversed(healths) if h.last_error), self._last)
        return Health(
            state=State.READY,
            ready=not self.draining,
            processes=sum(health.processes for health in healths),
            restarts=self._gone + sum(health.restarts for health in healths),
            exit_code=failed.exit_code if failed else None,
            last_error=failed.last_error if failed else None,
        )

    async def open(self, message: Message, caller: Caller) -> Opened | Refused:
        if (refused := self._refusal(message, caller)) is not None:
            return refused
        assert caller.user is not None
        hub = self._hub(caller.user)
        if hub.known is None and (full := await self._full_for(hub, message)) is not None:
            return Refused(full, 503, retry_after=5.0)
        answer = await hub.open(message, caller)
        if isinstance(answer, Opened):
            self.assume(hub.known)
            self._hub_of[answer.session.id] = hub
            self._admit(answer.session)
        return answer

    async def exchange(self, call: Call, caller: Caller) -> None:
        if (refused := self._refusal(call.message, caller)) is not None:
            call.finish(refused.response)
            return
        assert caller.user is not None
        hub = self._hub(caller.user)
        if not hub.answers_modern(call):
            if (full := await self._full_for(hub, call.message)) is not None:
                call.finish(full)
                return
            await hub.exchange(call, caller)
        self.assume(hub.known)

    async def submit(self, session: Session, call: Call) -> None:
        hub = self._hub_of[session.id]
        if hub.answers_by_itself(session, call):
            return
        if (full := await self._full_for(hub, call.message)) is not None:
            call.finish(full)
            return
        await hub.submit(session, call)

    async def notify(self, session: Session, message: Message) -> None:
        await self._hub_of[session.id].notify(session, message)

    async def respond(self, session: Session, message: Message) -> None:
        await self._hub_of[session.id].respond(session, message)

    async def sweep(self) -> None:
        """End sessions that are idle, and forget users who have none and whose process has ended."""
        limit = self.settings.idle_timeout
        while True:
            await asyncio.sleep(min(limit / 4, _SWEEP) if limit else _SWEEP)
            for session in [session for session in self.sessions.values() if self._is_idle(session)]:
                await self.end(session, "the session was idle for too long")
            for name in [n for n, user in self._users.items() if user.hub.rests and not user.hub.sessions]:
                await self._forget(name)

    async def _release(self, session: Session) -> None:
        if (hub := self._hub_of.pop(session.id, None)) is not None:
            await hub.end(session, "the session was ended")

    def _ended(self, session: Session) -> None:
        """A user's hub ended a session by itself."""
        self._hub_of.pop(session.id, None)
        if self.sessions.pop(session.id, None) is not None and self.on_end is not None:
            self.on_end(session)

    def _hub(self, user: str) -> SharedHub:
        if user not in self._users:
            own_dir = self._own_dir(user)
            hub = SharedHub(replace(self.settings, lazy=True, own_dir=own_dir), Metrics(), self.log)
            if self.settings.credential_env is None:  # else a process may say to its user what is for nobody else
                hub.assume(self._known)
            hub.on_end = self._ended
            self._users[user] = _User(hub, asyncio.get_running_loop().create_task(hub.run()), own_dir)
        return self._users[user].hub

    def _own_dir(self, user: str) -> str:
        """The one that the user has had; of many users who have not come for long it is gone."""
        known = self._own_dir_of
        own_dir = known.pop(user, None) or self._own_dirs.of(user)
        known[user] = own_dir
        if (
            len(known) > _OWN_DIRS
            and (longest := next((name for name in known if name not in self._users), user)) != user
        ):
            self._own_dirs.remove(known.pop(longest))
        return own_dir

    async def _forget(self, user: str) -> None:
        """Of one who may come back: the folder stays."""
        found = self._users.pop(user)
        hub = found.hub
        self._tokens.pop(user, None)
        self._last = hub.health() if hub.health().last_error else self._last
        self._gone += hub.health().restarts
        hub.stop()
        await found.running

    async def _full_for(self, hub: SharedHub, message: Message) -> Message | None:
        """Make room for a process that would have to start, by ending the idlest one; an error where all are at work.

        When it returns None, the caller must take the room without waiting.
        """
        limit = self.settings.max_processes or self.settings.max_sessions
        while hub.rests and sum(not user.hub.rests for user in self._all) >= limit:
            others = [user.hub for user in self._all if user.hub is not hub]
            idle = {other: other.process.idle_seconds() for other in others if other.process}
            longest = longest_idle(idle, self.settings.evict_idle)
            if longest is None:
                self.metrics.refused.inc()
                return too_many(self.settings.name, message, "processes", limit)
            longest.rest()
            with contextlib.suppress(TimeoutError):  # a call may have come to it in the meantime: then look again
                async with asyncio.timeout(_REST_SECONDS):
                    await longest.left(State.READY)
            await longest.left(State.ENDING)
        return None
