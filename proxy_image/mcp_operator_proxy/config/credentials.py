"""What the proxy shows to a backend in the name of itself or of a user, where a fixed header will not do."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer, model_validator

from mcp_operator_proxy.config.base import BackendUrl, ConfigModel, Name, SecretRef

Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$")]
"""RFC 6749, section 3.3."""
ClientAuthentication = Literal["basic", "post", "none"]


class TokenEndpoint(ConfigModel):
    """Where tokens are made (RFC 6749, section 3.2), and as which client. Exactly one of `url` and `issuer`."""

    url: BackendUrl | None = None
    issuer: BackendUrl | None = None
    """Its metadata names the endpoint (RFC 8414, OpenID Connect Discovery)."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    client_secret: SecretRef | None = None
    authentication: ClientAuthentication = "basic"
    """How the client shows its secret: RFC 6749, section 2.3.1."""
    ca_bundle: str | None = None
    """PEM certificates that sign those of the issuer's HTTP server, instead of the system's."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if (self.url is None) == (self.issuer is None):
            raise ValueError("a token endpoint has exactly one of url and issuer")
        if (self.client_secret is None) != (self.authentication == "none"):
            raise ValueError("a client without a secret has authentication none, and one with a secret has another")
        return self


class _OfAKind(ConfigModel):
    """Its `kind` is written although it is the default: by it the reader tells what it is."""

    kind: str

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}


class ClientCredentials(_OfAKind):
    """The proxy's own token (RFC 6749, section 4.4), the same for all users."""

    kind: Literal["clientCredentials"]
    endpoint: TokenEndpoint
    scopes: Annotated[tuple[Scope, ...], Field(max_length=64)] = ()
    resource: BackendUrl | None = None
    """RFC 8707."""
    audience: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None


class TokenExchange(_OfAKind):
    """A token made for the backend from one of the user's (RFC 8693)."""

    kind: Literal["tokenExchange"]
    endpoint: TokenEndpoint
    subject: Literal["caller", "session"] = "caller"
    """The token that is exchanged: the JWT with which the caller authenticates, or the one of the user's session."""
    provider: Name | None = None
    """Of the session's token; needed with `session`."""
    scopes: Annotated[tuple[Scope, ...], Field(max_length=64)] = ()
    resource: BackendUrl | None = None
    audience: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None

    @model_validator(mode="after")
    def _names_its_provider(self) -> Self:
        if (self.subject == "session") != (self.provider is not None):
            raise ValueError("provider is set with subject session, and only with it")
        return self


class UserToken(_OfAKind):
    """The token of the user's session at a provider, as it is."""

    kind: Literal["userToken"]
    provider: Name


class AuthorizationCode(_OfAKind):
    """A token for which each user signs in at the backend's authorization server (MCP authorization, OAuth 2.1).

    The server's protected-resource metadata (RFC 9728) names the issuer; `endpoint` says who the proxy is there. Unset, the proxy
    registers itself (RFC 7591).
    """

    kind: Literal["authorizationCode"]
    endpoint: TokenEndpoint | None = None
    scopes: Annotated[tuple[Scope, ...], Field(max_length=64)] = ()
    """Unset: those that the server's challenge asks for."""


Credential = Annotated[ClientCredentials | TokenExchange | UserToken | AuthorizationCode, Field(discriminator="kind")]
"""`kind` has no default in any of them: defaults are not written, and without it nobody could read what was."""


class Provider(ConfigModel):
    """An identity provider at which users have tokens. `kind` says how it is spoken to and found."""

    name: Name
    kind: Literal["azure", "cognito", "google", "oidc"]
    issuer: BackendUrl | None = None
    """Of `oidc`, whose metadata says the rest; others know theirs."""
    tenant: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,128}$")] | None = None
    """Of `azure`: a tenant's id or domain."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] | None = None
    """Of `cognito`."""
    user_pool: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None
    """Of `cognito`: the pool's id."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    client_secret: SecretRef | None = None
    scopes: Annotated[tuple[Scope, ...], Field(max_length=64)] = ()
    """Asked for where a user signs in. Unset: `openid`, and what makes a refresh token."""
    authority: BackendUrl | None = None
    """Instead of the provider's public address: a sovereign cloud, or a test."""
    ca_bundle: str | None = None
    """PEM certificates that sign those of the provider's HTTP server, instead of the system's."""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        needed = {"azure": ("tenant",), "cognito": ("region", "user_pool"), "google": (), "oidc": ("issuer",)}
        for kind, names in needed.items():
            for name in names:
                if (getattr(self, name) is not None) != (kind == self.kind):
                    raise ValueError(f"provider {self.name}: {name} is set with kind {kind}, and only with it")
        return self


class Refresh(ConfigModel):
    """When tokens of users are renewed: every `every_seconds`, those that end within `within_seconds`."""

    every_seconds: Annotated[float, Field(gt=0, le=86400)] = 300.0
    within_seconds: Annotated[float, Field(gt=0, le=86400)] = 600.0
