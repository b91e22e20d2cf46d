"""Who may call a proxy, what, and how often."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from mcp_operator.api.common import ApiModel, DataSource, KeyRef, SecretSource, keyed_by, unique
from mcp_operator.api.constraints import Rule, matching, one_of_fields
from mcp_operator.api.credentials import Scopes
from mcp_operator.api.pods import LocalRef
from mcp_operator.api.scalars import CallerName, Duration, Quantity, Url, amount, between
from mcp_operator_proxy.config import OPERATOR

_RESERVED: Final = f"{OPERATOR} is the operator's own name"
POLICIES_BYTES: Final = 262_144
"""Of all policies of one proxy."""


class ApiKey(ApiModel):
    """A key of one caller."""

    invariants = (Rule(f"self.name != '{OPERATOR}'", _RESERVED, lambda self: self.name != OPERATOR),)

    name: CallerName
    """Who calls with it: as it stands in policies, limits and logs."""
    value_from: SecretSource
    """The Secret whose key holds the key, of at least 16 characters, or `sha256:` and its digest in hex."""


class JwtIssuer(ApiModel):
    """An issuer whose tokens are accepted: signed by a key of its JWKS, for one of the audiences, and not expired (RFC 7519)."""

    name: CallerName
    """Name by which policies and spec.users refer to it."""
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    """The `iss` claim, to the letter."""
    audiences: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=2048)], ...], Field(min_length=1, max_length=16)
    ]
    """At least one of them is in `aud`."""
    jwks_url: Url | None = None
    """URL of its keys; unset: the issuer's metadata names it, and the issuer is a URL."""
    ca_bundle: DataSource | None = None
    """PEM certificates of the authorities to trust instead of the system's, where its keys are fetched."""
    algorithms: Annotated[
        tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...],
        Field(min_length=1, max_length=10),
    ] = ("RS256", "ES256")
    """Signatures that are accepted."""
    name_claim: Annotated[str, StringConstraints(min_length=1, max_length=256)] = "sub"
    """Claim whose value is the caller's name; it must be unique and stable at this issuer."""
    required_scopes: Scopes = ()
    """All of them are in `scope` or `scp`; a token without one is answered with 403."""
    leeway: Annotated[Duration, between("0s", "5m")] = "30s"
    """By which clocks may differ."""


class ResourceMetadata(ApiModel):
    """What the proxy says of itself as a protected resource (RFC 9728)."""

    resource: Url | None = None
    """The address that clients use, without the MCP path; unset: from the request's Host."""
    authorization_servers: Annotated[tuple[Url, ...], Field(max_length=16)] = ()
    """Where clients get tokens; unset: the issuers of jwt."""
    scopes_supported: Scopes = ()
    """Scopes that clients may ask for."""


class Authentication(ApiModel):
    """Who may call. A key comes as `Authorization: Bearer KEY` or `X-API-Key: KEY`, a token as `Authorization: Bearer TOKEN`."""

    invariants = (
        Rule(
            "has(self.apiKeys) && self.apiKeys.size() > 0 || has(self.apiKeySecrets) && self.apiKeySecrets.size() > 0"
            " || has(self.jwt) && self.jwt.size() > 0 || self.anonymous",
            "lets nobody in: it needs apiKeys, apiKeySecrets, jwt or anonymous: true",
            lambda self: bool(self.api_keys or self.api_key_secrets or self.jwt or self.anonymous),
        ),
    )

    api_keys: Annotated[
        tuple[ApiKey, ...], Field(max_length=1024, json_schema_extra=keyed_by("name")), unique("name")
    ] = ()
    """Keys of callers, one by one."""
    api_key_secrets: Annotated[
        tuple[LocalRef, ...], Field(max_length=32, json_schema_extra=keyed_by("name")), unique("name")
    ] = ()
    """Secrets of which every key is a caller's name, and its value that caller's key. So callers come and go without an edit here."""
    jwt: Annotated[tuple[JwtIssuer, ...], Field(max_length=32, json_schema_extra=keyed_by("name")), unique("name")] = ()
    """Issuers whose tokens are accepted."""
    resource_metadata: ResourceMetadata | None = None
    """What the proxy says of itself as a protected resource; unset, with jwt: as the issuers say."""
    anonymous: bool = False
    """Who shows nothing may call too, as nobody. Who shows something wrong may not."""

    @property
    def by_key_alone(self) -> bool:
        """Whether nobody comes in without an API key."""
        return not self.jwt and not self.anonymous


class PolicySource(ApiModel):
    """Cedar policies: in place, or from a ConfigMap."""

    invariants = (
        Rule(
            one_of_fields("inline", "configMapKeyRef"),
            "exactly one of inline and configMapKeyRef must be set",
            lambda self: (self.inline is None) != (self.config_map_key_ref is None),
        ),
    )

    inline: Annotated[str, StringConstraints(min_length=1, max_length=65_536)] | None = None
    """The policies."""
    config_map_key_ref: KeyRef | None = None
    """The ConfigMap and its key. What is changed there is in use within seconds."""


class Authorization(ApiModel):
    """What a caller may use, by Cedar policies (https://docs.cedarpolicy.com). What none permits is refused and not listed."""

    policies: Annotated[tuple[PolicySource, ...], Field(min_length=1, max_length=16)]
    """Policies, which hold together. While one of them can't be had, nothing is permitted."""


class RateLimit(ApiModel):
    """At most so many calls in a time. All limits that match a call hold."""

    name: CallerName
    """Name of the limit, as it stands in errors and metrics."""
    limit: Annotated[
        str,
        StringConstraints(max_length=32),
        matching(r"^[1-9][0-9]{0,6}/(second|minute|hour|day)$", "must be a rate such as 100/minute"),
    ]
    """Such as `100/minute`: calls in a window that moves."""
    per: Annotated[tuple[Literal["Caller", "Tool", "Server", "Route"], ...], Field(max_length=4)] = ("Caller",)
    """Calls are counted apart for each of these; empty: one count for all."""
    tools: Annotated[str, StringConstraints(min_length=1, max_length=256)] = "*"
    """Shell glob on the names that servers give to tools."""
    servers: Annotated[str, StringConstraints(min_length=1, max_length=316)] = "*"
    """Shell glob on `namespace/name` of servers."""


RateLimits = Annotated[tuple[RateLimit, ...], Field(max_length=64, json_schema_extra=keyed_by("name")), unique("name")]


class RequestLimits(ApiModel):
    """What one request's body may be."""

    max_body_size: Annotated[
        Quantity,
        Rule(
            "quantity(string(self)).compareTo(quantity('1Ki')) >= 0 && quantity(string(self)).compareTo(quantity('64Mi')) <= 0",
            "must be from 1Ki to 64Mi",
            lambda value: 1024 <= amount(value) <= 64 * 2**20,
        ),
    ] = "4Mi"
    """Bytes."""
    max_depth: Annotated[int, Field(strict=True, ge=8, le=1000)] = 128
    """JSON values within values."""
