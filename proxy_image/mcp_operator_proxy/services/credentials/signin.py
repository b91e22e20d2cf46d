"""A user signs in at a server's authorization server, or at a provider, with a browser (RFC 6749, section 4.1; RFC 7636; RFC 9207).

The proxy gives out a URL that is good once. What is between it and the end stands in the key-value store, encrypted: any replica
goes on with what another began.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from mcp_operator_proxy.config import AuthorizationCode, Server
from mcp_operator_proxy.services.credentials.grants import GrantFailed, GrantRefused, Grants
from mcp_operator_proxy.services.credentials.plan import CannotSignIn, Plan, Planner
from mcp_operator_proxy.services.credentials.settings import CredentialSettings, Endpoint
from mcp_operator_proxy.services.credentials.token import Token, issuer_of
from mcp_operator_proxy.services.stores import Stores
from mcp_operator_proxy.stores.sealed import NotOpened

SECONDS: Final = 600.0
"""For opening the URL, and then for signing in."""
START: Final = "/oauth/start/"
CALLBACK: Final = "/oauth/callback"
_CODE: Final = re.compile(r"^[a-z_]{1,64}$")


class SignInFailed(Exception):
    """Why it ends here. The text may be shown, as text."""


@dataclass(frozen=True)
class Begun:
    """Where the browser goes, and the cookie by which it is known when it comes back."""

    url: str
    cookie: str


@dataclass(frozen=True)
class Ended:
    """Somebody has signed in: `user` has a token for what `what` names."""

    user: str
    issuer: str
    what: str
    token: Token


class SignIns:
    """`keep` is given what came of each."""

    def __init__(
        self,
        *,
        stores: Callable[[], Stores],
        settings: Callable[[], CredentialSettings],
        server: Callable[[str], Server | None],
        planner: Planner,
        grants: Grants,
        keep: Callable[[Ended], Awaitable[None]],
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._server = server
        self._planner = planner
        self._grants = grants
        self._keep = keep

    @property
    def redirect_uri(self) -> str:
        return f"{self._settings().public_url}{CALLBACK}"

    async def offer(self, user: str, *, provider: str | None = None, server: str | None = None) -> str | None:
        """The URL at which the user signs in; None where the proxy's own address is not known. Raises StoreUnavailable."""
        public = self._settings().public_url
        if public is None:
            return None
        about = {"user": user, "provider": provider, "server": server}
        key = f"oauth:offer:{_digest(repr(sorted(about.items(), key=str)))}"
        offered = await self._read(key)
        if offered is None or await self._read(_start_key(offered["id"])) is None:
            offered = {"id": secrets.token_urlsafe(24)}
            await self._write(_start_key(offered["id"]), about)
            await self._write(key, offered)
        return f"{public}{START}{offered['id']}"

    async def begin(self, name: str) -> Begun:
        """The URL was opened. Raises SignInFailed, StoreUnavailable."""
        about = await self._read(_start_key(name))
        if about is None:
            raise SignInFailed("this address was used already, or is too old: call the tool again for another")
        try:
            plan = await self._plan(about)
        except CannotSignIn as error:
            raise SignInFailed(str(error)) from None
        if await self._stores().keyvalue.delete(_start_key(name)) != 1:
            raise SignInFailed("this address was used already: call the tool again for another")
        state, verifier, cookie = (secrets.token_urlsafe(48) for _ in range(3))
        await self._write(
            _state_key(state),
            {
                **about,
                "verifier": verifier,
                "cookie": _digest(cookie),
                "endpoint": vars(plan.endpoint),
                "resource": plan.resource,
                "iss": plan.iss,
                "says_iss": plan.says_iss,
                "redirect_uri": self.redirect_uri,
            },
        )
        more = {**plan.more, **({"resource": plan.resource} if plan.resource else {})}
        url = prepare_grant_uri(
            plan.authorize,
            client_id=plan.endpoint.client_id,
            response_type="code",
            redirect_uri=self.redirect_uri,
            scope=" ".join(plan.scopes) or None,
            state=state,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
            **more,
        )
        return Begun(str(url), cookie)

    async def _plan(self, about: dict[str, Any]) -> Plan:
        settings = self._settings()
        if about["provider"] is not None:
            provider = settings.providers.get(about["provider"])
            if provider is None:
                raise CannotSignIn("this provider is not configured any more")
            return await self._planner.of_provider(provider)
        server = self._server(about["server"])
        if server is None or not isinstance(server.credential, AuthorizationCode):
            raise CannotSignIn("this server is not configured any more")
        return await self._planner.of_server(server, settings.endpoints.get(server.id), self.redirect_uri)

    async def end(self, query: dict[str, str], cookie: str | None) -> Ended:
        """The browser came back. Raises SignInFailed, StoreUnavailable."""
        key = _state_key(query.get("state", ""))
        begun = await self._read(key)
        if begun is None or await self._stores().keyvalue.delete(key) != 1:
            raise SignInFailed("this sign-in is not known, is over, or took too long: call the tool again")
        if cookie is None or not hmac.compare_digest(_digest(cookie), begun["cookie"]):
            raise SignInFailed("this sign-in was begun in another browser: call the tool again")
        said = query.get("iss")
        if (said is not None and said != begun["iss"]) or (said is None and begun["says_iss"]):
            raise SignInFailed("the answer is not from the authorization server that was asked")
        if "error" in query:
            code = query["error"] if _CODE.match(query["error"]) else "an error"
            raise SignInFailed(f"the authorization server answered {code}: call the tool again")
        endpoint = Endpoint(**begun["endpoint"])
        try:
            token = await self._grants.code(
                endpoint,
                query.get("code", ""),
                redirect_uri=begun["redirect_uri"],
                verifier=begun["verifier"],
                resource=begun["resource"],
            )
        except GrantRefused as error:
            if error.code == "invalid_client":
                await self._planner.forget_client(begun["iss"], begun["redirect_uri"])
            raise SignInFailed(f"the authorization server gives no token: {error}") from None
        except GrantFailed as error:
            raise SignInFailed(f"the authorization server gives no token: {error}") from None
        ended = self._ended(begun, endpoint, token)
        await self._keep(ended)
        return ended

    @staticmethod
    def _ended(begun: dict[str, Any], endpoint: Endpoint, token: Token) -> Ended:
        if begun["provider"] is not None:
            return Ended(begun["user"], begun["provider"], f"provider {begun['provider']}", token)
        server = begun["server"]
        extra = {"server": server, "endpoint": vars(endpoint), "resource": begun["resource"]}
        return Ended(begun["user"], issuer_of(server), f"server {server}", replace(token, extra=extra))

    # In the store

    async def _write(self, key: str, value: dict[str, Any]) -> None:
        stores = self._stores()
        await stores.keyvalue.put(key, stores.sealer.seal(value, key), SECONDS)

    async def _read(self, key: str) -> dict[str, Any] | None:
        stores = self._stores()
        sealed = await stores.keyvalue.get(key)
        if sealed is None:
            return None
        try:
            found: dict[str, Any] = stores.sealer.open(sealed, key)
        except NotOpened:
            return None
        return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _start_key(name: str) -> str:
    return f"oauth:start:{_digest(name)}"


def _state_key(state: str) -> str:
    return f"oauth:state:{_digest(state)}"
