"""The contract between the operator and the proxy: what `config.json` in the mounted volume may say.

The operator compiles it, the proxy validates it whole before using any of it. Everything is frozen: a
`ProxyConfig` can be shared between tasks and compared by value. This module imports no MCP library.

The folder that the proxy reads holds `config.json` (a large one compressed, see `configfiles`) and, beside it, one file
per `SecretRef.file`. In a pod it is one projected volume of ConfigMaps and a Secret, so the kubelet swaps all in one step.
A credential never stands in `config.json` itself.

During an upgrade, proxies of the version before read what the new operator writes. So a new field has a default, which is
what a resource means that says nothing of it, and defaults are not written (docs/upgrades.md). Only who uses the new field
writes what an older proxy refuses.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, StringConstraints, UrlConstraints, model_validator
from pydantic.alias_generators import to_camel

CONFIG_FILE: Final = "config.json"
WANTED_FILE: Final = "wanted-revision"
"""Beside it, where the operator writes it: the revision that this pod should run."""
SECRETS_DIR: Final = ""
"""Folder of the secret files, relative to that of `config.json`: the same one (a projected volume can't nest unnamed keys)."""
CONFIG_VERSION: Final = "mcp-operator.dev/proxy-config/v1"

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
MCP_PATH: Final = r"^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?$"
RESERVED_PATHS: Final = frozenset({"/healthz", "/readyz", "/status", "/metrics"})
DEFAULT_NAMING: Final = "{prefix}_{tool}"
DIGEST_LENGTH: Final = 8
MIN_NAME_BUDGET: Final = 16
DEFAULT_NAME_BUDGET: Final = 64

Prefix = Annotated[str, StringConstraints(pattern=rf"{DNS_LABEL}|^$")]
Transport = Literal["auto", "streamable-http", "sse"]
BackendUrl = Annotated[AnyHttpUrl, UrlConstraints(allowed_schemes=["http", "https"], max_length=2048)]


class ConfigModel(BaseModel):
    """camelCase on the wire, immutable, and no unknown field: a misspelt key is an error, not a silence."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class SecretRef(ConfigModel):
    """A value that stands in `<file>` of the config folder (UTF-8, one trailing newline is dropped)."""

    file: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]

    @model_validator(mode="after")
    def _stays_in_its_folder(self) -> Self:
        taken = self.file in {".", "..", WANTED_FILE} or self.file.startswith(CONFIG_FILE)
        if taken or PurePosixPath(self.file).name != self.file:
            raise ValueError(f"a secret file is a plain file name other than {CONFIG_FILE}")
        return self


class Header(ConfigModel):
    """One HTTP header sent with every request to a backend: a literal `value` or a `secret`."""

    name: Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", max_length=256)]
    value: Annotated[str, StringConstraints(pattern=r"^[^\r\n\x00]*$", max_length=8192)] | None = None
    secret: SecretRef | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.secret is None):
            raise ValueError("a header has exactly one of value and secret")
        return self


class EnvVar(ConfigModel):
    """One environment variable of a stdio server: a literal `value` or a `secret`."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
    value: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=32768)] | None = None
    secret: SecretRef | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.secret is None):
            raise ValueError("an environment variable has exactly one of value and secret")
        return self


class Stdio(ConfigModel):
    """A server that the proxy itself runs as a process and talks to over stdin and stdout.

    The process sees `env` and HOME, LOGNAME, PATH, SHELL, TERM, USER, and nothing else of the proxy's environment.
    """

    command: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
    args: tuple[Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")], ...] = ()
    env: tuple[EnvVar, ...] = ()
    cwd: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")] | None = None
    isolation: Literal["shared", "session", "user"] = "shared"
    """One process for all, one for each client session, or one for each authenticated user (who is not, is refused)."""
    start: Literal["eager", "lazy"] = "eager"
    """Start the process at once, or with the first call (its tools are listed once, and it ends again when idle)."""
    idle_seconds: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """After this time without a call a lazy, session or user process ends."""
    max_processes: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Of sessions or users at a time, besides the one that is asked for lists. Idle ones make room for new ones."""
    ping_seconds: Annotated[float, Field(gt=0, le=86400)] = 30.0
    """A process that leaves a ping without an answer for this long is replaced."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    """So many exits within a minute of their start, one after the other, are a crash loop. Then its callers are told so at
    once, and it is started again after a change, a restart, or five minutes."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if twice := _duplicates(variable.name for variable in self.env):
            raise ValueError(f"env sets {twice[0]} twice")
        return self


class ToolSettings(ConfigModel):
    """How calls of some of a server's tools are treated. `name` is a shell glob on the server's own names."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    call_timeout_seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    idempotent: bool | None = None
    """Whether a call may be repeated when its connection broke. Unset: as the tool's own annotations say."""
    cache_seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    """Answer an equal call of the same caller from memory for this long. Unset: never."""


class Retry(ConfigModel):
    """Of connecting, not of calls: the second attempt comes after `backoff_seconds`, each further one after twice as long."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    backoff_seconds: Annotated[float, Field(gt=0, le=300)] = 0.5


class CircuitBreaker(ConfigModel):
    """After `failures` calls in a row that the server did not answer, calls fail at once for `open_seconds`; then one tries."""

    failures: Annotated[int, Field(ge=1, le=10_000)] = 5
    open_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0


class Server(ConfigModel):
    """One backend MCP server: exactly one of `url` and `stdio`."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/[a-z0-9.-]+$", max_length=316)]
    """`namespace/name` of its McpServer."""
    url: BackendUrl | None = None
    stdio: Stdio | None = None
    transport: Transport = "auto"
    headers: tuple[Header, ...] = ()
    identity: SecretRef | None = None
    """Key that signs for whom the proxy calls: of a server at `url` that has a process for each user and knows the key too."""
    ca_bundle: str | None = None
    """PEM certificates that sign the backend's certificate, instead of the system's."""
    http2: bool = False
    """Offer HTTP/2 to an `https` server."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    call_timeout_seconds: Annotated[float, Field(gt=0, le=86400)] = 30.0
    refresh_seconds: Annotated[float, Field(gt=0, le=86400)] = 30.0
    """How often the catalogue is listed again, beside the server's own `list_changed`."""
    retry: Retry = Retry()
    max_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Calls that run at once; more wait, at most for their timeout."""
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    tools: tuple[ToolSettings, ...] = ()
    """Of several that match a tool the first that sets a field decides it."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.url is None and self.stdio is None:
            raise ValueError(f"server {self.id} has neither url nor stdio; it needs exactly one of them")
        if self.url is not None and self.stdio is not None:
            raise ValueError(f"server {self.id} has both url and stdio; it needs exactly one of them")
        remote: dict[str, object] = {"headers": self.headers, "caBundle": self.ca_bundle, "http2": self.http2}
        remote["identity"] = self.identity is not None
        remote["transport"] = self.transport != "auto"
        if self.stdio is not None and (used := next((name for name, value in remote.items() if value), None)):
            raise ValueError(f"server {self.id} runs over stdio: {used} can be set only for a url")
        if self.url is not None and (self.url.username or self.url.password):
            raise ValueError(f"server {self.id} has credentials in its url: send them in a header, from a secret")
        if self.url is not None and self.identity is not None and (self.url.query or self.transport == "sse"):
            raise ValueError(
                f"server {self.id} has an identity key: its url takes no query, and its transport is no SSE"
            )
        if twice := _duplicates(header.name.lower() for header in self.headers):
            raise ValueError(f"server {self.id} sets the header {twice[0]} twice")
        return self


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

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if self.path in RESERVED_PATHS:
            raise ValueError(f"path {self.path} is the proxy's own")
        if problem := naming_problem(self.naming):
            raise ValueError(problem)
        if twice := _duplicates(s.server for s in self.servers):
            raise ValueError(f"route {self.name} names server {twice[0]} twice")
        if twice := _duplicates(s.prefix for s in self.servers if s.prefix):
            raise ValueError(f"route {self.name} gives the prefix {twice[0]!r} to two servers")
        return self


class ApiKey(ConfigModel):
    """A key that authenticates as `name`. Its secret file holds the key, or `sha256:` and the key's digest in hex."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@-]{1,128}$")]
    secret: SecretRef


class Auth(ConfigModel):
    """Who may call. A request shows its key as `Authorization: Bearer KEY` or `X-API-Key: KEY`."""

    api_keys: Annotated[tuple[ApiKey, ...], Field(min_length=1, max_length=10_000)]


class Sessions(ConfigModel):
    """Sessions of the handshake eras. They move between workers and replicas that share the signing keys."""

    idle_seconds: Annotated[float, Field(gt=0, le=604_800)] = 1800.0
    """A session without a request or an open stream for this long ends."""
    max_sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Of one route in one worker."""
    signing_keys: tuple[SecretRef, ...] = ()
    """The first signs session ids, all verify them. None: a random key, so that sessions end with the process."""


class Tls(ConfigModel):
    """What a listener shows that was started with `--tls`: a certificate chain and its key, both PEM."""

    certificate: SecretRef
    key: SecretRef


class ProxyConfig(ConfigModel):
    """All that one proxy serves. `revision` names this content: equal content has an equal revision."""

    version: Literal["mcp-operator.dev/proxy-config/v1"] = CONFIG_VERSION
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-z]{1,64}$")]
    servers: tuple[Server, ...] = ()
    routes: tuple[Route, ...] = ()
    auth: Auth | None = None
    """None: anybody who reaches the proxy may call."""
    sessions: Sessions = Sessions()
    tls: Tls | None = None
    """None: a listener with TLS keeps the certificate that it has."""
    access_log: bool = True
    """One line for each request."""
    allowed_hosts: tuple[str, ...] = ()
    """Host header values (`name`, `name:port`, `*.suffix`) that are answered.

    Empty: every host, as clients of a Service may use any of its names."""
    allowed_origins: tuple[str, ...] = ()
    """Origin header values that browsers may send; requests without an Origin are no browsers' and pass."""

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Self:
        ids = [s.id for s in self.servers]
        if twice := _duplicates(ids):
            raise ValueError(f"server {twice[0]} is defined twice")
        if twice := _duplicates(r.path for r in self.routes):
            raise ValueError(f"path {twice[0]} is served by two routes")
        known = set(ids)
        for route in self.routes:
            for entry in route.servers:
                if entry.server not in known:
                    raise ValueError(f"route {route.name} names server {entry.server}, which is not defined")
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


def _duplicates(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]
