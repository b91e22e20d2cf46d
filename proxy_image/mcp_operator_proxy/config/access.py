"""Who may call, what, and how often."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mcp_operator_proxy.config.base import BackendUrl, ConfigModel, Name, SecretRef, duplicates
from mcp_operator_proxy.config.credentials import Scope

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones alone: with others, who can verify a token can make one (RFC 8725, section 3.1)."""
RATE: str = r"^[1-9][0-9]{0,6}/(second|minute|hour|day)$"


OPERATOR: Final = "mcp-operator"
"""The caller that the operator itself is. It is no user."""


class ApiKey(ConfigModel):
    """A key that authenticates as `name`. Its secret file holds the key, or `sha256:` and the key's digest in hex."""

    name: Name
    secret: SecretRef
    calls: (
        Annotated[tuple[Annotated[str, StringConstraints(max_length=1500)], ...], Field(max_length=10_000)] | None
    ) = None
    """Tools, as `NAMESPACE/SERVER/NAME`, that are all the caller may use and see, whatever policies say. None: as these say."""


class JwtIssuer(ConfigModel):
    """An issuer whose tokens are accepted: signed by a key of its JWKS, for one of `audiences`, and not expired (RFC 7519)."""

    name: Name
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    """The `iss` claim, to the letter."""
    audiences: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=2048)], ...], Field(min_length=1)
    ]
    """At least one of them is in `aud`."""
    jwks_url: BackendUrl | None = None
    """Unset: the issuer's metadata names it."""
    ca_bundle: str | None = None
    """PEM certificates that sign those of the issuer's HTTP server, instead of the system's."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    name_claim: Annotated[str, StringConstraints(min_length=1, max_length=256)] = "sub"
    """Whose value is the caller's name; it must be unique and stable at this issuer."""
    required_scopes: Annotated[tuple[Scope, ...], Field(max_length=64)] = ()
    """All of them are in `scope` or `scp`; a token without one is answered with 403 `insufficient_scope`."""
    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30.0
    """By which clocks may differ."""


class ResourceMetadata(ConfigModel):
    """What the proxy says of itself as a protected resource (RFC 9728; MCP authorization)."""

    resource: BackendUrl | None = None
    """The address that clients use, without the MCP path. Unset: from the request's Host."""
    authorization_servers: Annotated[tuple[BackendUrl, ...], Field(max_length=16)] = ()
    """Unset: the issuers of `jwt`."""
    scopes_supported: Annotated[tuple[Scope, ...], Field(max_length=64)] = ()


class Auth(ConfigModel):
    """Who may call. A key comes as `Authorization: Bearer KEY` or `X-API-Key: KEY`, a token as `Authorization: Bearer TOKEN`."""

    api_keys: Annotated[tuple[ApiKey, ...], Field(max_length=10_000)] = ()
    jwt: Annotated[tuple[JwtIssuer, ...], Field(max_length=32)] = ()
    resource_metadata: ResourceMetadata | None = None
    """Unset, with issuers: as the issuers say."""
    anonymous: bool = False
    """Who shows nothing may call too, as nobody. Who shows something wrong may not."""

    @model_validator(mode="after")
    def _lets_somebody_in(self) -> Self:
        if not self.api_keys and not self.jwt and not self.anonymous:
            raise ValueError("auth lets nobody in: give it apiKeys, jwt or anonymous")
        for what, names in (("API keys", [k.name for k in self.api_keys]), ("issuers", [i.name for i in self.jwt])):
            if twice := duplicates(names):
                raise ValueError(f"two {what} are named {twice[0]}")
        if twice := duplicates(issuer.issuer for issuer in self.jwt):
            raise ValueError(f"the issuer {twice[0]} is there twice")
        return self


class Authorization(ConfigModel):
    """What a caller may use: Cedar policies (https://docs.cedarpolicy.com). What none permits is refused and not listed."""

    policies: Annotated[str, StringConstraints(min_length=1, max_length=262_144)]


class RateLimit(ConfigModel):
    """At most `limit` calls, counted apart `per` each of what is named. All limits that match a call hold."""

    name: Name
    limit: Annotated[str, StringConstraints(pattern=RATE)]
    """Such as `100/minute`; of a window that moves."""
    per: Annotated[tuple[Literal["caller", "tool", "server", "route"], ...], Field(max_length=4)] = ("caller",)
    """None: one count for all."""
    tools: Annotated[str, StringConstraints(min_length=1, max_length=256)] = "*"
    """Shell glob on the names that servers give to tools."""
    servers: Annotated[str, StringConstraints(min_length=1, max_length=316)] = "*"
    """Shell glob on `namespace/name`."""


class RequestLimits(ConfigModel):
    """Of one request's body."""

    max_bytes: Annotated[int, Field(ge=1024, le=64 * 2**20)] = 4 * 2**20
    max_depth: Annotated[int, Field(ge=8, le=1000)] = 128
    """Of JSON values within values."""
