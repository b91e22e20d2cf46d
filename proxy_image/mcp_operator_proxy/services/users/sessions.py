"""`services.users`: the sessions of users, in the stores, so that each replica serves each of them.

    record = await services.users.start("alice", "corp", token, ["tools/mail"])
    await services.users.find("alice", record.session_id)

A user has one session. A second start renews it: the credentials and servers are the new ones, and the id before is
unknown from then on. What lives is decided by the key-value store, whose entry goes by itself; the records say what was.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.gone import tell_gone
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.config import ProxyConfig, Users
from mcp_operator_proxy.services.users.identity import owners_of, user_of
from mcp_operator_proxy.services.users.instances import Instances
from mcp_operator_proxy.services.users.metrics import Counts, UsersCollector
from mcp_operator_proxy.services.users.record import PREFIX, UserSessionRecord, Why, digest_of, key_of
from mcp_operator_proxy.services.users.tables import Tables
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.tasks import cancel, dismiss, spawn

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.services.credentials.token import Token
    from mcp_operator_proxy.stores.records.models import UserSession
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)
CHANNEL: Final = "user-sessions"
SWEEP_SECONDS: Final = 15.0
TOUCH_SECONDS: Final = 5.0
"""The last use is written down this often at most."""
LOCK_SECONDS: Final = 20.0
SWEEP_MOST: Final = 500
_ID_BYTES: Final = 32
_TRIES: Final = 5

Ended = Callable[[str], Sequence[str]]
"""Called with a user whose session has ended: lets go of what this process has of it, and returns the servers' ids."""


class TooManySessions(Exception):
    """`users.maxSessions` are open already."""


class UserSessions:
    """A service of the proxy. `clock` gives seconds since the epoch. StoreUnavailable means that a store is away: try again."""

    def __init__(self, proxy: "Proxy", clock: Callable[[], float] = time.time) -> None:
        self._proxy = proxy
        self._clock = clock
        self._settings = Users()
        self.counts = Counts()
        proxy.metrics.registry.register(UsersCollector(self.counts))
        self._servers: Mapping[str, ResolvedServer] = {}
        self._touched: dict[str, float] = {}
        self._seen: dict[str, str] = {}
        """Users whose sessions were used here, and which those were."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: object = None
        self._standing: list[asyncio.Task[None]] = []
        self._stopping: set[asyncio.Task[None]] = set()
        self.instances = Instances(proxy, self._lists_changed, self.touch)
        self.tables = Tables(proxy, self.instances)
        self.on_end: list[Ended] = [self.instances.end]

    # A service

    def use(self, prepared: "Prepared") -> None:
        self._settings = prepared.config.users
        self.counts.limit = self._settings.max_sessions if wanted(prepared.config) else None
        self.instances.use(prepared.personal)
        self._servers = prepared.resolved
        following = (self._proxy.services.stores, self._settings.idle_seconds) if wanted(prepared.config) else None
        if following != self._following:
            self._following = following
            self._follow()

    def _follow(self) -> None:
        """Begin anew what runs all the time: on the stores in use, as often as configured."""
        dismiss(self._standing, self._stopping)
        self._standing = []
        if self._following is not None:
            loop = asyncio.get_running_loop()
            self._standing = [
                loop.create_task(self._keep_sweeping(), name="sessions of users: sweep"),
                loop.create_task(self._listen(), name="sessions of users: ends"),
            ]

    async def close(self) -> None:
        await cancel([*self._standing, *self._stopping, *self._tasks])
        await self.instances.close()

    # What a user has of the servers

    def _lists_changed(self, user: str) -> None:
        self.tables.changed(user)

    async def backend_for(self, server: str, user: str | None, principal: Principal | None) -> Backend:
        """The server as `user` has it: the one of all, or the user's own instance.

        Raises:
            Nobody, CredentialProblem, StoreUnavailable, BackendError: see `Instances.reach`.
        """
        state = self._proxy.state
        shared = state.backends.get(server) if state is not None else None
        user = user_of(principal, self._settings) if user is None else user
        return shared or await self.instances.reach(server, user, principal)

    # Sessions

    async def start(
        self, user: str, provider: str | None = None, token: "Token | None" = None, servers: Sequence[str] = ()
    ) -> UserSessionRecord:
        """Begin a session; one that the user has is renewed, and its id becomes unknown. `token` is the user's at `provider`.

        Raises:
            TooManySessions: no more than `users.max_sessions` at a time.
            StoreUnavailable
        """
        from mcp_operator_proxy.services.users import durable  # noqa: PLC0415 - only who has users pays for the database

        stores, now, session_id = self._proxy.services.stores, self._clock(), secrets.token_urlsafe(_ID_BYTES)
        ttl = self._settings.ttl_seconds
        record = UserSessionRecord(
            user, tuple(dict.fromkeys(servers)), provider, now, now, now + ttl, digest_of(session_id), session_id
        )
        async with self._alone(user):
            before = await self._live(user)
            replaced = await durable.begin(await stores.records(), record, self._settings.max_sessions)
            if replaced is None:
                raise TooManySessions(f"there are {self._settings.max_sessions} sessions of users already")
            self.counts.destroyed += replaced
            if before is not None and before.provider not in (None, provider):
                await self._forget_credential(before)
            if token is not None and provider is not None:
                credentials = self._proxy.services.credentials
                await credentials.vault.put(user, provider, token)
                await credentials.changed(user, provider)
            await stores.keyvalue.put(key_of(user), record.to_bytes(), self._seconds_left(record))
        self.counts.created += 1
        self._seen[user] = record.digest
        await self._count()
        return record

    async def find(self, user: str, session_id: str | None = None) -> UserSessionRecord | None:
        """The user's session; with an id only if that is its id. Raises StoreUnavailable."""
        record = await self._live(user)
        if record is None:
            return None
        if session_id is not None:
            if not secrets.compare_digest(digest_of(session_id), record.digest):
                return None
            record = record.with_id(session_id)
        self._seen[user] = record.digest
        return record

    async def list(self) -> Sequence[UserSessionRecord]:
        """All that live, by user. Raises StoreUnavailable."""
        keyvalue, now = self._proxy.services.stores.keyvalue, self._clock()
        keys = await keyvalue.keys(PREFIX)
        values = await keyvalue.get_many(keys)
        found = (
            UserSessionRecord.from_bytes(value, key.removeprefix(PREFIX))
            for key, value in zip(keys, values, strict=True)
            if value is not None
        )
        idle = self._settings.idle_seconds
        return sorted((r for r in found if r is not None and r.seconds_left(idle, now) > 0), key=lambda r: r.user_id)

    def touch(self, user: str) -> None:
        """The user has called something. Nothing waits here: it is written down in a moment, and not each time."""
        now = time.monotonic()
        pause = min(TOUCH_SECONDS, self._settings.idle_seconds / 4)
        if now - self._touched.get(user, -pause) < pause:
            return
        if len(self._touched) > 2 * self._settings.max_sessions:
            self._touched.clear()
        self._touched[user] = now
        spawn(self._write_use(user), self._tasks)

    async def end(self, user: str, why: Why = "ended") -> tuple[str, ...]:
        """End the user's session, and what runs for it: in every replica, and behind bridges.

        Returns the ids of the servers of which the user had something of an own, sorted. Without a session what runs for the user
        here ends all the same. Raises StoreUnavailable.
        """
        async with self._alone(user):
            record = await self._live(user)
            if record is not None:
                await self._proxy.services.stores.keyvalue.delete(key_of(user))
                await self._closed(user, record.digest, why)
                await self._forget_credential(record)
            stopped = {*self._let_go(user), *await self._dismissed(user)}
        if record is not None:
            stopped |= {server for server in record.servers if not self._is_shared(server)}
            await self._tell(user, record.digest, why)
        await self._count()
        return tuple(sorted(stopped))

    # The stores

    async def _live(self, user: str) -> UserSessionRecord | None:
        value = await self._proxy.services.stores.keyvalue.get(key_of(user))
        record = UserSessionRecord.from_bytes(value, user) if value is not None else None
        if record is None or self._seconds_left(record) <= 0:
            return None
        return record

    def _seconds_left(self, record: UserSessionRecord) -> float:
        return record.seconds_left(self._settings.idle_seconds, self._clock())

    async def _write_use(self, user: str) -> None:
        keyvalue = self._proxy.services.stores.keyvalue
        try:
            for _ in range(_TRIES):
                old = await keyvalue.get(key_of(user))
                record = UserSessionRecord.from_bytes(old, user) if old is not None else None
                if old is None or record is None or self._seconds_left(record) <= 0:
                    return
                record = record.used(self._clock())
                self._seen[user] = record.digest
                if await keyvalue.replace(key_of(user), old, record.to_bytes(), self._seconds_left(record)):
                    return
        except StoreUnavailable as error:
            self._touched.pop(user, None)
            logger.warning("the use of a session could not be written down", extra={"error": str(error)})

    @contextlib.asynccontextmanager
    async def _alone(self, user: str) -> AsyncIterator[None]:
        """Nobody else begins or ends a session of this user meanwhile, in any replica."""
        keyvalue = self._proxy.services.stores.keyvalue
        until = time.monotonic() + LOCK_SECONDS
        while True:
            async with keyvalue.lock(f"user-session:{user}", LOCK_SECONDS) as held:
                if held:
                    yield
                    return
            if time.monotonic() > until:
                raise StoreUnavailable("the sessions of this user are at work; try again")
            await asyncio.sleep(0.02)

    async def _closed(self, user: str, digest: str, why: Why) -> None:
        from mcp_operator_proxy.services.users import durable  # noqa: PLC0415 - as above

        if await durable.close(await self._proxy.services.stores.records(), digest, why, self._clock()):
            self.counts.destroyed += 1
            logger.info("a user's session has ended", extra={"user": user, "why": why})

    async def _forget_credential(self, record: "UserSessionRecord | UserSession") -> None:
        """The token that came with a session goes with it."""
        if record.provider is not None:
            credentials = self._proxy.services.credentials
            await credentials.vault.forget(record.user_id, record.provider)
            await credentials.changed(record.user_id, record.provider)

    async def _count(self) -> None:
        from mcp_operator_proxy.services.users import durable  # noqa: PLC0415 - as above

        with contextlib.suppress(StoreUnavailable):
            self.counts.active = await durable.count(await self._proxy.services.stores.records(), self._clock())

    # Ends

    def _is_shared(self, server: str) -> bool:
        resolved = self._servers.get(server)
        return resolved is not None and not resolved.server.apart

    async def _dismissed(self, user: str) -> Sequence[str]:
        """The servers whose bridges have ended a process of the user."""
        bridged = [resolved for resolved in self._servers.values() if resolved.identity is not None]
        owners = owners_of(user, self._settings)
        ended = await asyncio.gather(*(tell_gone(resolved, owners) for resolved in bridged))
        return [resolved.server.id for resolved, had in zip(bridged, ended, strict=True) if had]

    def _let_go(self, user: str) -> Sequence[str]:
        self._seen.pop(user, None)
        self._touched.pop(user, None)
        return [server for ended in self.on_end for server in ended(user)]

    async def _tell(self, user: str, digest: str, why: Why) -> None:
        with contextlib.suppress(StoreUnavailable):  # their sweeps find it out
            message = json.dumps([user, digest, why]).encode()
            await self._proxy.services.stores.keyvalue.publish(CHANNEL, message)

    async def _listen(self) -> None:
        """Of ends in other replicas."""
        async for message in self._proxy.services.stores.keyvalue.subscribe(CHANNEL):
            if message is None:
                with contextlib.suppress(StoreUnavailable):
                    await self._sweep_here()
                continue
            try:
                user, digest, why = json.loads(message)
            except ValueError:
                continue
            if self._seen.get(user, digest) == digest:
                self._let_go(user)
            with contextlib.suppress(StoreUnavailable):
                await self._closed(user, digest, why)  # where each replica has records of its own

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, max(0.25, self._settings.idle_seconds / 4)))
            try:
                await self.sweep()
            except StoreUnavailable as error:
                logger.warning("sessions of users are not looked through", extra={"error": str(error)})

    async def sweep(self) -> None:
        """End what has idled for too long or is too old: what runs here, and, once among all replicas, the records."""
        await self._sweep_here()
        async with self._proxy.services.stores.keyvalue.lock("user-sessions-sweep", LOCK_SECONDS) as held:
            if held:
                await self._sweep_records()
        await self._count()

    async def _sweep_here(self) -> None:
        seen = list(self._seen)
        values = await self._proxy.services.stores.keyvalue.get_many([key_of(user) for user in seen])
        for user, value in zip(seen, values, strict=True):
            record = UserSessionRecord.from_bytes(value, user) if value is not None else None
            if record is None or self._seconds_left(record) <= 0:
                self._let_go(user)
            else:
                self._seen[user] = record.digest

    async def _sweep_records(self) -> None:
        from mcp_operator_proxy.services.users import durable  # noqa: PLC0415 - as above

        stores, now = self._proxy.services.stores, self._clock()
        database = await stores.records()
        for row in await durable.stale(database, self._settings.idle_seconds, now, SWEEP_MOST):
            async with stores.keyvalue.lock(f"user-session:{row.user_id}", LOCK_SECONDS) as held:
                if not held:
                    continue
                live = await self._live(row.user_id)
                if live is not None and live.digest == row.id:
                    await durable.used(database, row.id, live.last_activity)
                    continue
                await self._closed(row.user_id, row.id, "expired" if row.expires_at <= durable.moment(now) else "idle")
                if live is None:
                    await self._forget_credential(row)
                    self._let_go(row.user_id)
                    await self._dismissed(row.user_id)
                    await self._tell(row.user_id, row.id, "idle")


def wanted(config: ProxyConfig) -> bool:
    """Whether a configuration lets anybody have a session."""
    return config.rest is not None or any(server.of_users for server in config.servers)
