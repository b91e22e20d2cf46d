"""Bodies of requests and answers. They become `/openapi.json`."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

UserId = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^/\s\x00-\x1f\x7f]+$")]
ToolId = Annotated[str, StringConstraints(min_length=3, max_length=1400)]
ServerId = Annotated[str, StringConstraints(min_length=1, max_length=316)]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=65_536)]


class Body(BaseModel):
    """Of a request: a misspelt member is an error, not a silence."""

    model_config = ConfigDict(extra="forbid")


class Tool(BaseModel):
    tool_id: str = Field(
        description="`server.tool`; where two namespaces have the server's name, `namespace/name.tool`."
    )
    server_id: str = Field(description="`namespace/name`.")
    name: str = Field(description="As clients of MCP see it.")
    description: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the parameters.")
    category: str


class ToolList(BaseModel):
    tools: list[Tool]
    total: int = Field(description="Of all pages.")
    page: int
    page_size: int


class FoundTool(Tool):
    score: float = Field(description="Comparable within one answer only.")


class SearchAnswer(BaseModel):
    query: str
    tools: list[FoundTool] = Field(description="The best first.")


class ToolCall(Body):
    tool_id: ToolId
    parameters: dict[str, Any] = Field(default_factory=dict)
    user_id: UserId | None = Field(None, description="For whom; left out: the caller, or nobody.")
    session_id: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        None, description="Of the user; needed where nobody authenticates."
    )


class ToolAnswer(BaseModel):
    success: bool = Field(description="false: the tool ran and says that it failed; `result` says why.")
    result: dict[str, Any] = Field(
        description="`CallToolResult` of MCP: `content`, and where the tool has one its `structuredContent`."
    )
    execution_time_ms: float
    tool_id: str
    timestamp: datetime


class SessionStart(Body):
    user_id: UserId
    oauth_token: Secret | None = Field(None, description="Access token of the user at `provider`.")
    refresh_token: Secret | None = None
    provider: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    mcp_servers: Annotated[list[ServerId], Field(max_length=1000)] = Field(
        default_factory=list, description="Servers that the session is for; none: all."
    )


class SessionStarted(BaseModel):
    session_id: str = Field(description="Secret: who has it may call for the user.")
    user_id: str
    mcp_servers: list[str]
    created_at: datetime
    expires_at: datetime


class Session(BaseModel):
    user_id: str
    mcp_servers: list[str]
    provider: str | None
    created_at: datetime
    last_activity: datetime
    expires_at: datetime


class SessionList(BaseModel):
    sessions: list[Session]
    total: int


class SessionEnded(BaseModel):
    success: bool
    servers_stopped: list[str] = Field(description="Those of which the user had an instance of its own.")
    stopped_at: datetime


ServerState = Literal["running", "pending", "error", "stopped"]


class Process(BaseModel):
    """Of a stdio server that the proxy runs itself."""

    worker: int = Field(0, description="The proxy's worker whose it is, from 0.")
    state: str
    pid: int | None
    restarts: int
    uptime_seconds: float | None
    exit_code: int | None


class Server(BaseModel):
    server_id: str
    name: str
    namespace: str
    transport: Literal["http", "stdio"]
    state: ServerState = Field(description="`pending`: it has never answered; `stopped`: by an operator.")
    per_user: bool = Field(description="Each user has an instance of its own.")
    category: str
    tools: int
    version: str | None = Field(description="As the server says.")
    circuit: Literal["closed", "open", "half-open"]
    error: str | None = Field(description="Why it does not answer.")
    error_class: str | None
    process: Process | None = Field(description="With several workers that of the one where the server is worst.")
    processes: list[Process] = Field(description="Those of all workers.")


class ServerList(BaseModel):
    servers: list[Server]
    total: int


class LogLine(BaseModel):
    time: datetime
    worker: int | None = Field(
        0, description="The proxy's worker whose process wrote it, from 0; null: it has a pod of its own."
    )
    text: str = Field(description="Values of secrets are taken out.")


class Logs(BaseModel):
    server_id: str
    lines: list[LogLine] = Field(description="Of standard error, the oldest first.")


class ServerHealth(BaseModel):
    server_id: str
    state: ServerState
    error: str | None


HealthStatus = Literal["healthy", "degraded", "down"]


class Health(BaseModel):
    status: HealthStatus = Field(description="`degraded`: some of it does not work; `down`: nothing does.")
    version: str
    workers: int = Field(1, description="Processes of this replica; the answer is of all of them.")
    workers_up: int = Field(1, description="Those that have answered.")
    uptime_seconds: float
    reason: str | None = Field(description="Why it is not healthy.")
    servers: list[ServerHealth]
    redis: Literal["up", "down", "unused"]
    database: Literal["up", "down", "unused"]
