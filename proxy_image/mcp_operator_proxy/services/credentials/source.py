"""`services.credentials`: the token that a backend is shown for a user, or why there is none."""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.types import Scope

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.config import ClientCredentials, Server
from mcp_operator_proxy.services.credentials.settings import CredentialSettings
from mcp_operator_proxy.services.credentials.shown import WAITS, shown, token_shown
from mcp_operator_proxy.services.credentials.token import CredentialProblem, issuer_of
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.tasks import cancel, dismiss, spawn

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.services.credentials.engine import Engine
    from mcp_operator_proxy.services.credentials.vault import Vault
    from mcp_operator_proxy.swap.prepared import Prepared

__all__ = ["CredentialProblem", "Credentials"]
logger = logging.getLogger(__name__)
CHANNEL: Final = "credentials"

Changed = Callable[[str, str], None]


class Credentials:
    """A service of the proxy. `clock` gives seconds since the epoch."""

    def __init__(self, proxy: "Proxy", clock: Callable[[], float] = time.time) -> None:
        self._proxy = proxy
        self._clock = clock
        self.settings = CredentialSettings()
        self._callbacks: list[Changed] = []
        self._me = secrets.token_hex(8)
        self._made: Engine | None = None
        self._wanted = False
        self._following: object = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()

    def use(self, prepared: "Prepared") -> None:
        config, stores = prepared.config, self._proxy.services.stores
        self._wanted = bool(config.providers) or any(server.credential for server in config.servers)
        self.settings = prepared.credentials
        if self._wanted or self._made is not None:
            self._engine.settings = prepared.credentials
            self._engine.metrics.use(prepared.credentials.providers)
            self._engine.machine.use(config.servers, prepared.credentials)
        self._attach()
        following = (stores, config.refresh) if self._wanted else None
        if following != self._following:
            self._following = following
            self._follow()

    def _follow(self) -> None:
        """Begin anew what runs all the time: on the stores in use, as often as configured."""
        dismiss(self._tasks, self._ending)
        self._tasks = []
        if not self._wanted:
            return
        loop, stores, refresh = asyncio.get_running_loop(), self._proxy.services.stores, self.settings.refresh
        passes = self._engine.refresher.run(stores.keyvalue, refresh.every_seconds, refresh.within_seconds)
        self._tasks.append(loop.create_task(passes, name="tokens renewed"))
        if stores.shared:
            self._tasks.append(loop.create_task(self._listen(), name="credentials of others"))

    async def close(self) -> None:
        await cancel([*self._tasks, *self._ending])
        if self._made is not None:
            await self._made.close()

    @property
    def vault(self) -> "Vault":
        """On the stores in use; ask for it anew each time."""
        from mcp_operator_proxy.services.credentials.vault import Vault  # noqa: PLC0415 - only who keeps some pays for it

        return Vault(self._proxy.services.stores, self._clock)

    @property
    def _engine(self) -> "Engine":
        if self._made is None:
            from mcp_operator_proxy.services.credentials.engine import Engine  # noqa: PLC0415 - as above
            from mcp_operator_proxy.services.credentials.metrics import CredentialMetrics  # noqa: PLC0415 - as above

            metrics = CredentialMetrics(self._proxy.metrics.registry)
            self._made = Engine(self._proxy, self._clock, metrics, self.changed, self._machine_changed)
        return self._made

    async def token_for(self, server: Server, user: str | None, principal: Principal | None) -> str:
        """The access token that `server` is shown for `user`.

        Raises:
            CredentialProblem: there is none; the text says what to do.
            StoreUnavailable: where it is kept cannot be reached.
        """
        return await self._engine.token_for(server, user, principal)

    async def offer(self, user: str, *, provider: str | None = None, server: str | None = None) -> str | None:
        """The URL at which `user`, and nobody else, is to sign in; None where that cannot be offered. Raises StoreUnavailable."""
        return await self._engine.sign_ins.offer(user, provider=provider, server=server)

    async def shown_to(self, resolved: ResolvedServer, user: str | None, principal: Principal | None) -> ResolvedServer:
        """The server with the token of a user, in its headers or its environment; as it is where it has no credential.

        Raises as `token_for`.
        """
        if resolved.server.credential is None:
            return resolved
        return shown(resolved, await self.token_for(resolved.server, user, principal))

    def attach(self, backend: Backend, user: str | None = None, principal: Principal | None = None) -> None:
        """From now on, when the server refuses the token that it is shown (401), it is shown another one, where there is one,
        and asked again."""
        backend.renew = partial(self._renew, backend, user, principal)

    async def _renew(self, backend: Backend, user: str | None, principal: Principal | None) -> bool:
        before = token_shown(backend.resolved)
        if before is None:
            return False
        server = backend.resolved.server
        try:
            if not await self._engine.renewed(server, user, principal, before):
                return False
            token = await self.token_for(server, user, principal)
        except (CredentialProblem, StoreUnavailable):
            return False
        if server.credential_env is not None:
            return False  # a process keeps its environment; whoever listens to changes starts another
        if token != token_shown(backend.resolved):
            backend.reconfigure(shown(backend.resolved, token))
        return token != before

    # The proxy's own tokens

    def filled(self, prepared: "Prepared") -> "Prepared":
        """With the tokens that servers are shown for everybody, as far as they are there."""
        wanting = [s.id for s in prepared.config.servers if isinstance(s.credential, ClientCredentials)]
        if not wanting:
            return prepared
        resolved = dict(prepared.resolved)
        for server in wanting:
            if self._made is None:
                resolved[server] = replace(resolved[server], waits=WAITS)
            else:
                resolved[server] = self._made.machine.filled(resolved[server], prepared.credentials)
        return replace(prepared, resolved=resolved)

    def _attach(self) -> None:
        state = self._proxy.state
        for backend in state.backends.values() if state else ():
            if isinstance(backend.resolved.server.credential, ClientCredentials):
                self.attach(backend)
                self._show(backend)  # what came while the swap waited for its servers

    def _machine_changed(self, server: str) -> None:
        state = self._proxy.state
        if state is not None and (backend := state.backends.get(server)) is not None:
            self._show(backend)
        self._tell("", issuer_of(server))

    def _show(self, backend: Backend) -> None:
        """Show it the token that there is now: in place, or to a new process."""
        now = self._engine.machine.filled(backend.resolved, self.settings)
        if not backend.resolved.same_endpoint(now):
            spawn(self._proxy.show_anew(), self._ending)
        elif backend.resolved != now:
            backend.reconfigure(now)

    # Who wants to know of changes

    def subscribe(self, callback: Changed) -> None:
        """`callback(user, issuer)` is called, in the loop, after a token was replaced, removed or found not to work: here or,
        where a Redis is shared, in another replica. `issuer` is a provider's name or `issuer_of(server)`; `user` is empty where
        a server is shown the token for everybody."""
        self._callbacks.append(callback)

    async def changed(self, user: str, issuer: str) -> None:
        """Tell all replicas. Whoever writes to the vault calls it."""
        self._tell(user, issuer)
        stores = self._proxy.services.stores
        if stores.shared:
            with contextlib.suppress(StoreUnavailable):
                await stores.keyvalue.publish(CHANNEL, json.dumps([self._me, user, issuer]).encode())

    def _tell(self, user: str, issuer: str) -> None:
        for callback in self._callbacks:
            try:
                callback(user, issuer)
            except Exception:
                logger.exception("a listener to credentials failed")

    async def _listen(self) -> None:
        async for message in self._proxy.services.stores.keyvalue.subscribe(CHANNEL):
            if message is None:
                continue
            try:
                origin, user, issuer = json.loads(message)
            except ValueError:
                continue
            if origin != self._me:
                self._tell(user, issuer)

    # Signing in

    async def page(self, path: str, scope: Scope) -> Response | None:
        """What a browser gets at `path`; None where nobody signs in there."""
        if self.settings.public_url is None or not self._wanted:
            return None
        from mcp_operator_proxy.services.credentials.pages import answer  # noqa: PLC0415 - it imports the engine's parts

        return await answer(self._engine.sign_ins, path, scope)
