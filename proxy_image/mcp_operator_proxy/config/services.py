"""What the proxy does beside MCP: REST, users' sessions, their records, search, audit and notices."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mcp_operator_proxy.config.base import BackendUrl, CallerName, ConfigModel, Header, Name, SecretRef

NoticeType = Literal[
    "server.restarted", "server.gave-up", "credential.not-refreshed", "definition.quarantined", "definition.changed"
]


class Rest(ConfigModel):
    """The REST interface: `/tools`, `/sessions`, `/servers`, `/health`, `/openapi.json`, `/docs`, behind `prefix`."""

    prefix: Annotated[str, StringConstraints(pattern=r"^((/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+)?$", max_length=128)] = ""
    docs: bool = True
    """Serve `/docs`, a page that reads `/openapi.json`."""
    tool_timeout_seconds: Annotated[float, Field(gt=0, le=86400)] = 30.0
    """Of a call over REST, where the tool or server says nothing of its own."""
    operators: Annotated[tuple[CallerName, ...], Field(max_length=256)] = ()
    """Callers that may start, stop and restart servers and read their logs. Without authentication: whoever reaches the proxy."""


class Inspector(ConfigModel):
    """The page at `/ui` that shows what the proxy does, and what it reads at `/ui/api`."""

    operators: Annotated[tuple[CallerName, ...], Field(max_length=256)] = ()
    """Callers that see all: every server, log, session and exchange. Without authentication: whoever reaches the proxy."""
    traffic: bool = True
    """Let callers watch exchanges, each his own, operators all. While nobody watches nothing is recorded."""
    traffic_size: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Exchanges that each worker keeps."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """What the page calls this proxy."""


class Stores(ConfigModel):
    """Where state is kept. What is unset is kept in the process: lost with it, and not shared by replicas."""

    redis: SecretRef | None = None
    """File with a URL: `redis://USER:PASSWORD@HOST:PORT/DB`, `rediss://…` with TLS."""
    database: SecretRef | None = None
    """File with a URL: `postgresql://USER:PASSWORD@HOST/NAME` or `sqlite:///FILE`."""
    encryption_keys: Annotated[tuple[SecretRef, ...], Field(max_length=16)] = ()
    """The first encrypts credentials at rest, all decrypt. None: a random key, so that credentials end with the process."""

    @model_validator(mode="after")
    def _can_read_what_it_keeps(self) -> Self:
        if (self.redis or self.database) and not self.encryption_keys:
            raise ValueError("stores that outlive the process need encryptionKeys")
        return self


class Users(ConfigModel):
    """Sessions of users, which applications begin over REST or callers have by authenticating."""

    ttl_seconds: Annotated[float, Field(ge=1, le=31_536_000)] = 28_800.0
    """A session ends so long after it began."""
    idle_seconds: Annotated[float, Field(ge=1, le=31_536_000)] = 1800.0
    """…or so long after its last call."""
    max_sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    issuer: Name | None = None
    """Of `auth.jwt`, whose callers are the users of their plain names; those of others are `ISSUER/NAME`."""
    applications: Annotated[tuple[CallerName, ...], Field(max_length=1024)] = ()
    """Callers that act for any user they name. Others act for themselves alone."""


class EmbeddingEndpoint(ConfigModel):
    """`POST {url}/embeddings`, as OpenAI has it."""

    url: BackendUrl
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    key: SecretRef | None = None


class Search(ConfigModel):
    """How tools are found. `embedder`: the model within the image, an endpoint, or none (by words alone)."""

    embedder: Literal["wordllama", "none"] | EmbeddingEndpoint = "wordllama"
    milvus: SecretRef | None = None
    """File with the URI of a Milvus that holds the vectors; unset: memory. An optional `#TOKEN` follows it."""
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    """Tools of one answer, where the caller asks for no other number."""


class Audit(ConfigModel):
    """One record for each call: who, what, which server, decision, outcome, duration."""

    stdout: bool = True
    database: bool = False
    """Into the database of `stores`."""
    arguments: bool = False
    """With the call's arguments, which may hold what is confidential."""
    keep_seconds: Annotated[float, Field(ge=3600, le=315_360_000)] = 7_776_000.0
    """Older records leave the database."""


class Notices(ConfigModel):
    """What happens to servers, credentials and definitions, as CloudEvents 1.0 to a webhook."""

    webhook: BackendUrl
    signing_key: SecretRef | None = None
    """Signs each request (Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`)."""
    types: Annotated[tuple[NoticeType, ...], Field(max_length=16)] = ()
    """Unset: all."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 8
    """With pauses that double from one second."""


class Tracing(ConfigModel):
    """OpenTelemetry traces, as OTLP over HTTP."""

    endpoint: BackendUrl
    """Base URL of the collector: traces go to `/v1/traces` beneath it."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of the requests whose client has not decided: a sampled parent is heeded, and one that is not."""
    headers: Annotated[tuple[Header, ...], Field(max_length=64)] = ()
    """Sent with each request to the collector."""
    service_name: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """`service.name`. Unset: `OTEL_SERVICE_NAME`."""
