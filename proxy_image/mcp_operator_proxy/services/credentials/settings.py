"""Providers and token endpoints with their secrets filled in. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mcp_operator_proxy.backends.http import BadCABundle, ssl_context
from mcp_operator_proxy.config import Provider, ProxyConfig, Refresh, TokenEndpoint
from mcp_operator_proxy.config.credentials import ClientAuthentication
from mcp_operator_proxy.swap.validate import ConfigRejected, installed, secret

NEEDED: Final = ("authlib", "msal", "joserfc", "sqlalchemy")
AZURE: Final = "https://login.microsoftonline.com"
GOOGLE: Final = "https://accounts.google.com"


@dataclass(frozen=True)
class Endpoint:
    """Where tokens are made, and as which client. One of `url` and `issuer` is set."""

    url: str | None
    issuer: str | None
    client_id: str
    client_secret: str | None = field(repr=False)
    authentication: ClientAuthentication | None
    """None: as the issuer's metadata says."""
    ca_bundle: str | None = None


@dataclass(frozen=True)
class ProviderSettings:
    """An identity provider. `endpoint.issuer` is what its metadata says of itself, `address` where they are found."""

    name: str
    kind: str
    endpoint: Endpoint
    address: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class CredentialSettings:
    """`endpoints` by the id of the server."""

    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    refresh: Refresh = field(default_factory=Refresh)
    public_url: str | None = None
    """Where browsers reach the proxy, without a slash at its end."""


def credential_settings(config: ProxyConfig, secrets: Mapping[str, str]) -> CredentialSettings:
    """Raises SecretMissing, and ConfigRejected for a CA bundle that holds none, or where the libraries are not installed."""
    if config.providers or any(server.credential is not None for server in config.servers):
        installed("credentials", NEEDED, config.revision)
    providers = {
        provider.name: _provider(provider, secrets, f"providers[{index}]", config.revision)
        for index, provider in enumerate(config.providers)
    }
    endpoints = {
        server.id: _endpoint(found, secrets, f"servers[{index}].credential.endpoint", config.revision)
        for index, server in enumerate(config.servers)
        if (found := getattr(server.credential, "endpoint", None)) is not None
    }
    return CredentialSettings(providers, endpoints, config.refresh, _public(config))


def _public(config: ProxyConfig) -> str | None:
    metadata = config.auth.resource_metadata if config.auth else None
    url = config.public_url or (metadata.resource if metadata else None)
    return str(url).rstrip("/") if url else None


def _endpoint(endpoint: TokenEndpoint, secrets: Mapping[str, str], path: str, revision: str) -> Endpoint:
    return Endpoint(
        url=str(endpoint.url) if endpoint.url else None,
        issuer=str(endpoint.issuer) if endpoint.issuer else None,
        client_id=endpoint.client_id,
        client_secret=secret(endpoint.client_secret, secrets, f"{path}.clientSecret", revision)
        if endpoint.client_secret
        else None,
        authentication=endpoint.authentication,
        ca_bundle=_checked(endpoint.ca_bundle, path, revision),
    )


def _provider(provider: Provider, secrets: Mapping[str, str], path: str, revision: str) -> ProviderSettings:
    authority = str(provider.authority).rstrip("/") if provider.authority else None
    match provider.kind:
        case "azure":
            address = issuer = f"{authority or AZURE}/{provider.tenant}"
        case "cognito":
            base = authority or f"https://cognito-idp.{provider.region}.amazonaws.com"
            address = issuer = f"{base}/{provider.user_pool}"
        case "google":
            address = issuer = authority or GOOGLE
        case "oidc":
            issuer = str(provider.issuer)
            address = authority or issuer
    endpoint = Endpoint(
        url=None,
        issuer=issuer,
        client_id=provider.client_id,
        client_secret=secret(provider.client_secret, secrets, f"{path}.clientSecret", revision)
        if provider.client_secret
        else None,
        authentication=None if provider.client_secret else "none",
        ca_bundle=_checked(provider.ca_bundle, path, revision),
    )
    return ProviderSettings(provider.name, provider.kind, endpoint, address, provider.scopes)


def _checked(bundle: str | None, path: str, revision: str) -> str | None:
    try:
        if bundle is not None:
            ssl_context(bundle)
    except BadCABundle as error:
        raise ConfigRejected(f"{path}.caBundle: {error}", revision) from None
    return bundle
