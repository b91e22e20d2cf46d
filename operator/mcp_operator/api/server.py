"""McpServer: one backend, remote or hosted."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from mcp_operator.api.common import (
    ApiModel,
    Argument,
    DataSource,
    Duration,
    EnvVar,
    Image,
    Port,
    PullPolicy,
    Resources,
    SecretSource,
    StatusModel,
    rules,
)
from mcp_operator_proxy.config import MCP_PATH

Transport = Literal["auto", "streamable-http", "sse"]
Hosting = Literal["Remote", "Container", "Stdio"]
EnvList = Annotated[
    tuple[EnvVar, ...],
    Field(max_length=128, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]


class Header(ApiModel):
    """An HTTP header that is sent with every request to the server."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.value) != has(self.valueFrom)", "exactly one of value and valueFrom must be set")
        )
    )

    name: Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", min_length=1, max_length=256)]
    """Name of the header."""
    value: Annotated[str, StringConstraints(pattern=r"^[^\r\n]*$", max_length=8192)] | None = None
    """Literal value. Credentials belong into a Secret: use valueFrom."""
    value_from: SecretSource | None = None
    """The Secret whose key holds the value. A changed Secret is in use within seconds, without a restart."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.value_from is None):
            raise ValueError("exactly one of value and valueFrom must be set")
        return self


class Tls(ApiModel):
    """How the server's certificate is verified."""

    ca_bundle: DataSource
    """PEM certificates of the authorities to trust instead of the system's."""


class Remote(ApiModel):
    """A server that runs elsewhere: nothing is deployed, it is probed and routed."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+[^\s#]*$", min_length=1, max_length=2048)]
    """URL of its MCP endpoint, http or https."""
    transport: Transport = "auto"
    """How to speak to it; auto tries streamable HTTP first, then SSE."""
    headers: Annotated[
        tuple[Header, ...],
        Field(
            max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    """Headers that are sent with every request."""
    tls: Tls | None = None
    """How its certificate is verified; unset: by the system's authorities."""


class Container(ApiModel):
    """A server in an image of its own that listens for MCP over HTTP. A Deployment and a Service are made for it."""

    image: Image
    """Image to run."""
    image_pull_policy: PullPolicy | None = None
    """When to pull the image; unset: the Kubernetes default."""
    command: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """Replaces the image's entrypoint."""
    args: Annotated[tuple[Argument, ...], Field(max_length=256)] = ()
    """Arguments of the entrypoint."""
    port: Port = 8080
    """Port on which the server listens; it is also given to it as the environment variable PORT."""
    path: Annotated[str, StringConstraints(pattern=MCP_PATH, max_length=256)] = "/mcp"
    """Path of its MCP endpoint."""
    transport: Transport = "auto"
    """How to speak to it; auto tries streamable HTTP first, then SSE."""
    env: EnvList = ()
    """Environment of the server."""
    resources: Resources = Resources()
    """Compute resources of the server."""


class Stdio(ApiModel):
    """A command that speaks MCP on stdin and stdout. It runs in the runner image (uv/uvx, node/npx) under a bridge to HTTP."""

    command: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    """Program to run, looked up in PATH: uvx, npx, python, …"""
    args: Annotated[tuple[Argument, ...], Field(max_length=256)] = ()
    """Arguments of the program."""
    env: EnvList = ()
    """Environment of the program."""
    resources: Resources = Resources()
    """Compute resources of the server."""


class Timeouts(ApiModel):
    """How long the proxy waits for the server."""

    connect: Duration = "5s"
    """For a connection and the MCP handshake."""
    call: Duration = "30s"
    """For one request."""


class Health(ApiModel):
    """How the server is probed: an MCP handshake and a listing of its tools."""

    interval: Duration = "30s"
    """Time between two probes."""
    timeout: Duration = "5s"
    """Time that one probe may take."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    """Failures in a row after which the server counts as unhealthy."""
    max_restarts: Annotated[int, Field(ge=0, le=100)] = 3
    """How often the operator restarts a hosted server that stays unhealthy, with growing pauses; 0: never."""


class ServerSpec(ApiModel):
    """What the user declares: exactly one of remote, container and stdio."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "[has(self.remote), has(self.container), has(self.stdio)].filter(x, x).size() == 1",
                "exactly one of remote, container and stdio must be set",
            ),
            (
                "self.isolation == 'shared' || has(self.stdio)",
                "isolation other than shared needs stdio: a remote or container server keeps its sessions apart itself",
            ),
        )
    )

    remote: Remote | None = None
    """A server that runs elsewhere."""
    container: Container | None = None
    """An image that serves MCP over HTTP."""
    stdio: Stdio | None = None
    """A command that speaks MCP on stdin and stdout."""
    isolation: Literal["shared", "session", "user"] = "shared"
    """Who shares a process of a stdio server: all clients, nobody (one process a client session), or a user's sessions."""
    timeouts: Timeouts = Timeouts()
    """How long the proxy waits for the server."""
    health: Health = Health()
    """How the server is probed."""

    @model_validator(mode="after")
    def _one_hosting(self) -> Self:
        if sum(x is not None for x in (self.remote, self.container, self.stdio)) != 1:
            raise ValueError("exactly one of remote, container and stdio must be set")
        if self.isolation != "shared" and self.stdio is None:
            raise ValueError(
                "isolation other than shared needs stdio: a remote or container server keeps its sessions apart itself"
            )
        return self

    @property
    def hosting(self) -> Hosting:
        if self.remote:
            return "Remote"
        return "Container" if self.container else "Stdio"


class ServerInfo(ApiModel):
    """How the server introduces itself."""

    name: Annotated[str, StringConstraints(max_length=1024)]
    """Its name."""
    version: Annotated[str, StringConstraints(max_length=1024)]
    """Its version."""


class Tools(ApiModel):
    """The server's tools as the last good probe listed them."""

    count: Annotated[int, Field(ge=0)] = 0
    """How many."""
    names: Annotated[tuple[Annotated[str, StringConstraints(max_length=1024)], ...], Field(max_length=2000)] = ()
    """Their names, sorted; at most 2000."""
    digest: Annotated[str, StringConstraints(max_length=128)] = ""
    """Digest (sha256) of their definitions: it changes when any name, description or schema does."""


class Probe(ApiModel):
    """The probe that found what this status says. It is rewritten on a change, not on every probe."""

    time: datetime
    """When it was made."""
    latency_milliseconds: Annotated[float, Field(ge=0)] | None = None
    """Median time of recent handshakes and listings; rewritten when it moves by a factor of about five."""
    latency: Annotated[str, StringConstraints(max_length=32)] = ""
    """The same, for people."""
    consecutive_failures: Annotated[int, Field(ge=0)] = 0
    """Failures in a row, counted up to the failure threshold."""
    error_class: Annotated[str, StringConstraints(max_length=64)] = ""
    """Class of the last error; empty when the last probe went well."""
    error: Annotated[str, StringConstraints(max_length=4096)] = ""
    """The last error in words."""


class ServerStatus(StatusModel):
    """What the operator found."""

    hosting: Hosting | None = None
    """Remote, Container or Stdio."""
    url: Annotated[str, StringConstraints(max_length=2048)] = ""
    """Where proxies reach the server."""
    server_info: ServerInfo | None = None
    """How the server introduces itself."""
    protocol_version: Annotated[str, StringConstraints(max_length=64)] = ""
    """MCP version that was negotiated."""
    transport: Annotated[str, StringConstraints(max_length=64)] = ""
    """Transport that was found to work."""
    tools: Tools = Tools()
    """The server's tools."""
    probe: Probe | None = None
    """The probe that found this."""
    restarts: Annotated[int, Field(ge=0)] = 0
    """Restarts that the operator ordered since the server was last healthy."""
    restarted_at: datetime | None = None
    """When the operator last ordered one."""
