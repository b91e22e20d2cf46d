"""What a config may say: the `mcpServers` of desktop clients, or `servers` with a proxy namespace. Models without I/O.

Each field has the name that desktop clients gave it, where they have one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from mcp_operator_proxy.config import CircuitBreaker, Retry, Transport

DEFAULT_NAMESPACE: Final = "proxy"
NAMESPACED: Final = "{namespace}.{server}.{tool}"
BY_SERVER: Final = "{server}_{tool}"
"""For `mcpServers`: models' APIs take no dot in a name of a tool."""
PLAIN: Final = "{tool}"

Seconds = Annotated[float, Field(gt=0, le=86400)]
NAME: Final = r"^[A-Za-z0-9_./-]{1,128}$"
NAMESPACE: Final = r"^[A-Za-z0-9_.-]{1,64}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]

_STREAMABLE: Final = "streamable-http"
TYPES: Final[dict[str, Transport | Literal["stdio"]]] = {
    "stdio": "stdio",
    "http": _STREAMABLE,
    "streamable-http": _STREAMABLE,
    "streamable_http": _STREAMABLE,
    "streamableHttp": _STREAMABLE,
    "sse": "sse",
    "auto": "auto",
}
"""Words of several clients for the transport, in `type` or `transport`."""


class Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=False,
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
    )


class ToolOverride(Model):
    """Settings of one tool. Those of calls (not its face) may be given for a shell glob of the server's own names."""

    rename: Name | None = None
    description: str | None = None
    timeout_seconds: Seconds | None = None
    idempotent: bool | None = None
    cache_seconds: Seconds | None = None


class Tools(Model):
    """Which tools are shown, and how. Patterns are shell globs on the server's own names."""

    include: list[str] = ["*"]
    exclude: list[str] = []
    overrides: dict[str, ToolOverride] = {}


class ServerSpec(Model):
    """One server: exactly one of `command` and `url`."""

    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    type: str | None = None
    transport: str | None = None
    enabled: bool = True
    disabled: bool = False
    timeout_seconds: Seconds = 30.0
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    refresh_seconds: Seconds = 30.0
    max_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 256
    retry: Retry = Retry()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    http2: bool = False
    ca_file: str | None = None
    isolation: Literal["shared", "session", "user"] = "shared"
    start: Literal["eager", "lazy"] = "eager"
    idle_seconds: Seconds = 600.0
    max_processes: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    ping_seconds: Seconds = 30.0
    tools: Tools = Tools()
    description: str | None = None
    """For people; nothing is done with it."""

    @property
    def on(self) -> bool:
        return self.enabled and not self.disabled

    @property
    def kind(self) -> Literal["stdio", "http"]:
        return "stdio" if self.command is not None else "http"


FOR_COMMAND: Final = frozenset(
    {"args", "env", "cwd", "isolation", "start", "idle_seconds", "max_processes", "max_restarts", "ping_seconds"}
)
FOR_URL: Final = frozenset({"headers", "http2", "ca_file"})
IGNORED: Final = frozenset({"alwaysAllow", "autoApprove", "icon", "trust"})
"""Fields of some desktop clients that concern themselves alone."""


class ProxySpec(Model):
    """How the proxy shows its servers."""

    enabled: bool = True
    namespace: Annotated[str, StringConstraints(pattern=NAMESPACE)] | None = None
    naming: str | None = None


@dataclass(frozen=True)
class Document:
    """A whole config, checked and with its variables filled in."""

    proxy: ProxySpec = field(default_factory=ProxySpec)
    servers: Mapping[str, ServerSpec] = field(default_factory=dict, repr=False)
    default_naming: str = NAMESPACED
    key: str = "servers"
    """Under which the servers stand."""

    @property
    def namespace(self) -> str:
        return self.proxy.namespace or DEFAULT_NAMESPACE

    @property
    def naming(self) -> str:
        """The template in force: given, or by what the namespace says, or by the form of the config."""
        if self.proxy.naming is not None:
            return self.proxy.naming
        return NAMESPACED if self.proxy.namespace is not None else self.default_naming


def slug(name: str) -> str:
    """A server's name as a DNS label; empty where nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")


def shown(name: str) -> str:
    """A server's name as it stands in the names of its tools."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")


def known_fields(model: type[BaseModel]) -> Iterator[str]:
    for name, known in model.model_fields.items():
        yield known.alias or name


def any_of(data: Any, *keys: str) -> bool:
    return isinstance(data, dict) and any(key in data for key in keys)
