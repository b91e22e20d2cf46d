"""What proxies show to backends in the name of themselves or of a user, and where users have tokens."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from mcp_operator.api.common import ApiModel, DataSource, SecretSource
from mcp_operator.api.constraints import Rule, matching, one_of_fields
from mcp_operator.api.scalars import CallerName, Duration, Scope, Url, between

Scopes = Annotated[tuple[Scope, ...], Field(max_length=64)]
Audience = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
ClientId = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class TokenEndpoint(ApiModel):
    """Where tokens are made (RFC 6749, section 3.2), and as which client."""

    invariants = (
        Rule(
            one_of_fields("url", "issuer"),
            "exactly one of url and issuer must be set",
            lambda self: (self.url is None) != (self.issuer is None),
        ),
        Rule(
            "has(self.clientSecret) == (self.authentication != 'None')",
            "a client without clientSecret has authentication: None, and one with it has Basic or Post",
            lambda self: (self.client_secret is not None) == (self.authentication != "None"),
        ),
    )

    url: Url | None = None
    """URL of the token endpoint."""
    issuer: Url | None = None
    """Issuer whose metadata names the endpoint (RFC 8414, OpenID Connect Discovery)."""
    client_id: ClientId
    """Who the proxy is there."""
    client_secret: SecretSource | None = None
    """The Secret whose key holds the client's secret. A changed Secret is in use within seconds, without a restart."""
    authentication: Literal["Basic", "Post", "None"] = "Basic"
    """How the client shows its secret (RFC 6749, section 2.3.1): in the Authorization header, in the body, or it has none."""
    ca_bundle: DataSource | None = None
    """PEM certificates of the authorities to trust instead of the system's, where tokens are made and metadata is read."""


class ClientCredentials(ApiModel):
    """The proxy's own token (RFC 6749, section 4.4), the same for all callers."""

    endpoint: TokenEndpoint
    """Where the token is made."""
    scopes: Scopes = ()
    """Scopes to ask for."""
    resource: Url | None = None
    """Resource to ask for (RFC 8707)."""
    audience: Audience | None = None
    """Audience to ask for, where the endpoint wants one."""


class TokenExchange(ApiModel):
    """A token that is made for the server from one of the user's (RFC 8693)."""

    invariants = (
        Rule(
            "(self.subject == 'Session') == has(self.provider)",
            "provider goes with subject: Session, and only with it",
            lambda self: (self.subject == "Session") == (self.provider is not None),
        ),
    )

    endpoint: TokenEndpoint
    """Where the token is made."""
    subject: Literal["Caller", "Session"] = "Caller"
    """The token that is exchanged. Caller: the one with which the caller authenticates. Session: the one of the user's session."""
    provider: CallerName | None = None
    """Provider of the session's token: a name of the proxy's spec.providers."""
    scopes: Scopes = ()
    """Scopes to ask for."""
    resource: Url | None = None
    """Resource to ask for (RFC 8707)."""
    audience: Audience | None = None
    """Audience to ask for."""


class UserToken(ApiModel):
    """The token of the user's session at a provider, as it is."""

    provider: CallerName
    """A name of the proxy's spec.providers."""


class AuthorizationCode(ApiModel):
    """A token for which each user signs in at the server's authorization server (MCP authorization, OAuth 2.1)."""

    endpoint: TokenEndpoint | None = None
    """Who the proxy is there; unset: it registers itself (RFC 7591)."""
    scopes: Scopes = ()
    """Scopes to ask for; unset: those that the server's challenge asks for."""


CREDENTIAL_KINDS: Final = ("clientCredentials", "tokenExchange", "userToken", "authorizationCode")


class Credential(ApiModel):
    """A token that proxies show to the server, in `Authorization: Bearer`, or that the process of each user of a stdio server has."""

    invariants = (
        Rule(
            one_of_fields(*CREDENTIAL_KINDS),
            f"exactly one of {', '.join(CREDENTIAL_KINDS[:-1])} and {CREDENTIAL_KINDS[-1]} must be set",
            lambda self: len(self.said) == 1,
        ),
    )

    client_credentials: ClientCredentials | None = None
    """The proxy's own token, the same for all callers."""
    token_exchange: TokenExchange | None = None
    """A token made from one of the user's."""
    user_token: UserToken | None = None
    """The token of the user's session at a provider."""
    authorization_code: AuthorizationCode | None = None
    """A token for which each user signs in at the server's authorization server."""

    @property
    def said(self) -> list[tuple[str, Any]]:
        """The kinds that are set, each by its name in the configuration of a proxy."""
        found = {
            "clientCredentials": self.client_credentials,
            "tokenExchange": self.token_exchange,
            "userToken": self.user_token,
            "authorizationCode": self.authorization_code,
        }
        return [(kind, said) for kind, said in found.items() if said is not None]

    @property
    def endpoint(self) -> TokenEndpoint | None:
        """Where tokens are made, where the kind has such a place."""
        [(_, said)] = self.said
        found: TokenEndpoint | None = getattr(said, "endpoint", None)
        return found

    @property
    def provider(self) -> str | None:
        """The provider that the kind names, if any."""
        [(_, said)] = self.said
        found: str | None = getattr(said, "provider", None)
        return found

    @property
    def is_personal(self) -> bool:
        """Whether it is one of a user."""
        return self.client_credentials is None


class Provider(ApiModel):
    """An identity provider at which users have tokens."""

    invariants = (
        Rule(
            "(self.kind == 'Azure') == has(self.tenant)",
            "tenant goes with kind: Azure, and only with it",
            lambda self: (self.kind == "Azure") == (self.tenant is not None),
        ),
        Rule(
            "(self.kind == 'Cognito') == has(self.region) && (self.kind == 'Cognito') == has(self.userPool)",
            "region and userPool go with kind: Cognito, and only with it",
            lambda self: (self.kind == "Cognito") == (self.region is not None) == (self.user_pool is not None),
        ),
        Rule(
            "(self.kind == 'OIDC') == has(self.issuer)",
            "issuer goes with kind: OIDC, and only with it",
            lambda self: (self.kind == "OIDC") == (self.issuer is not None),
        ),
    )

    name: CallerName
    """Name by which credentials and sessions refer to it."""
    kind: Literal["Azure", "Cognito", "Google", "OIDC"]
    """How it is spoken to and found: Azure AD, AWS Cognito, Google, or any OpenID Connect issuer."""
    tenant: (
        Annotated[
            str, StringConstraints(max_length=128), matching(r"^[A-Za-z0-9.-]+$", "must be a tenant's id or domain")
        ]
        | None
    ) = None
    """Of Azure: the tenant's id or domain."""
    region: (
        Annotated[
            str, StringConstraints(max_length=32), matching(r"^[a-z0-9-]+$", "must be a region such as eu-central-1")
        ]
        | None
    ) = None
    """Of Cognito: the AWS region."""
    user_pool: (
        Annotated[
            str, StringConstraints(max_length=128), matching(r"^[A-Za-z0-9_-]+$", "must be the id of a user pool")
        ]
        | None
    ) = None
    """Of Cognito: the id of the user pool."""
    issuer: Url | None = None
    """Of OIDC: the issuer, whose metadata says the rest."""
    client_id: ClientId
    """Who the proxy is there."""
    client_secret: SecretSource | None = None
    """The Secret whose key holds the client's secret; unset: a public client."""
    scopes: Scopes = ()
    """Asked for where a user signs in; unset: openid, and what makes a refresh token."""
    authority: Url | None = None
    """Instead of the provider's public address: a sovereign cloud, for example."""
    ca_bundle: DataSource | None = None
    """PEM certificates of the authorities to trust instead of the system's, where the provider is asked."""


class Refresh(ApiModel):
    """When tokens of users are renewed: once among all replicas."""

    interval: Annotated[Duration, between("1s", "24h")] = "5m"
    """Time between two looks."""
    before: Annotated[Duration, between("1s", "24h")] = "10m"
    """Tokens that end within this time are renewed."""
