"""What a proxy says of itself at `/status`: the proxy writes it, the operator reads it.

No credential and no backend URL stands here: anybody who reaches the proxy may read it.
"""

from datetime import datetime
from typing import Literal

from mcp_operator_proxy.config import ConfigModel, NoticeType

ErrorClass = Literal[
    "DNSFailure",
    "ConnectionRefused",
    "ConnectionReset",
    "Unreachable",
    "EgressDenied",
    "Timeout",
    "TLSFailure",
    "Unauthorized",
    "NotFound",
    "HTTPError",
    "NotMCP",
    "ProtocolError",
    "SecretMissing",
    "NotRunning",
    "CrashLoop",
    "CircuitOpen",
    "Overloaded",
    "InternalError",
]
"""Why a backend does not answer as an MCP server: a fixed list, for conditions, metrics and alerts."""


class ErrorReport(ConfigModel):
    """An error in words that a person can act on. `message` holds no secret."""

    error_class: ErrorClass
    message: str


class ProcessReport(ConfigModel):
    """The processes of a stdio server. Texts hold no value that came from a secret."""

    state: Literal["idle", "starting", "ready", "ending", "backoff", "crash-loop", "stopped"]
    """`idle`: started by the next call; `crash-loop`: not started again for a while, as it ended soon too often."""
    pid: int | None = None
    """Of the one that all share; None where there is none, or where each session or user has its own."""
    processes: int = 0
    restarts: int = 0
    """How often a process has ended by itself, or was replaced as it did not answer."""
    uptime_seconds: float | None = None
    exit_code: int | None = None
    """Of the last one that ended; a negative one is a signal."""
    last_error: str | None = None
    stderr: tuple[str, ...] = ()
    """The newest lines, oldest first."""


class UnapprovedTool(ConfigModel):
    """A tool whose definition is not one that is approved. `tool` is the server's own name."""

    tool: str
    kind: Literal["changed", "new", "gone"]
    """`new`: there is no approved definition of that name; `gone`: it is no longer listed, which takes nothing from anybody."""
    digest: str = ""
    """Of the definition as it is now; empty where there is none, or where it is nested too deep."""
    approved: tuple[str, ...] = ()
    """Digests that are approved."""
    diff: str = ""
    """What differs from the approved definition, where that is known: lines of `path: old -> new`, without hidden characters."""
    definition: str = ""
    """As it is now, in canonical JSON; empty where it is very long."""


class ServerReport(ConfigModel):
    """One backend as this replica sees it. Lists are the last good ones; `tools` are the server's own names, sorted."""

    id: str
    state: Literal["pending", "ready", "error"]
    """`pending`: never answered yet; `error`: the last attempt failed (lists stay at last-good)."""
    phase: Literal["pending", "connected", "initialized", "error"] = "pending"
    """`connected`: it has negotiated the protocol, its lists are still being read; `initialized`: they are read."""
    stopped: bool = False
    """Stopped over REST: nothing of it runs or is listed, by intent. `state` is `pending` then."""
    circuit: Literal["closed", "open", "half-open"] = "closed"
    """`open`: it did not answer several calls in a row, so calls fail at once for a while; `half-open`: one call tries it."""
    error: ErrorReport | None = None
    protocol_version: str | None = None
    server_name: str | None = None
    server_version: str | None = None
    transport: Literal["streamable-http", "sse"] | None = None
    tools: tuple[str, ...] = ()
    digest: str = ""
    """`sha256:…` over the definitions of the tools: equal definitions have an equal one. Empty before they are known."""
    prompts: int = 0
    resources: int = 0
    resource_templates: int = 0
    checked_at: datetime | None = None
    up_since: datetime | None = None
    """Since when it has answered each time that its lists were asked for; None where it did not the last time."""
    restarts: int = 0
    """Ends of its processes that nobody asked for; of a server elsewhere, how often it came back after it had not answered."""
    process: ProcessReport | None = None
    """Of a stdio server that the proxy runs itself."""
    unapproved: tuple[UnapprovedTool, ...] = ()
    """Of a server with pinned definitions, the first few: with `enforce` they are neither listed nor callable."""
    unapproved_total: int = 0
    """How many there are."""


class Conflict(ConfigModel):
    """A name that two servers of a route claim: `loser`'s is not served. `winner` is empty where it is the proxy's own tool."""

    route: str
    kind: Literal["tool", "prompt", "resource", "resource_template"]
    name: str
    winner: str
    loser: str


class LongName(ConfigModel):
    """A name of `server` that is longer than its route allows."""

    route: str
    kind: Literal["tool", "prompt"]
    name: str
    """The whole of it, prefix included."""
    server: str
    shown: str | None = None
    """What clients see instead; None: it is refused."""


class RouteReport(ConfigModel):
    """One route's endpoint: its exposed names, sorted. Those of a route with `findTools` are called, and not listed."""

    name: str
    path: str
    tools: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    resources: int = 0
    resource_templates: int = 0


class SearchReport(ConfigModel):
    """How this replica finds tools."""

    tools: int
    embeddings: Literal["memory", "milvus", "none"]
    problem: str | None = None
    """Why it is not as it is configured; it is tried again every 30 s while somebody searches."""


class RejectedConfig(ConfigModel):
    """The config that was refused whole, while the one in use stays. `revision` is None where it could not even be read."""

    revision: str | None
    message: str
    at: datetime


class NoticeReport(ConfigModel):
    """Something that happened. `id` is the same for the same content, whichever replica saw it; `message` holds no secret."""

    id: str
    time: datetime
    type: NoticeType
    subject: str
    """A server's id, or what else it is about."""
    message: str


class StatusReport(ConfigModel):
    """Body of `GET /status`.

    With `?wait=REVISION&timeout=SECONDS` the answer is held back until that revision is in use or refused.

    `revision` is None until a first config is in use; `rejected` is None unless the newest config on disk was refused.
    """

    version: str
    revision: str | None
    swapped_at: datetime | None = None
    swap_seconds: float | None = None
    swaps: int = 0
    rejected: RejectedConfig | None = None
    started_at: datetime
    sessions: int = 0
    workers: int = 1
    """Processes of this replica; the report is of all of them."""
    workers_up: int = 1
    """Those that answered. `revision` is None while one did not."""
    servers: tuple[ServerReport, ...] = ()
    routes: tuple[RouteReport, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    long_names: tuple[LongName, ...] = ()
    search: SearchReport | None = None
    """None: nobody looks for tools."""
    notices: tuple[NoticeReport, ...] = ()
    """The newest 64, oldest first."""
