"""What makes tokens, put together. It imports the OAuth libraries, so `source` makes it where a configuration wants it."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import AuthorizationCode, ClientCredentials, Server, TokenExchange, UserToken
from mcp_operator_proxy.services.credentials.exchanged import Exchanged
from mcp_operator_proxy.services.credentials.grants import GrantFailed, GrantRefused, Grants
from mcp_operator_proxy.services.credentials.machine import MachineTokens
from mcp_operator_proxy.services.credentials.metadata import Discovery
from mcp_operator_proxy.services.credentials.metrics import CredentialMetrics
from mcp_operator_proxy.services.credentials.plan import Planner
from mcp_operator_proxy.services.credentials.providers import identity_provider
from mcp_operator_proxy.services.credentials.refresher import Refresher, Renewal, World
from mcp_operator_proxy.services.credentials.settings import CredentialSettings, Endpoint
from mcp_operator_proxy.services.credentials.signin import Ended, SignIns
from mcp_operator_proxy.services.credentials.token import CredentialProblem, Stored, Token, issuer_of
from mcp_operator_proxy.services.credentials.vault import Vault
from mcp_operator_proxy.services.credentials.web import Web
from mcp_operator_proxy.services.users.identity import pseudonym
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy

logger = logging.getLogger(__name__)
LEAST_SECONDS = 10.0
"""A token that ends sooner is renewed before it is shown."""
RENEW_SECONDS = 15.0
"""For another token after a server refused one."""


class Engine:
    """`changed(user, issuer)` tells all replicas, `machine_changed(server)` is called in the loop."""

    def __init__(
        self,
        proxy: "Proxy",
        now: Callable[[], float],
        metrics: CredentialMetrics,
        changed: Callable[[str, str], Awaitable[None]],
        machine_changed: Callable[[str], None],
    ) -> None:
        self._proxy = proxy
        self._now = now
        self._changed = changed
        self.settings = CredentialSettings()
        web = Web(proxy.egress)
        discovery = Discovery(web)
        self.grants = Grants(web, discovery, now)
        self.machine = MachineTokens(lambda: self.grants, now, machine_changed)
        self.exchanged = Exchanged(self.grants, now)
        self.metrics = metrics
        self.refresher = Refresher(World(lambda: self.vault, self._renewal, changed, self._ended, metrics))
        self.sign_ins = SignIns(
            stores=lambda: proxy.services.stores,
            settings=lambda: self.settings,
            server=self._server,
            planner=Planner(lambda: proxy.services.stores, web, discovery),
            grants=self.grants,
            keep=self._keep,
        )

    @property
    def vault(self) -> Vault:
        return Vault(self._proxy.services.stores, self._now)

    def _server(self, server: str) -> Server | None:
        state = self._proxy.state
        return next((s for s in state.config.servers if s.id == server), None) if state else None

    # Tokens for backends

    async def token_for(self, server: Server, user: str | None, principal: Principal | None) -> str:
        """As `Credentials.token_for` has it."""
        credential = server.credential
        if isinstance(credential, UserToken):
            return (await self._of_provider(server, named(server, user), credential.provider)).access_token
        if isinstance(credential, AuthorizationCode):
            return await self._of_sign_in(server, named(server, user))
        if isinstance(credential, TokenExchange):
            return await self._of_exchange(server, credential, user, principal)
        if isinstance(credential, ClientCredentials):
            token = self.machine.token(server.id)
            if token is None:
                raise CredentialProblem(f"server {server.id}: {self.machine.problem(server.id)}")
            return token
        raise CredentialProblem(f"server {server.id} is shown no token")

    async def _of_provider(self, server: Server, user: str, provider: str) -> Token:
        stored = await self._good(user, provider)
        if stored is None or stored.problem is not None:
            why = f"{stored.problem}: " if stored and stored.problem else f"server {server.id} needs a "
            what = "" if stored and stored.problem else f"sign-in at {provider}: "
            url = await self._offer(user, provider=provider)
            how = f"open {url} in a browser, then call again" if url else f"start a session with a token of {provider}"
            raise CredentialProblem(f"{why}{what}{how}", url)
        return stored.token

    async def _of_sign_in(self, server: Server, user: str) -> str:
        stored = await self._good(user, issuer_of(server.id))
        if stored is not None and stored.problem is None:
            return stored.token.access_token
        why = stored.problem if stored and stored.problem else f"server {server.id} wants you to sign in"
        url = await self._offer(user, server=server.id)
        if url is None:
            raise CredentialProblem(f"{why}, and the proxy's publicUrl is not configured, where you could")
        raise CredentialProblem(f"{why}: open {url} in a browser, then call again", url)

    async def _of_exchange(
        self, server: Server, credential: TokenExchange, user: str | None, principal: Principal | None
    ) -> str:
        subject = await self._subject(server, credential, user, principal)
        try:
            token = await self.exchanged.token(server.id, credential, self.settings.endpoints[server.id], subject)
        except GrantRefused as error:
            raise CredentialProblem(
                f"the token of server {server.id} is not given for yours ({error.code}): sign in again"
            ) from None
        except GrantFailed as error:
            raise CredentialProblem(f"the token of server {server.id} cannot be had now: {error}") from None
        return token.access_token

    async def _subject(
        self, server: Server, credential: TokenExchange, user: str | None, principal: Principal | None
    ) -> str:
        if credential.provider is not None:
            return (await self._of_provider(server, named(server, user), credential.provider)).access_token
        if principal is None or principal.token is None:
            raise CredentialProblem(f"server {server.id} needs a token of yours: authenticate with one, not with a key")
        return principal.token

    async def _good(self, user: str, issuer: str) -> Stored | None:
        """The user's token, renewed where it ends at once; with `problem` where that cannot be done."""
        stored = await self.vault.get(user, issuer)
        if stored is None or stored.problem is not None or stored.token.good_for(LEAST_SECONDS, self._now()):
            return stored
        if stored.token.refresh_token is not None:
            stored = await self.refresher.renewed(user, issuer, stored.token.access_token)
        if stored is None or stored.problem is not None or stored.token.good_for(0, self._now()):
            return stored
        if stored.token.refresh_token is not None:
            raise CredentialProblem(f"your token of {issuer} has ended and cannot be renewed now: try again in a while")
        return Stored(
            user, issuer, stored.token, stored.version, stored.failures, f"your sign-in at {issuer} has ended"
        )

    async def _offer(self, user: str, *, provider: str | None = None, server: str | None = None) -> str | None:
        try:
            return await self.sign_ins.offer(user, provider=provider, server=server)
        except StoreUnavailable:
            return None

    # What a server refused

    async def renewed(self, server: Server, user: str | None, principal: Principal | None, shown: str) -> bool:
        """The server answered 401 to the token `shown`: whether there may be another one now."""
        credential = server.credential
        if isinstance(credential, ClientCredentials):
            return await self.machine.renewed(server.id, shown, RENEW_SECONDS)
        if isinstance(credential, TokenExchange):
            subject = await self._subject(server, credential, user, principal)
            self.exchanged.forget(server.id, credential, self.settings.endpoints[server.id], subject, shown)
            return True
        if user is None or not isinstance(credential, UserToken | AuthorizationCode):
            return False
        issuer = credential.provider if isinstance(credential, UserToken) else issuer_of(server.id)
        stored = await self.vault.get(user, issuer, fresh=True)
        if stored is None or stored.problem is not None:
            return False
        if stored.token.access_token != shown:
            return True
        if stored.token.refresh_token is None:
            if isinstance(credential, AuthorizationCode):
                await self._refused(stored)
            return False
        after = await self.refresher.renewed(user, issuer, shown)
        return after is not None and after.problem is None and after.token.access_token != shown

    async def _refused(self, stored: Stored) -> None:
        """The only server that it was made for does not take it: another sign-in is needed."""
        problem = f"{stored.issuer.removeprefix('server:')} does not take your sign-in any more"
        if await self.vault.failed(stored, retry_after=0, problem=problem) is not None:
            await self._changed(stored.user, stored.issuer)

    # For the refresher

    def _renewal(self, issuer: str, stored: Stored) -> Renewal | None:
        provider = self.settings.providers.get(issuer)
        if provider is not None:
            return identity_provider(provider, self.grants).refresh
        made = stored.token.extra.get("endpoint")
        if made is None:
            return None
        endpoint = self._current(Endpoint(**made), stored.token.extra.get("server"))

        async def renewal(token: Token) -> Token:
            return await self.grants.refresh(endpoint, token, resource=stored.token.extra.get("resource"))

        return renewal

    def _current(self, made: Endpoint, server: Any) -> Endpoint:
        """With the secret of the configuration, where the client is still the same: it may have been changed."""
        configured = self.settings.endpoints.get(server)
        if configured is None or configured.client_id != made.client_id:
            return made
        return Endpoint(
            made.url,
            made.issuer,
            made.client_id,
            configured.client_secret,
            configured.authentication,
            configured.ca_bundle,
        )

    async def _keep(self, ended: Ended) -> None:
        await self.vault.put(ended.user, ended.issuer, ended.token)
        await self._changed(ended.user, ended.issuer)

    async def _ended(self, user: str, issuer: str, code: str) -> None:
        notices = getattr(self._proxy.services, "notices", None)
        if notices is None:
            return
        try:
            data, shown = _not_refreshed(user, code), _not_refreshed(pseudonym(user), code)
            told = notices.tell("credential.not-refreshed", issuer, data, shown)
            if inspect.isawaitable(told):
                await told
        except Exception:
            logger.exception("a notice was not given")

    async def close(self) -> None:
        await self.refresher.close()
        await self.machine.close()


def _not_refreshed(user: str, code: str) -> dict[str, str]:
    """What a notice says. Pure."""
    message = f"the token of {user} cannot be renewed ({code}): another sign-in is needed"
    return {"message": message, "user": user, "error": code}


def named(server: Server, user: str | None) -> str:
    if user is None:
        raise CredentialProblem(
            f"server {server.id} shows a user's own token: call it as somebody, with a key or a token"
        )
    return user
