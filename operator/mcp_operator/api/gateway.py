"""What a proxy does beside MCP: REST, the inspector, users' sessions, the stores behind them, search, audit and notices."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from mcp_operator.api.common import ApiModel, SecretSource
from mcp_operator.api.constraints import Rule, matching
from mcp_operator.api.scalars import CallerName, Duration, Url, between

NOTICES: Final = {
    "ServerRestarted": "server.restarted",
    "ServerGaveUp": "server.gave-up",
    "CredentialNotRefreshed": "credential.not-refreshed",
    "DefinitionQuarantined": "definition.quarantined",
    "DefinitionChanged": "definition.changed",
}
"""What the proxy calls the types of its notices."""


class Rest(ApiModel):
    """The REST interface: /tools, /sessions, /servers, /health, /openapi.json and /docs."""

    prefix: Annotated[
        str,
        StringConstraints(max_length=128),
        matching(
            r"^((/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+)?$", "must be empty, or a path such as /api without a '/' at the end"
        ),
    ] = ""
    """What stands before all its paths."""
    docs: bool = True
    """Serve /docs, a page that explains the interface."""
    tool_timeout: Annotated[Duration, between("100ms", "24h")] = "30s"
    """For a call, where the server or its spec.tools says nothing."""
    operators: Annotated[tuple[CallerName, ...], Field(max_length=256)] = ()
    """Callers that may start, stop and restart servers and read their logs; without spec.authentication: whoever reaches it."""


class Inspector(ApiModel):
    """The page at /ui: servers, tools, live traffic, sessions, definitions that wait, swaps. It asks for the same credentials as MCP."""

    enabled: bool = False
    """Serve it. An Ingress or HTTPRoute of the proxy leads to it only where spec.authentication says who may call."""
    operators: Annotated[tuple[CallerName, ...], Field(max_length=256)] = ()
    """Callers that see all: each server, log, session and exchange; others see their own. Without spec.authentication: whoever
    reaches it."""
    traffic: bool = True
    """Let callers watch what they send and get, and operators what all do. Nothing is recorded while nobody watches."""


class Stores(ApiModel):
    """Where state is kept. What is unset is kept in each process: lost with it, and not shared by replicas and workers."""

    invariants = (
        Rule(
            "!has(self.redis) && !has(self.database) || has(self.encryptionKeys) && self.encryptionKeys.size() > 0",
            "redis and database need encryptionKeys: what they keep outlives the proxy",
            lambda self: (self.redis is None and self.database is None) or bool(self.encryption_keys),
        ),
    )

    redis: SecretSource | None = None
    """The Secret whose key holds the URL: `redis://USER:PASSWORD@HOST:PORT/DB`, or `rediss://…` with TLS."""
    database: SecretSource | None = None
    """The Secret whose key holds the URL: `postgresql://USER:PASSWORD@HOST/NAME`, or `sqlite:///FILE` for one replica."""
    encryption_keys: Annotated[tuple[SecretSource, ...], Field(max_length=16)] = ()
    """Secrets whose keys hold encryption keys. The first encrypts credentials at rest, all decrypt: put a new one before the old."""


class Users(ApiModel):
    """Sessions of users."""

    ttl: Annotated[Duration, between("1s", "8760h")] = "8h"
    """A session ends so long after it began."""
    idle_timeout: Annotated[Duration, between("1s", "8760h")] = "30m"
    """It ends so long after its last call, too."""
    max_sessions: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000
    """Sessions at a time."""
    issuer: CallerName | None = None
    """Name of the issuer of spec.authentication.jwt whose callers are the users of their plain names; others are `ISSUER/NAME`."""
    applications: Annotated[tuple[CallerName, ...], Field(max_length=1024)] = ()
    """Callers that act for any user they name. Others act for themselves alone."""


class EmbeddingEndpoint(ApiModel):
    """An endpoint that speaks OpenAI's interface: `POST {url}/embeddings`."""

    url: Url
    """Base URL."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Name of the model."""
    key: SecretSource | None = None
    """The Secret whose key holds the API key."""


class Search(ApiModel):
    """How tools are found: by words, and by meaning."""

    invariants = (
        Rule(
            "(has(self.embedder) && self.embedder == 'Endpoint') == has(self.endpoint)",
            "endpoint goes with embedder: Endpoint, and only with it",
            lambda self: (self.embedder == "Endpoint") == (self.endpoint is not None),
        ),
    )

    embedder: Literal["BuiltIn", "Endpoint", "None"] = "BuiltIn"
    """Who finds out what a text means: a small model within the image, an endpoint, or nobody (words alone)."""
    endpoint: EmbeddingEndpoint | None = None
    """The endpoint."""
    milvus: SecretSource | None = None
    """The Secret whose key holds the URI of a Milvus that keeps the vectors, `#TOKEN` behind it where it wants one; unset: memory."""
    limit: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    """Tools of one answer, where the caller asks for no other number."""


class Audit(ApiModel):
    """One record for each call: who, what, which server, decision, outcome, duration."""

    stdout: bool = True
    """Write it to standard output."""
    database: bool = False
    """Keep it in the database of spec.stores."""
    arguments: bool = False
    """With the call's arguments, which may hold what is confidential."""
    keep_for: Annotated[Duration, between("1h", "87600h")] = "2160h"
    """Older records leave the database."""


class Notices(ApiModel):
    """What happens to servers, credentials and definitions, as CloudEvents 1.0 to a webhook. Events tell it in any case."""

    webhook: Url
    """Where they are sent."""
    signing_key: SecretSource | None = None
    """The Secret whose key holds the key that signs each of them (Standard Webhooks)."""
    types: Annotated[
        tuple[
            Literal[
                "ServerRestarted",
                "ServerGaveUp",
                "CredentialNotRefreshed",
                "DefinitionQuarantined",
                "DefinitionChanged",
            ],
            ...,
        ],
        Field(max_length=16),
    ] = ()
    """Which; unset: all."""
    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 8
    """How often one is tried, with pauses that double from one second."""
