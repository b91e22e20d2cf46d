"""The servers of which each user has an instance of its own: made by the user's first use, closed when idle or signed out.

An instance is a `Backend` that nobody else is ever given: its own connections, sessions, catalogue, circuit breaker, and the
user's credential. There is one for each server and user in each worker.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.services.credentials.shown import token_shown
from mcp_operator_proxy.services.credentials.token import CredentialProblem
from mcp_operator_proxy.services.users.personal import EMPTY, for_user, unsigned_of
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.tasks import cancel, spawn

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy

logger = logging.getLogger(__name__)
SWEEP_SECONDS: Final = 15.0
REMEMBERED: Final = 10_000
"""Catalogues of users whose instances are closed."""

Key = tuple[str, str]
"""Server and user."""


class Nobody(Exception):
    """A server of users was asked for by a caller that is none."""

    def __init__(self, server: str) -> None:
        super().__init__(
            f"server {server} has an instance for each user, and this caller is not authenticated: call with an API key or a token"
        )


class Instance:
    """One user's. `principal` is the newest with which the user called."""

    __slots__ = ("backend", "principal", "server", "used_at", "user")

    def __init__(self, server: str, user: str, backend: Backend) -> None:
        self.server = server
        self.user = user
        self.backend = backend
        self.principal: Principal | None = None
        self.used_at = 0.0


class _Turn:
    """Whose credential is being asked for. `ended` counts what made an answer out of date meanwhile."""

    __slots__ = ("__weakref__", "ended", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.ended = 0


class Instances:
    """`changed` is called with a user whose lists may be others now, `used` with one that calls something."""

    def __init__(self, proxy: "Proxy", changed: Callable[[str], None], used: Callable[[str], None]) -> None:
        self._proxy = proxy
        self._changed = changed
        self._used = used
        self._servers: Mapping[str, ResolvedServer] = {}
        self._held: dict[Key, Instance] = {}
        self._turns: WeakValueDictionary[Key, _Turn] = WeakValueDictionary()
        self._known: OrderedDict[Key, Catalogue] = OrderedDict()
        self._problems: OrderedDict[Key, CredentialProblem] = OrderedDict()
        self._checking: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._held)

    # What a user has

    def held(self, server: str, user: str | None) -> Backend | None:
        """The instance that is there already."""
        found = self._held.get((server, user)) if user is not None else None
        return found.backend if found is not None else None

    def of(self, server: str) -> list[Backend]:
        """Those of all users, for reports, which are made in threads."""
        return [instance.backend for (name, _), instance in list(self._held.items()) if name == server]

    def catalogue(self, server: str, user: str) -> Catalogue:
        """What the user's instance lists, or listed last; of one who was never signed in, see `unsigned`."""
        key = (server, user)
        instance = self._held.get(key)
        if instance is not None and (instance.backend.status.ever_ready or instance.backend.catalogue is not EMPTY):
            return instance.backend.catalogue
        known = self._known.get(key)
        if known is not None:
            return known
        resolved = self._servers.get(server)
        return unsigned_of(resolved.server) if key in self._problems and resolved is not None else EMPTY

    async def reach(self, server: str, user: str | None, principal: Principal | None) -> Backend:
        """The user's instance, with the credential that is right now; made where there is none.

        Raises:
            Nobody: there is no user.
            CredentialProblem: the user has to sign in, or cannot have an instance.
            StoreUnavailable: the credential cannot be looked up.
            BackendError: the server is gone, or has as many instances as it may, all at work.
        """
        if user is None:
            raise Nobody(server)
        key = (server, user)
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = _Turn()
        async with turn.lock:
            while True:
                ended = turn.ended
                token = await self._token(self._resolved(server), user, principal)
                if ended == turn.ended:
                    break  # else the session ended or the credential changed meanwhile
            instance = self._with(server, user, token)
        if instance.backend.resolved.server.credential is not None:
            self._proxy.services.credentials.attach(instance.backend, user, principal)
        instance.principal = principal
        instance.used_at = asyncio.get_running_loop().time()
        self._used(user)
        return instance.backend

    async def look(self, server: str, user: str, principal: Principal | None) -> None:
        """See to it that what the user's instance lists is known, as far as that takes no longer than its connect timeout."""
        try:
            backend = await self.reach(server, user, principal)
        except CredentialProblem as problem:
            logger.debug("a user's lists are not asked for", extra={"server": server, "why": problem.message})
            return
        except (BackendError, StoreUnavailable) as error:
            logger.warning("a user's instance cannot be had", extra={"server": server, "error": str(error)})
            return
        if not backend.status.ever_ready and backend.catalogue is EMPTY:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backend.resolved.server.connect_timeout_seconds):
                    await backend.asked.wait()

    def _resolved(self, server: str) -> ResolvedServer:
        resolved = self._servers.get(server)
        if resolved is None:
            raise BackendError(
                ErrorReport(error_class="NotRunning", message="it has just been removed; list again"), executed=False
            )
        return resolved

    async def _token(self, resolved: ResolvedServer, user: str, principal: Principal | None) -> str | None:
        server, key = resolved.server, (resolved.server.id, user)
        if server.credential is None:
            return None
        try:
            token = await self._proxy.services.credentials.token_for(server, user, principal)
        except CredentialProblem as problem:
            news = key not in self._problems
            self._problems[key] = problem
            _bound(self._problems)
            if self._drop(key) or news:
                self._changed(user)
            raise
        if self._problems.pop(key, None) is not None:
            self._changed(user)
        return token

    def _with(self, server: str, user: str, token: str | None) -> Instance:
        """Nothing waits here."""
        key, wanted = (server, user), for_user(self._resolved(server), user, token)
        instance = self._held.get(key)
        if instance is None:
            self._make_room(wanted)
            instance = self._held[key] = Instance(server, user, self._new(wanted, self._known.get(key)))
            self._changed(user)
        elif instance.backend.resolved != wanted:
            self._renew(instance, wanted)
        return instance

    def _new(self, wanted: ResolvedServer, catalogue: Catalogue | None) -> Backend:
        backend = self._proxy.new_backend(wanted, self._listed, catalogue or EMPTY)
        backend.start()
        return backend

    def _renew(self, instance: Instance, wanted: ResolvedServer) -> None:
        """Another token or other settings: in place, or, of a process and of another endpoint, by a new one beside the old one."""
        self._proxy.cache.drop({instance.server})
        old = instance.backend
        if old.resolved.same_endpoint(wanted):
            old.reconfigure(wanted)
            old.pool.drop_idle()
            return
        instance.backend = self._new(wanted, old.catalogue)
        self._proxy.retire([old])
        self._changed(instance.user)

    def _make_room(self, wanted: ResolvedServer) -> None:
        server = wanted.server
        users = self._proxy.state.config.users if self._proxy.state is not None else None
        most = server.stdio.max_processes if server.stdio else users.max_sessions if users else 0
        mine = [instance for instance in self._held.values() if instance.server == server.id]
        if len(mine) < most:
            return
        idle = min((i for i in mine if not i.backend.busy), key=lambda i: i.used_at, default=None)
        if idle is None:
            message = f"{most} users have calls in flight with it, which is as many as may; try again later"
            raise BackendError(ErrorReport(error_class="Overloaded", message=message), executed=False)
        self._drop((idle.server, idle.user))

    def _listed(self, backend: Backend) -> None:
        user = backend.resolved.owner
        if user is not None and self.held(backend.id, user) is backend:
            self._proxy.cache.drop({backend.id})
            self._changed(user)

    # Ends and changes

    def end(self, user: str) -> list[str]:
        """The user's session has ended. Returns the ids of the servers whose instances are closed once their calls have ended."""
        for (_, whose), turn in list(self._turns.items()):
            if whose == user:
                turn.ended += 1
        ended = [server for server, whose in list(self._held) if whose == user and self._drop((server, whose))]
        if ended:
            self._changed(user)
        return ended

    def credential_changed(self, user: str, _: str) -> None:
        """A token of the user is another one, or none. Calls ask for it anyway; this is for what waits for none."""
        mine = [i for i in self._held.values() if i.user == user and i.backend.resolved.server.credential is not None]
        unsigned = [server for server, whose in self._problems if whose == user]
        for (_, whose), turn in list(self._turns.items()):
            if whose == user:
                turn.ended += 1
        for server, principal in {**dict.fromkeys(unsigned), **{i.server: i.principal for i in mine}}.items():
            spawn(self._check(server, user, principal), self._checking)

    async def _check(self, server: str, user: str, principal: Principal | None) -> None:
        with contextlib.suppress(CredentialProblem, StoreUnavailable, BackendError):
            await self.reach(server, user, principal)

    def use(self, servers: Mapping[str, ResolvedServer]) -> None:
        """A configuration is in use that has these servers of users."""
        self._servers = servers
        for key, instance in list(self._held.items()):
            resolved = servers.get(instance.server)
            if resolved is None or resolved.server.credential != instance.backend.resolved.server.credential:
                self._drop(key)
                continue
            wanted = for_user(resolved, instance.user, token_shown(instance.backend.resolved))
            if wanted != instance.backend.resolved:
                self._renew(instance, wanted)
        for kept in (self._known, self._problems):
            for key in [key for key in kept if key[0] not in servers]:
                del kept[key]
        if servers and self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(self._keep_sweeping(), name="instances of users")

    def _drop(self, key: Key) -> bool:
        instance = self._held.pop(key, None)
        if instance is None:
            return False
        if instance.backend.catalogue is not EMPTY:
            self._known[key] = instance.backend.catalogue
            self._known.move_to_end(key)
            _bound(self._known)
        self._proxy.cache.drop({instance.server})
        self._proxy.retire([instance.backend])
        return True

    async def _keep_sweeping(self) -> None:
        while True:
            state = self._proxy.state
            idle = state.config.users.idle_seconds if state is not None else SWEEP_SECONDS
            await asyncio.sleep(min(SWEEP_SECONDS, idle / 4))
            self.sweep(idle)

    def sweep(self, idle_seconds: float) -> None:
        """Close what nobody has used for so long."""
        now = asyncio.get_running_loop().time()
        for key, instance in list(self._held.items()):
            if instance.backend.busy:
                instance.used_at = now
            elif now - instance.used_at >= idle_seconds:
                self._drop(key)

    async def close(self) -> None:
        await cancel([*self._checking, *([self._sweeping] if self._sweeping is not None else [])])
        held, self._held = list(self._held.values()), {}
        await asyncio.gather(*(instance.backend.close() for instance in held))


def _bound(kept: "OrderedDict[Key, Catalogue] | OrderedDict[Key, CredentialProblem]") -> None:
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
