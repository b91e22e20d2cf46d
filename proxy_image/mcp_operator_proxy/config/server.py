"""Backend servers, and how their calls are treated."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mcp_operator_proxy.config.base import BackendUrl, ConfigModel, Header, SecretRef, duplicates
from mcp_operator_proxy.config.credentials import Credential

Transport = Literal["auto", "streamable-http", "sse"]


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
        if twice := duplicates(variable.name for variable in self.env):
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
    category: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Instead of the server's."""


class Retry(ConfigModel):
    """Of connecting, not of calls: the second attempt comes after `backoff_seconds`, each further one after twice as long."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    backoff_seconds: Annotated[float, Field(gt=0, le=300)] = 0.5


class CircuitBreaker(ConfigModel):
    """After `failures` calls in a row that the server did not answer, calls fail at once for `open_seconds`; then one tries."""

    failures: Annotated[int, Field(ge=1, le=10_000)] = 5
    open_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0


class Pin(ConfigModel):
    """A definition of a tool that is approved. `tool` is the server's own name."""

    tool: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    definition: str | None = None
    """The approved definition as canonical JSON, to tell what has changed; unset: only that it has."""


class ServerLogs(ConfigModel):
    """How to come by what the processes of a server at `url` wrote to standard error."""

    key: SecretRef | None = None
    """Key that signs requests for the newest lines, of a server behind a bridge that knows the key too."""
    elsewhere: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Where else they are read, in words for people: told where there are no lines to show."""


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
    logs: ServerLogs | None = None
    """Of a server at `url`, for operators of the inspector and of REST."""
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
    credential: Credential | None = None
    """What is shown to the server beside `headers`; in `Authorization: Bearer TOKEN`, or to a process in `credential_env`, or to one
    behind a bridge as `credential_sealed` says."""
    credential_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)] | None = None
    """Environment variable of a stdio server that holds the token."""
    credential_sealed: bool = False
    """The token of the user is not shown in `Authorization`, but goes encrypted by the key of `identity` to the bridge at `url`,
    which starts the user's process with it."""
    per_user: bool = False
    """Each user has an instance of its own, lists included. So it is, too, where the credential is a user's, and where
    `stdio.isolation` is `user`."""
    pinning: Literal["off", "warn", "enforce"] = "off"
    """What becomes of a tool whose definition is none that `pins` name: served and told of, or quarantined."""
    pins: tuple[Pin, ...] = ()
    """Several of one tool: while a server is replaced, two definitions of it may be right."""
    category: Annotated[str, StringConstraints(max_length=128)] = ""
    """Of its tools, for those who look for some."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.url is None and self.stdio is None:
            raise ValueError(f"server {self.id} has neither url nor stdio; it needs exactly one of them")
        if self.url is not None and self.stdio is not None:
            raise ValueError(f"server {self.id} has both url and stdio; it needs exactly one of them")
        remote: dict[str, object] = {"headers": self.headers, "caBundle": self.ca_bundle, "http2": self.http2}
        remote["identity"] = self.identity is not None
        remote["logs"] = self.logs is not None
        remote["transport"] = self.transport != "auto"
        if self.stdio is not None and (used := next((name for name, value in remote.items() if value), None)):
            raise ValueError(f"server {self.id} runs over stdio: {used} can be set only for a url")
        if self.url is not None and (self.url.username or self.url.password):
            raise ValueError(f"server {self.id} has credentials in its url: send them in a header, from a secret")
        if self.url is not None and self.identity is not None and (self.url.query or self.transport == "sse"):
            raise ValueError(
                f"server {self.id} has an identity key: its url takes no query, and its transport is no SSE"
            )
        if twice := duplicates(header.name.lower() for header in self.headers):
            raise ValueError(f"server {self.id} sets the header {twice[0]} twice")
        if twice := duplicates(f"{pin.tool} as {pin.digest}" for pin in self.pins):
            raise ValueError(f"server {self.id} pins the tool {twice[0]} twice")
        return self

    @model_validator(mode="after")
    def _can_show_its_credential(self) -> Self:
        kind = self.credential.kind if self.credential is not None else None
        if self.credential_sealed and (self.identity is None or kind not in {"userToken", "tokenExchange"}):
            raise ValueError(
                f"server {self.id}: credentialSealed needs an identity key, and a credential userToken or tokenExchange"
            )
        if self.stdio is not None and kind == "authorizationCode":
            raise ValueError(f"server {self.id} runs over stdio: users sign in with authorizationCode only at a url")
        if self.credential is None:
            if self.credential_env is not None:
                raise ValueError(f"server {self.id} names credentialEnv and has no credential")
            return self
        if (self.stdio is not None) != (self.credential_env is not None):
            raise ValueError(f"server {self.id}: credentialEnv is set with stdio and a credential, and only so")
        if not self.credential_sealed and any(header.name.lower() == "authorization" for header in self.headers):
            raise ValueError(f"server {self.id} has a credential and a header Authorization")
        if self.stdio is not None and self.of_users and self.stdio.isolation != "user":
            raise ValueError(f"server {self.id} shows credentials of users: its isolation is user")
        return self

    @property
    def of_users(self) -> bool:
        """Whether each user has an instance of its own."""
        return self.per_user or self._is_personal or (self.stdio is not None and self.stdio.isolation == "user")

    @property
    def apart(self) -> bool:
        """Whether each user has an instance or a process of its own, wherever that runs."""
        return self.of_users or self.identity is not None

    @property
    def _is_personal(self) -> bool:
        return self.credential is not None and self.credential.kind != "clientCredentials"
