"""What `/ui/api` answers: camelCase JSON. `hack/inspector_types.py` makes `proxy_image/ui/src/api/types.ts` of it.

Times are RFC 3339 texts in UTC, durations milliseconds where they are called so. No credential, header or backend URL stands in it.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from mcp_operator_proxy.report import ErrorReport, ProcessReport

Era = Literal["handshake", "stateless"]


class Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


# me


class Caller(Shape):
    name: str
    issuer: str | None = Field(description="Of the token, as the configuration names it; null for an API key.")


class ProxyInfo(Shape):
    """Who is not known is told name and version alone."""

    name: str
    version: str
    revision: str | None
    started_at: datetime | None
    workers: int | None = Field(description="Of each replica.")
    replicas: int | None = Field(description="That are thought to be up.")


class RouteInfo(Shape):
    name: str
    path: str = Field(description="Of the MCP endpoint: where calls go.")


class Features(Shape):
    """What there is something to show of."""

    traffic: bool
    sessions: bool
    credentials: bool
    pinning: bool
    search: bool


class Me(Shape):
    caller: Caller | None
    required: bool = Field(description="Without a credential nothing else is answered.")
    schemes: list[Literal["apiKey", "bearer"]]
    operator: bool
    proxy: ProxyInfo
    routes: list[RouteInfo]
    features: Features


# Servers


class Latency(Shape):
    """Of the newest calls of tools, in milliseconds; null before the first one."""

    last: float | None = None
    p50: float | None = None
    p95: float | None = None


class FleetServer(Shape):
    id: str = Field(description="`namespace/name`.")
    state: Literal["pending", "ready", "error"]
    phase: Literal["pending", "connected", "initialized", "error"]
    circuit: Literal["closed", "open", "half-open"]
    stopped: bool = Field(description="By an operator.")
    healthy: bool
    latency: Latency
    calls: int = Field(description="Of its tools, since the proxy began.")
    errors: int
    restarts: int
    era: Era | None
    protocol_version: str | None
    transport: Literal["streamable-http", "sse"] | None
    kind: Literal["remote", "stdio"]
    tools: int
    prompts: int
    resources: int
    sessions: int = Field(description="Open MCP sessions with it.")
    unapproved: int = Field(description="Tools whose definitions are not approved.")
    error: ErrorReport | None


class Fleet(Shape):
    servers: list[FleetServer]


class Condition(Shape):
    type: Literal["Connected", "Listed", "CircuitClosed", "ProcessRunning", "DefinitionsApproved", "CredentialReady"]
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    since: datetime | None = Field(description="null where nobody has noted it.")


class Handshake(Shape):
    """What the server said when it was connected to."""

    server_info: dict[str, JsonValue] | None
    capabilities: dict[str, JsonValue]
    instructions: str | None
    protocol_version: str | None


class Limits(Shape):
    timeout: float = Field(description="Seconds that a call may take.")
    connect_timeout: float = Field(description="Seconds.")
    concurrency: int
    retries: int = Field(description="Attempts after the first one.")


class ServerRoute(RouteInfo):
    prefix: str


class ClientSession(Shape):
    id: str = Field(description="A digest: nobody can use the session by it.")
    route: str = Field(description="Path.")
    caller: str | None
    era: Era
    transport: Literal["streamable-http", "sse", "stdio"]
    client: str | None = Field(description="Name and version, as the client says.")
    protocol_version: str | None
    since: datetime | None
    last_activity: datetime | None
    worker: int


class ServerDetail(FleetServer):
    handshake: Handshake | None
    conditions: list[Condition]
    client_sessions: list[ClientSession] = Field(description="Of clients that have a session of their own with it.")
    process: ProcessReport | None
    logs: list[str] = Field(description="The newest lines of standard error, oldest first; for operators.")
    logs_hint: str | None = Field(None, description="Why there are none here, and how to read them; for operators.")
    limits: Limits
    routes: list[ServerRoute]


class ServerFound(Shape):
    """One worker's view; null: it has no such server."""

    server: ServerDetail | None


# Tools


class ToolItem(Shape):
    route: str = Field(description="Path.")
    name: str = Field(description="As clients see it.")
    tool_id: str | None = Field(description="By which REST, search and metrics know it.")
    server: str
    title: str
    description: str
    category: str
    annotations: dict[str, JsonValue]
    available: bool


class Tools(Shape):
    total: int
    items: list[ToolItem]


class OwnTool(Shape):
    name: str
    definition: dict[str, JsonValue]


class ToolRateLimit(Shape):
    name: str
    limit: str = Field(description="Such as `100/minute`.")
    per: list[str]


class ToolPolicy(Shape):
    """What holds when this caller calls it."""

    allowed: bool
    reason: str
    decided_by: list[str] = Field(
        description="Policies: the value of their `@id`, or `policy0`, `policy1`, … in their order."
    )
    rate_limits: list[ToolRateLimit]
    timeout_seconds: float
    cache_seconds: float | None
    idempotent: bool
    pinning: Literal["off", "warn", "enforce"]
    approved: bool | None = Field(description="null where definitions are not pinned.")


class ToolDetail(Shape):
    route: str
    name: str
    tool_id: str | None
    server: str
    definition: dict[str, JsonValue] = Field(description="Whole, as clients see it.")
    own: OwnTool | None = Field(description="As the server has it, where that differs.")
    policy: ToolPolicy


# Traffic


class Leg(Shape):
    """A request and what came back. Values that look like secrets are masked; a longer body is cut: then it is a text."""

    request: JsonValue
    response: JsonValue
    truncated: bool = False


class Rewrite(Shape):
    path: str = Field(description="`request.params.name`, `response.result._meta`: where the two legs differ.")
    before: JsonValue = Field(alias="from")
    after: JsonValue = Field(alias="to")


class ExchangeItem(Shape):
    id: str
    at: datetime
    route: str
    caller: str | None
    session: str | None = Field(description="A digest.")
    server: str | None
    method: str
    name: str | None
    outcome: str = Field(description="`ok`, `tool_error`, `error`, `denied`, `limited`, `notification`.")
    milliseconds: float
    lane: bool
    worker: int
    client: Leg
    backend: Leg | None
    rewritten: list[Rewrite]


class Traffic(Shape):
    exchanges: list[ExchangeItem]
    last: str = Field(description="For `after`.")


# Sessions


class UserSessionItem(Shape):
    user: str
    servers: list[str]
    provider: str | None
    created_at: datetime
    last_activity: datetime
    expires_at: datetime


CredentialState = Literal["valid", "expired", "signInNeeded", "refreshFailed"]


class CredentialItem(Shape):
    user: str
    issuer: str
    servers: list[str] = Field(description="That are shown it.")
    state: CredentialState
    expires_at: datetime | None
    refreshed_at: datetime | None
    problem: str | None
    sign_in_url: str | None = Field(description="Where the caller himself signs in; of others' there is none.")


class Sessions(Shape):
    client: list[ClientSession]
    users: list[UserSessionItem]
    credentials: list[CredentialItem]


class ClientSessions(Shape):
    """One worker's."""

    sessions: list[ClientSession]


# Definitions


class DefinitionItem(Shape):
    server: str
    tool: str = Field(description="The server's own name.")
    kind: Literal["changed", "new", "gone"]
    digest: str
    approved: list[str]
    diff: str
    definition: str
    how: str = Field(description="How it is approved.")


class Definitions(Shape):
    items: list[DefinitionItem]


# Swaps


class Change(Shape):
    kind: Literal["server", "route", "setting"]
    name: str
    change: Literal["added", "removed", "changed"]
    fields: list[str] = Field(description="Which have another value.")


class SwapItem(Shape):
    revision: str | None
    at: datetime
    seconds: float | None
    outcome: Literal["applied", "rejected"]
    message: str | None = Field(description="Why it was rejected.")
    changes: list[Change] = Field(description="The first of `total`.")
    total: int


class Swaps(Shape):
    current: str | None
    items: list[SwapItem] = Field(description="The newest first.")


class Fault(Shape):
    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(Shape):
    """What every error is: problem details, RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] | None = None


ANSWERS: tuple[type[Shape], ...] = (
    Me,
    Fleet,
    ServerDetail,
    Tools,
    ToolDetail,
    Traffic,
    Sessions,
    Definitions,
    Swaps,
    Problem,
)
Json = dict[str, Any]
