"""Tokens asked of a token endpoint (RFC 6749; RFC 8693), by Authlib's client."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote_plus

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.oauth2.auth import encode_client_secret_basic
from mcp.shared.auth import OAuthMetadata

from mcp_operator_proxy.backends.classify import classify
from mcp_operator_proxy.config.credentials import ClientAuthentication
from mcp_operator_proxy.services.credentials.metadata import Discovery, NotDiscovered
from mcp_operator_proxy.services.credentials.settings import Endpoint
from mcp_operator_proxy.services.credentials.token import Token
from mcp_operator_proxy.services.credentials.web import SECONDS, Web

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
MAX_LIFETIME: Final = 366 * 86400.0
PERMANENT: Final = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
"""Nothing helps but another sign-in (RFC 6749, section 5.2; OpenID Connect Core, section 3.1.2.6)."""
_METHODS: Final = {"basic": "client_secret_basic", "post": "client_secret_post", "none": "none"}
_CODE: Final = re.compile(r"^[a-z_]{1,64}$")


class GrantRefused(Exception):
    """The endpoint answered with an OAuth error, `code`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"it answered {code}")
        self.code = code

    @property
    def permanent(self) -> bool:
        return self.code in PERMANENT


class GrantFailed(Exception):
    """There was no proper answer; it may be asked again. The text may be shown."""


class Grants:
    """`now` gives seconds since the epoch."""

    def __init__(self, web: Web, discovery: Discovery, now: Callable[[], float]) -> None:
        self.web = web
        self._discovery = discovery
        self.now = now

    async def client_credentials(
        self, endpoint: Endpoint, *, scopes: tuple[str, ...], resource: str | None, audience: str | None
    ) -> Token:
        """RFC 6749, section 4.4; RFC 8707. Raises GrantRefused, GrantFailed."""
        return await self._fetch(endpoint, _given(scopes, resource, audience), grant_type="client_credentials")

    async def exchange(
        self, endpoint: Endpoint, subject: str, *, scopes: tuple[str, ...], resource: str | None, audience: str | None
    ) -> Token:
        """RFC 8693, section 2.1. Raises GrantRefused, GrantFailed."""
        given = {
            **_given(scopes, resource, audience),
            "subject_token": subject,
            "subject_token_type": ACCESS_TOKEN,
            "requested_token_type": ACCESS_TOKEN,
        }
        return await self._fetch(endpoint, given, grant_type=EXCHANGE)

    async def code(
        self, endpoint: Endpoint, code: str, *, redirect_uri: str, verifier: str, resource: str | None
    ) -> Token:
        """RFC 6749, section 4.1.3; RFC 7636. Raises GrantRefused, GrantFailed."""
        given = {"code": code, "redirect_uri": redirect_uri, "code_verifier": verifier, **_given((), resource, None)}
        return await self._fetch(endpoint, given, grant_type="authorization_code")

    async def refresh(
        self, endpoint: Endpoint, token: Token, *, resource: str | None = None, address: str | None = None
    ) -> Token:
        """RFC 6749, section 6. What the answer leaves out stays as it was. Raises GrantRefused, GrantFailed."""
        given = {"refresh_token": token.refresh_token or "", **_given((), resource, None)}
        return await self._fetch(endpoint, given, grant_type="refresh_token", before=token, address=address)

    async def _fetch(
        self,
        endpoint: Endpoint,
        given: Mapping[str, str],
        *,
        grant_type: str,
        before: Token | None = None,
        address: str | None = None,
    ) -> Token:
        url, method = await self._where(endpoint, address)
        try:
            async with (
                self.web.oauth(
                    endpoint.ca_bundle,
                    client_id=endpoint.client_id,
                    client_secret=endpoint.client_secret,
                    token_endpoint_auth_method=method,
                ) as client,
                asyncio.timeout(SECONDS),
            ):
                client.register_client_auth_method(("client_secret_basic", _basic))
                answer = await client.fetch_token(url, grant_type=grant_type, **given)
        except OAuthError as error:
            code = str(error.error)
            raise GrantRefused(code if _CODE.match(code) else "an error") from None
        except httpx2.HTTPStatusError as error:
            raise GrantFailed(f"its token endpoint answered HTTP {error.response.status_code}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            raise GrantFailed(f"its token endpoint cannot be asked ({classify(error).error_class})") from None
        except ValueError:
            raise GrantFailed("its token endpoint does not answer with a token") from None
        return token_of(answer, self.now(), before)

    async def _where(self, endpoint: Endpoint, address: str | None) -> tuple[str, str]:
        """The token endpoint, and how the client authenticates there."""
        if endpoint.url is not None:
            return endpoint.url, _METHODS[endpoint.authentication or "basic"]
        assert endpoint.issuer is not None
        try:
            found = await self._discovery.issuer(endpoint.issuer, endpoint.ca_bundle, address)
        except NotDiscovered as error:
            raise GrantFailed(str(error)) from None
        if endpoint.authentication is not None:
            return str(found.token_endpoint), _METHODS[endpoint.authentication]
        return str(found.token_endpoint), _METHODS[authentication_at(found)]


def authentication_at(found: OAuthMetadata) -> ClientAuthentication:
    """How a client with a secret shows it where the configuration does not say."""
    known = found.token_endpoint_auth_methods_supported
    posts = known is not None and "client_secret_basic" not in known and "client_secret_post" in known
    return "post" if posts else "basic"


def token_of(answer: Mapping[str, Any], now: float, before: Token | None = None) -> Token:
    """A token response (RFC 6749, section 5.1) as a Token. Raises GrantFailed where it is none."""
    access, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    usable = (
        isinstance(access, str) and bool(access) and access.isascii() and access.isprintable() and " " not in access
    )
    if not usable or not isinstance(kind, str) or kind.lower() not in ("bearer", "n_a"):
        raise GrantFailed("its token endpoint does not answer with a bearer token")
    refresh, scope = answer.get("refresh_token"), answer.get("scope")
    id_token = answer.get("id_token")
    return Token(
        access_token=str(access),
        refresh_token=refresh if isinstance(refresh, str) and refresh else before.refresh_token if before else None,
        expires_at=_expiry(answer.get("expires_in"), now),
        scopes=tuple(scope.split()) if isinstance(scope, str) and scope else before.scopes if before else (),
        id_token=id_token if isinstance(id_token, str) else before.id_token if before else None,
        extra=before.extra if before else {},
    )


def _expiry(seconds: Any, now: float) -> float | None:
    try:
        lifetime = float(seconds)
    except (TypeError, ValueError):
        return None
    return now + min(lifetime, MAX_LIFETIME) if lifetime >= 0 else None


def _given(scopes: tuple[str, ...], resource: str | None, audience: str | None) -> dict[str, str]:
    given = {"scope": " ".join(scopes), "resource": resource, "audience": audience}
    return {name: value for name, value in given.items() if value}


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> Any:
    """RFC 6749, section 2.3.1: name and secret are form-encoded first, which Authlib leaves out."""
    return encode_client_secret_basic(_Quoted(client), method, uri, headers, body)


class _Quoted:
    def __init__(self, client: Any) -> None:
        self.client_id = quote_plus(client.client_id)
        self.client_secret = quote_plus(client.client_secret)
