"""What the library answers with: plain, immutable values."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mcp_types import ContentBlock, TextContent

from mcp_operator_proxy.report import ErrorReport, ProcessReport


@dataclass(frozen=True)
class ToolCallResult:
    """What a tool answered."""

    content: tuple[ContentBlock, ...]
    structured: dict[str, Any] | None = None
    """The structured content, as the tool's output schema describes it."""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All text blocks, one a line."""
        return "\n".join(block.text for block in self.content if isinstance(block, TextContent))

    @property
    def data(self) -> Any:
        """The value itself: `structured`, or what stands under its only key `result`, or else the text."""
        if self.structured is None:
            return self.text
        return self.structured["result"] if self.structured.keys() == {"result"} else self.structured


@dataclass(frozen=True)
class NameConflict:
    """Two servers claim one name: the loser's is not shown."""

    kind: Literal["tool", "prompt", "resource", "resource_template"]
    name: str
    winner: str
    loser: str


@dataclass(frozen=True)
class ReloadReport:
    """What a reload did, by the names of servers. Those that are `unchanged` were not touched."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    conflicts: tuple[NameConflict, ...] = ()
    revision: str = ""

    def __bool__(self) -> bool:
        """Whether anything was added, removed or changed."""
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True)
class ServerStatus:
    """One server as it is now. Names of tools are those that the proxy shows."""

    name: str
    kind: Literal["stdio", "http"]
    enabled: bool
    connected: bool = False
    """Its last listing worked."""
    initialized: bool = False
    """It has answered as an MCP server at least once; its tools stay listed while it is down."""
    error: ErrorReport | None = None
    protocol_version: str | None = None
    server_name: str | None = None
    server_version: str | None = None
    transport: str | None = None
    tools: tuple[str, ...] = ()
    prompts: int = 0
    resources: int = 0
    checked_at: datetime | None = None
    circuit: Literal["closed", "open", "half-open"] = "closed"
    """`open`: calls fail at once for a while, as several in a row had no answer."""
    process: ProcessReport | None = None
    """Of a stdio server: state, pid, restarts, the newest lines of its standard error."""


@dataclass(frozen=True)
class ConnectionTest:
    """What a fresh connection to a server found. `error` is None where it worked. `seconds` are those of all `attempts`."""

    server: str
    seconds: float
    attempts: int = 1
    error: ErrorReport | None = None
    protocol_version: str | None = None
    server_name: str | None = None
    server_version: str | None = None
    transport: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class CallStats:
    """Calls so far. A call that ends in a tool error, a server error or a timeout counts as an error. Times in seconds."""

    calls: int = 0
    errors: int = 0
    seconds_total: float = 0.0
    seconds_max: float = 0.0
    last_call_at: datetime | None = None

    @property
    def seconds_mean(self) -> float:
        return self.seconds_total / self.calls if self.calls else 0.0


@dataclass(frozen=True)
class ServerStats:
    """Calls of one server, and of each of its tools by the server's own names."""

    total: CallStats = CallStats()
    tools: dict[str, CallStats] = field(default_factory=dict)


@dataclass(frozen=True)
class Stats:
    """Calls since the proxy was made, by server name. Local tools are the server `local`."""

    total: CallStats = CallStats()
    servers: dict[str, ServerStats] = field(default_factory=dict)
