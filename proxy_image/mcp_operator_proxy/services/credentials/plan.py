"""What it takes to sign a user in: where, as which client, for what. For a server, found as MCP's authorization specification has it."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import httpx2
from mcp.client.auth.exceptions import OAuthRegistrationError
from mcp.client.auth.utils import (
    create_client_registration_request,
    extract_scope_from_www_auth,
    get_client_metadata_scopes,
    handle_registration_response,
)
from mcp.shared.auth import OAuthClientMetadata, OAuthMetadata, ProtectedResourceMetadata
from pydantic import AnyUrl

from mcp_operator_proxy.config import AuthorizationCode, Server
from mcp_operator_proxy.config.credentials import ClientAuthentication
from mcp_operator_proxy.services.credentials.grants import authentication_at
from mcp_operator_proxy.services.credentials.metadata import Discovery, NotDiscovered, protected_resource
from mcp_operator_proxy.services.credentials.settings import Endpoint, ProviderSettings
from mcp_operator_proxy.services.credentials.web import Web
from mcp_operator_proxy.services.stores import Stores
from mcp_operator_proxy.stores.sealed import NotOpened

CLIENT_SECONDS: Final = 30 * 86400.0
"""So long a registered client is used for further sign-ins."""
_METHODS: Final[dict[ClientAuthentication, str]] = {
    "basic": "client_secret_basic",
    "post": "client_secret_post",
    "none": "none",
}
_OFFLINE: Final = "offline_access"


class CannotSignIn(Exception):
    """Why nobody can. The text may be shown."""


@dataclass(frozen=True)
class Plan:
    """`endpoint` makes tokens; `iss` is what a redirect says of its issuer (RFC 9207), `says_iss` whether it always does."""

    authorize: str
    endpoint: Endpoint
    scopes: tuple[str, ...]
    resource: str | None
    iss: str
    says_iss: bool
    more: dict[str, str] = field(default_factory=dict)
    """Further parameters of the authorization request."""


class Planner:
    """`redirect_uri` is where clients that register themselves get their answers."""

    def __init__(self, stores: Callable[[], Stores], web: Web, discovery: Discovery) -> None:
        self._web = web
        self._stores = stores
        self._discovery = discovery

    async def of_provider(self, provider: ProviderSettings) -> Plan:
        """Raises CannotSignIn."""
        address, issuer = provider.address, provider.endpoint.issuer
        if provider.kind == "azure":  # its metadata name the tenant by its id, whatever the address calls it
            address, issuer = f"{provider.address}/v2.0", None
        try:
            found = await self._discovery.issuer(issuer, provider.endpoint.ca_bundle, address, fresh=True)
        except NotDiscovered as error:
            raise CannotSignIn(str(error)) from None
        supported = found.scopes_supported or []
        offline = [_OFFLINE] if provider.kind == "azure" or _OFFLINE in supported else []
        more = {"access_type": "offline", "prompt": "consent"} if provider.kind == "google" else {}
        return Plan(
            str(found.authorization_endpoint),
            replace(
                provider.endpoint,
                url=str(found.token_endpoint),
                issuer=None,
                authentication=provider.endpoint.authentication or authentication_at(found),
            ),
            provider.scopes or ("openid", *offline),
            None,
            str(found.issuer),
            bool(found.authorization_response_iss_parameter_supported),
            more,
        )

    async def of_server(self, server: Server, endpoint: Endpoint | None, redirect_uri: str) -> Plan:
        """Raises CannotSignIn."""
        credential = server.credential
        assert isinstance(credential, AuthorizationCode)
        assert server.url is not None
        challenge, asked = await _challenge(self._web, str(server.url), server.ca_bundle)
        try:
            resource = await protected_resource(self._web, str(server.url), challenge, server.ca_bundle)
            issuer = _chosen(resource, endpoint)
            ca_bundle = endpoint.ca_bundle if endpoint else None
            found = await self._discovery.issuer(issuer, ca_bundle, fresh=True)
        except NotDiscovered as error:
            raise CannotSignIn(str(error)) from None
        if "S256" not in (found.code_challenge_methods_supported or []):
            raise CannotSignIn("the authorization server does not say that it knows PKCE with S256")
        if endpoint is None:
            endpoint = await self._registered(found, redirect_uri)
        token = endpoint.url or str(found.token_endpoint)
        client = Endpoint(
            token, None, endpoint.client_id, endpoint.client_secret, endpoint.authentication, endpoint.ca_bundle
        )
        return Plan(
            str(found.authorization_endpoint),
            client,
            credential.scopes or _scopes(asked, resource, found),
            str(resource.resource),
            str(found.issuer),
            bool(found.authorization_response_iss_parameter_supported),
        )

    # Registration (RFC 7591)

    async def _registered(self, found: OAuthMetadata, redirect_uri: str) -> Endpoint:
        """The proxy as a client of this authorization server, registered once."""
        key, stores = _client_key(str(found.issuer), redirect_uri), self._stores()
        sealed = await stores.keyvalue.get(key)
        if sealed is not None:
            try:
                return Endpoint(**stores.sealer.open(sealed, key))
            except (NotOpened, TypeError):
                pass
        if found.registration_endpoint is None:
            raise CannotSignIn("the authorization server registers no clients: configure the credential's endpoint")
        endpoint, seconds = await _register(self._web, found, redirect_uri)
        await stores.keyvalue.put(key, stores.sealer.seal(vars(endpoint), key), seconds)
        return endpoint

    async def forget_client(self, iss: str, redirect_uri: str) -> None:
        """It is not known there any more."""
        await self._stores().keyvalue.delete(_client_key(iss, redirect_uri))


def _client_key(iss: str, redirect_uri: str) -> str:
    return f"oauth:client:{hashlib.sha256(f'{iss} {redirect_uri}'.encode()).hexdigest()}"


async def _register(web: Web, found: OAuthMetadata, redirect_uri: str) -> tuple[Endpoint, float]:
    known = found.token_endpoint_auth_methods_supported or ["client_secret_basic"]
    method: ClientAuthentication = next((name for name, wire in _METHODS.items() if wire in known), "basic")
    wanted = OAuthClientMetadata(
        client_name="mcp-operator proxy",
        redirect_uris=[AnyUrl(redirect_uri)],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method=cast("Any", _METHODS[method]),
    )
    try:
        async with web.client(None) as http:
            response = await http.send(create_client_registration_request(found, wanted, str(found.issuer)))
            client = await handle_registration_response(response)
    except (OAuthRegistrationError, httpx2.HTTPError, OSError, ValueError):
        raise CannotSignIn("the authorization server does not register the proxy as a client") from None
    if client.client_id is None:
        raise CannotSignIn("the authorization server registers the proxy without a name")
    given = client.token_endpoint_auth_method
    method = next((name for name, wire in _METHODS.items() if wire == given), method)
    if client.client_secret is None:
        method = "none"
    seconds = CLIENT_SECONDS
    if client.client_secret_expires_at:
        seconds = max(1.0, min(seconds, client.client_secret_expires_at - time.time()))
    return Endpoint(str(found.token_endpoint), None, client.client_id, client.client_secret, method), seconds


async def _challenge(web: Web, url: str, ca_bundle: str | None) -> tuple[str, str | None]:
    """The `WWW-Authenticate` header of the server's 401, and the scopes that it asks for."""
    try:
        async with (
            web.client(ca_bundle) as http,
            http.stream("GET", url, headers={"accept": "text/event-stream"}) as response,
        ):
            if response.status_code == 401:
                return response.headers.get("www-authenticate", ""), extract_scope_from_www_auth(response)
    except (httpx2.HTTPError, OSError):
        raise CannotSignIn("the server cannot be reached") from None
    return "", None


def _chosen(resource: ProtectedResourceMetadata, endpoint: Endpoint | None) -> str:
    """The issuer to sign in at: the configured one, if the server trusts it, or else the first."""
    trusted = [str(issuer) for issuer in resource.authorization_servers]
    if endpoint is None or endpoint.issuer is None:
        return trusted[0]
    if not any(issuer.rstrip("/") == endpoint.issuer.rstrip("/") for issuer in trusted):
        raise CannotSignIn("the server does not trust the configured issuer")
    return endpoint.issuer


def _scopes(asked: str | None, resource: ProtectedResourceMetadata, found: OAuthMetadata) -> tuple[str, ...]:
    scopes = (get_client_metadata_scopes(asked, resource) or "").split()
    if _OFFLINE in (found.scopes_supported or []) and _OFFLINE not in scopes:
        scopes.append(_OFFLINE)
    return tuple(scopes)
