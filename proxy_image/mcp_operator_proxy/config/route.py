"""MCP endpoints: which servers they show, and under what names."""

import hashlib
import re
from functools import lru_cache
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mcp_operator_proxy.config.base import DNS_LABEL, ConfigModel, duplicates

MCP_PATH: Final = r"^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?$"
RESERVED_PATHS: Final = frozenset({"/healthz", "/readyz", "/status", "/metrics"})
DEFAULT_NAMING: Final = "{prefix}_{tool}"
DIGEST_LENGTH: Final = 8
MIN_NAME_BUDGET: Final = 16
DEFAULT_NAME_BUDGET: Final = 64

Prefix = Annotated[str, StringConstraints(pattern=rf"{DNS_LABEL}|^$")]


class Override(ConfigModel):
    """Another face for one tool of a server; `name` is the server's own name of it."""

    name: str
    rename: str | None = None
    """Replaces the tool's name before the prefix is put in front."""
    description: str | None = None


class ToolFilter(ConfigModel):
    """Which tools of a server a route shows. Patterns are shell globs (`*`, `?`, `[…]`) on the server's own names."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()


class RouteServer(ConfigModel):
    """One server as a route shows it. An empty prefix leaves names as they are."""

    server: str
    prefix: Prefix
    tools: ToolFilter = ToolFilter()
    naming: str | None = None
    """Template of this server's names, instead of the route's."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if self.naming is not None and (problem := naming_problem(self.naming)):
            raise ValueError(problem)
        return self


class NameBudget(ConfigModel):
    """How long names of tools and prompts may be for clients: many refuse those of more than 64 characters."""

    max_length: Annotated[int, Field(ge=MIN_NAME_BUDGET, le=1024)] = DEFAULT_NAME_BUDGET
    """Characters, prefix included."""
    too_long: Literal["shorten", "refuse"] = "shorten"
    """A longer one is cut (see `shortened`), or left out of the lists and unknown to calls."""

    def fit(self, name: str) -> str | None:
        """The name as it is shown; None where it is refused."""
        if len(name) <= self.max_length:
            return name
        return shortened(name, self.max_length) if self.too_long == "shorten" else None


class Route(ConfigModel):
    """An MCP endpoint of the proxy. Of two servers that claim one name, the earlier in `servers` has it."""

    name: str
    """Where it comes from: `McpRoute/<namespace>/<name>` or `McpProxy/<namespace>/<name>`."""
    path: Annotated[str, StringConstraints(pattern=MCP_PATH, max_length=256)]
    naming: str = DEFAULT_NAMING
    """Template of exposed names with `{prefix}`, `{namespace}`, `{server}`, `{tool}`; not applied where the prefix is empty."""
    name_budget: NameBudget | None = NameBudget()
    """None: names may have any length."""
    page_size: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Entries of one page of a list. Unset: all on one page, as clients exist that never ask for the second."""
    servers: tuple[RouteServer, ...] = ()
    find_tools: bool = False
    """Show the two tools `find_tool` and `call_tool` instead of the servers' own, which they find and call."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if self.path in RESERVED_PATHS:
            raise ValueError(f"path {self.path} is the proxy's own")
        if problem := naming_problem(self.naming):
            raise ValueError(problem)
        if twice := duplicates(s.server for s in self.servers):
            raise ValueError(f"route {self.name} names server {twice[0]} twice")
        if twice := duplicates(s.prefix for s in self.servers if s.prefix):
            raise ValueError(f"route {self.name} gives the prefix {twice[0]!r} to two servers")
        return self


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def naming_problem(template: str) -> str | None:
    """Say what is wrong with a naming template, or None when it can name tools."""
    fields = _PLACEHOLDER.findall(template)
    if unknown := [f for f in fields if f not in {"prefix", "namespace", "server", "tool"}]:
        return f"naming template has an unknown placeholder {{{unknown[0]}}}; known are prefix, namespace, server, tool"
    if fields.count("tool") != 1:
        return "naming template needs {tool} exactly once"
    literal = _PLACEHOLDER.sub("", template)
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", literal):
        return "naming template may hold only letters, digits, '_', '.', '-' beside its placeholders"
    return None


def exposed_name(template: str, *, prefix: str, server: str, tool: str) -> str:
    """Name of a tool or prompt as clients see it. `server` is `namespace/name`."""
    if not prefix:
        return tool
    return _around(template, prefix, server).replace(_TOOL, tool)


def shortened(name: str, length: int) -> str:
    """`name` cut to `length` characters: its beginning, `_`, and the first 8 hex digits of the sha256 of all of it.

    So it depends on nothing but the name, and names that differ only behind the cut stay apart.
    """
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    return f"{name[: length - DIGEST_LENGTH - 1]}_{digest}"


_TOOL: Final = "\0"


@lru_cache(maxsize=4096)
def _around(template: str, prefix: str, server: str) -> str:
    """The name of all tools of a server, but for `_TOOL`, which no name holds."""
    namespace, _, name = server.partition("/")
    values = {"prefix": prefix, "namespace": namespace, "server": name, "tool": _TOOL}
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], template)
