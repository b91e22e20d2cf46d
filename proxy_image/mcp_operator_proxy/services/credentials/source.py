"""`services.credentials`: the token that a backend is shown for a user, or why there is none."""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import Server, UserToken
from mcp_operator_proxy.services.credentials.token import CredentialProblem
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.tasks import cancel

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
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
        self._callbacks: list[Changed] = []
        self._me = secrets.token_hex(8)
        self._listening: asyncio.Task[None] | None = None

    def use(self, prepared: "Prepared") -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        wanted = bool(prepared.config.providers) or any(server.credential for server in prepared.config.servers)
        if wanted and self._proxy.services.stores.shared:
            self._listening = asyncio.get_running_loop().create_task(self._listen(), name="credentials of others")

    async def close(self) -> None:
        if self._listening is not None:
            await cancel([self._listening])

    @property
    def vault(self) -> "Vault":
        """On the stores in use; ask for it anew each time."""
        from mcp_operator_proxy.services.credentials.vault import Vault  # noqa: PLC0415 - only who keeps some pays for it

        return Vault(self._proxy.services.stores, self._clock)

    async def token_for(self, server: Server, user: str | None, principal: Principal | None) -> str:  # noqa: ARG002 - the caller of an exchange
        """The access token that `server` is shown for `user`.

        Raises:
            CredentialProblem: there is none; the text says what to do.
            StoreUnavailable: where it is kept cannot be reached.
        """
        credential = server.credential
        if isinstance(credential, UserToken):
            return await self._of_user(server, _named(server, user), credential.provider)
        raise CredentialProblem(f"server {server.id} takes no token of a user")

    async def _of_user(self, server: Server, user: str, provider: str) -> str:
        stored = await self.vault.get(user, provider)
        if stored is None:
            raise CredentialProblem(
                f"server {server.id} needs your sign-in at {provider}: start a session with a token of it"
            )
        if stored.problem is not None:
            raise CredentialProblem(stored.problem)
        if not stored.token.good_for(0, self._clock()):
            raise CredentialProblem(f"your sign-in at {provider} has ended: sign in again")
        return stored.token.access_token

    # Who wants to know of changes

    def subscribe(self, callback: Changed) -> None:
        """`callback(user, issuer)` is called, in the loop, after a token was replaced, removed or found not to work: here or,
        where a Redis is shared, in another replica."""
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


def _named(server: Server, user: str | None) -> str:
    if user is None:
        raise CredentialProblem(
            f"server {server.id} shows a user's own token: call it as somebody, with an API key or a token"
        )
    return user
