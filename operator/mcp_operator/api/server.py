"""McpServer: one backend, remote or hosted."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from mcp_operator.api.common import (
    ApiModel,
    DataSource,
    LabelSelector,
    Resources,
    SecretSource,
    StatusModel,
    keyed_by,
    unique,
)
from mcp_operator.api.constraints import Rule, literal, matching, one_of_fields
from mcp_operator.api.credentials import Credential
from mcp_operator.api.pinning import ApprovedDefinitions, Definitions, Pinning
from mcp_operator.api.pods import EnvFromList, EnvList, FileList, PodTemplate, PullSecretList
from mcp_operator.api.scalars import (
    URL,
    URL_MESSAGE,
    Argument,
    Count,
    Duration,
    FreeForm,
    Image,
    ObjectName,
    Port,
    PullPolicy,
    RegularExpression,
    between,
    is_url,
)

BACKEND_PATH = r"^(/[A-Za-z0-9._~%+-]+)*/?$"
FIELD_VALUE = r"^([^\x00-\x20\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?$"
"""A header's value on one line, without space around it (RFC 9110, section 5.5)."""
OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
        "transfer-encoding",
    }
)


Transport = Literal["auto", "streamable-http", "sse"]
Hosting = Literal["Remote", "Container", "Stdio"]


class Header(ApiModel):
    """An HTTP header that is sent with every request to the server."""

    invariants = (
        Rule(
            one_of_fields("value", "valueFrom"),
            "exactly one of value and valueFrom must be set",
            lambda self: (self.value is None) != (self.value_from is None),
        ),
        Rule(
            f"!has(self.value) || self.value.matches({literal(FIELD_VALUE)})",
            "value must be one line without space before or after it",
            lambda self: self.value is None or re.fullmatch(FIELD_VALUE, self.value) is not None,
        ),
    )

    name: Annotated[
        str,
        StringConstraints(max_length=256),
        matching(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "must be the name of an HTTP header, such as Authorization"),
        Rule(
            f"!(self.lowerAscii() in {sorted(OWN_HEADERS)})",
            "belongs to the transport, which sets it itself",
            lambda name: name.lower() not in OWN_HEADERS,
        ),
    ]
    """Name of the header."""
    value: Annotated[str, StringConstraints(max_length=8192)] | None = None
    """Literal value. Credentials belong into a Secret: use valueFrom."""
    value_from: SecretSource | None = None
    """The Secret whose key holds the value. A changed Secret is in use within seconds, without a restart."""


class Tls(ApiModel):
    """How the server's certificate is verified."""

    ca_bundle: DataSource
    """PEM certificates of the authorities to trust instead of the system's."""


DISTINCT_HEADERS: Final = Rule(
    "self.all(a, self.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",
    "names must differ in more than the case of their letters",
    lambda headers: len({header.name.lower() for header in headers}) == len(headers),
)


class Remote(ApiModel):
    """A server that runs elsewhere: nothing is deployed, it is probed and routed."""

    invariants = (  # at the object, not at the field: the API server quotes a refused field, and a URL may hold a password
        Rule(
            f"self.url.matches({literal(URL)}) && isURL(self.url)",
            f"url {URL_MESSAGE}",
            lambda self: is_url(self.url),
        ),
    )

    url: Annotated[str, StringConstraints(max_length=2048)]
    """URL of its MCP endpoint, http or https."""
    transport: Transport = "auto"
    """How to speak to it; auto tries streamable HTTP first, then SSE."""
    headers: Annotated[
        tuple[Header, ...],
        Field(max_length=32, json_schema_extra=keyed_by("name")),
        unique("name"),
        DISTINCT_HEADERS,
    ] = ()
    """Headers that are sent with every request."""
    tls: Tls | None = None
    """How its certificate is verified; unset: by the system's authorities."""
    http2: bool = False
    """Offer HTTP/2 to an https server. Its calls then share one connection."""


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
    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=256),
        matching(
            BACKEND_PATH, "must be a path such as /mcp: segments of letters, digits and . _ ~ - + % after each '/'"
        ),
    ] = "/mcp"
    """Path of its MCP endpoint."""
    transport: Transport = "auto"
    """How to speak to it; auto tries streamable HTTP first, then SSE."""
    env: EnvList = ()
    """Environment of the server. A changed Secret or ConfigMap behind it rolls the pods."""
    env_from: EnvFromList = ()
    """Whole Secrets and ConfigMaps as environment. A change of one rolls the pods."""
    files: FileList = ()
    """Files from Secrets and ConfigMaps."""
    resources: Resources = Resources()
    """Compute resources of the server."""


class Stdio(ApiModel):
    """A command that speaks MCP on stdin and stdout, under a bridge to HTTP. It runs in the runner image (uv/uvx, node/npx), or
    in an image of the user's.
    """

    invariants = (
        Rule(
            "has(self.image) || !has(self.imagePullPolicy)",
            "imagePullPolicy needs image: the runner image is pulled as the operator was told to",
            lambda self: self.image is not None or self.image_pull_policy is None,
        ),
        Rule(
            "!has(self.credentialEnv) || !has(self.env) || self.env.all(variable, variable.name != self.credentialEnv)",
            "credentialEnv is set for each user: take that variable out of env",
            lambda self: all(variable.name != self.credential_env for variable in self.env),
        ),
    )

    image: Image | None = None
    """Linux image that has the program; it needs neither a shell nor HTTP. Unset: the runner image."""
    image_pull_policy: PullPolicy | None = None
    """When to pull the image; unset: the Kubernetes default."""
    command: Annotated[
        str,
        StringConstraints(max_length=4096),
        matching(r"^[^\s\x00]+$", "must be one program without spaces; its arguments go into args"),
    ]
    """Program to run, looked up in PATH: uvx, npx, python, …"""
    args: Annotated[tuple[Argument, ...], Field(max_length=256)] = ()
    """Arguments of the program."""
    env: EnvList = ()
    """Environment of the program. A changed Secret or ConfigMap behind it rolls the pods."""
    env_from: EnvFromList = ()
    """Whole Secrets and ConfigMaps as environment. A change of one rolls the pods."""
    credential_env: (
        Annotated[
            str,
            StringConstraints(max_length=256),
            matching(
                r"^[A-Za-z_][A-Za-z0-9_]*$",
                "must be letters, digits and '_', not starting with a digit, as GITHUB_TOKEN",
            ),
        ]
        | None
    ) = None
    """Variable in which the process of a user finds the user's token, as spec.credential says. It goes with isolation: user."""
    files: FileList = ()
    """Files from Secrets and ConfigMaps."""
    resources: Resources = Resources()
    """Compute resources of the server."""


class Timeouts(ApiModel):
    """How long the proxy waits for the server."""

    connect: Annotated[Duration, between("100ms", "10m")] = "5s"
    """For a connection and the MCP handshake."""
    call: Annotated[Duration, between("100ms", "24h")] = "30s"
    """For one request."""


class Retry(ApiModel):
    """How often the proxy tries to connect before it reports the server as down. Calls are not meant by it."""

    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 3
    """Attempts in a row; later ones follow at the health interval."""
    backoff: Annotated[Duration, between("10ms", "5m")] = "500ms"
    """Pause before the second attempt; each further one is twice as long."""


class Limits(ApiModel):
    """What the proxy lets through to the server at once."""

    concurrent_calls: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 256
    """Calls that one proxy worker has running at the server; more wait, at most for their timeout."""


class CircuitBreaker(ApiModel):
    """When calls of a server that does not answer fail at once, so that nobody waits for it."""

    failures: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 5
    """Calls in a row without an answer after which the circuit opens. An error that the server sends is an answer."""
    open_for: Annotated[Duration, between("100ms", "1h")] = "10s"
    """How long calls then fail at once, before one tries again."""


Category = Annotated[str, StringConstraints(max_length=128)]


class ToolSettings(ApiModel):
    """How calls of some of the server's tools are treated. Of several that match, the first that sets a field decides it."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Shell glob on the server's own tool names (`search*`)."""
    timeout: Annotated[Duration, between("100ms", "24h")] | None = None
    """For one call; unset: timeouts.call."""
    idempotent: bool | None = None
    """Whether a call may be repeated when its connection broke; unset: as the tool's own annotations say."""
    cache_for: Annotated[Duration, between("1s", "24h")] | None = None
    """Answer an equal call of the same caller from memory for this long; unset: never."""
    category: Category | None = None
    """Category of these tools; unset: the server's."""


class Health(ApiModel):
    """How the server is probed: an MCP handshake and a listing of its tools."""

    interval: Annotated[Duration, between("100ms", "24h")] = "30s"
    """Time between two probes."""
    timeout: Annotated[Duration, between("100ms", "10m")] = "5s"
    """Time that one probe may take."""
    failure_threshold: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    """Failures in a row after which the server counts as unhealthy."""
    success_threshold: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """Good probes in a row after which an unhealthy server counts as healthy again."""
    max_restarts: Annotated[int, Field(strict=True, ge=0, le=100)] = 3
    """How often the operator restarts a hosted server that stays unhealthy, with growing pauses; 0: never."""


class RouteNamespaces(ApiModel):
    """Namespaces whose McpRoutes may bring the server to a proxy."""

    invariants = (
        Rule(
            "(has(self.from) && self.from == 'Selector') == has(self.selector)",
            "selector goes with from: Selector, and only with it",
            lambda self: (self.from_ == "Selector") == (self.selector is not None),
        ),
    )

    from_: Annotated[Literal["Same", "All", "Selector"], Field(alias="from")] = "Same"
    """Same: only the server's own namespace. All: every namespace. Selector: those whose labels match."""
    selector: LabelSelector | None = None
    """Labels of the namespaces. Every Namespace has `kubernetes.io/metadata.name`; an operator that watches only some
    namespaces can read no other label of them."""


class AllowedRoutes(ApiModel):
    """Who may route the server. It is the consent of the server's side to routes of other namespaces."""

    namespaces: RouteNamespaces = RouteNamespaces()
    """Namespaces of the routes. Whoever may route the server uses it with the credentials that it declares: the values of its
    headers, and the key that vouches for callers (with isolation: user) and reads the logs of stdio servers (where the proxy
    has an inspector or rest), are put into the Secret of the proxy, in the proxy's namespace."""


class CanaryExpectation(ApiModel):
    """What the answer must be like. All that is said must hold; nothing said: any answer that is no error will do."""

    contains: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    """Text that stands in the answer's text."""
    matches: RegularExpression | None = None
    """Regular expression (RE2) that is found in the answer's text; `^` and `$` tie it to its ends."""
    structured: FreeForm | None = None
    """Part of the structured answer: each field that stands here has that value there, lists as a whole."""


class Canary(ApiModel):
    """A tool call that the operator makes again and again, as a client would: through each proxy that serves the server."""

    tool: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """The server's own name of the tool. Choose one that changes nothing: it is called for as long as the server exists."""
    arguments: FreeForm = Field(default_factory=dict)
    """Arguments of the call. They can be read by whoever may read this resource: no credentials."""
    expect: CanaryExpectation = CanaryExpectation()
    """What the answer must be like."""
    interval: Annotated[Duration, between("1s", "24h")] = "1m"
    """Time between two calls."""
    timeout: Annotated[Duration, between("100ms", "10m")] = "10s"
    """Time that one call may take, connection and handshake included."""
    required: bool = False
    """Whether the server is Ready only while the call passes. Else only the condition CanaryPassing tells."""


class ServerSpec(ApiModel):
    """What the user declares: exactly one of remote, container and stdio."""

    invariants = (
        Rule(
            one_of_fields("remote", "container", "stdio"),
            "exactly one of remote, container and stdio must be set",
            lambda self: [self.remote, self.container, self.stdio].count(None) == 2,
        ),
        Rule(
            "self.isolation == 'shared' || has(self.stdio)",
            "isolation other than shared needs stdio: a remote or container server keeps its sessions apart itself",
            lambda self: self.isolation == "shared" or self.stdio is not None,
        ),
        Rule(
            "self.isolation == 'shared' || !has(self.stdio) || !has(self.stdio.image)",
            "isolation other than shared needs the runner image: in stdio.image one process runs, which the kubelet starts",
            lambda self: self.isolation == "shared" or self.stdio is None or self.stdio.image is None,
        ),
        Rule(
            "!has(self.remote) || !has(self.podTemplate) && !has(self.serviceAccountName)"
            " && (!has(self.imagePullSecrets) || self.imagePullSecrets.size() == 0)",
            "a remote server has no pods: podTemplate, serviceAccountName and imagePullSecrets need container or stdio",
            lambda self: (
                self.remote is None
                or (self.pod_template is None and self.service_account_name is None and not self.image_pull_secrets)
            ),
        ),
        Rule(
            "self.pinning != 'Off' || !has(self.approvedDefinitions)",
            "approvedDefinitions needs pinning: Warn or Enforce, else nothing is compared with them",
            lambda self: self.pinning != "Off" or self.approved_definitions is None,
        ),
        Rule(
            "!has(self.credential) || !has(self.stdio) || has(self.credential.userToken) || has(self.credential.tokenExchange)",
            "credential with stdio is userToken or tokenExchange: the process of each user gets the user's token when it starts",
            lambda self: (
                self.credential is None
                or self.stdio is None
                or bool(self.credential.user_token or self.credential.token_exchange)
            ),
        ),
        Rule(
            "!has(self.stdio) || has(self.stdio.credentialEnv) == has(self.credential)",
            "credential with stdio needs stdio.credentialEnv, the variable in which a process finds it, and that needs a credential",
            lambda self: self.stdio is None or (self.stdio.credential_env is None) == (self.credential is None),
        ),
        Rule(
            "!has(self.credential) || !has(self.stdio) || self.isolation == 'user'",
            "credential with stdio needs isolation: user, a process for each user with the user's token",
            lambda self: self.credential is None or self.stdio is None or self.isolation == "user",
        ),
        Rule(
            "!has(self.credential) || !has(self.remote) || !has(self.remote.headers)"
            " || self.remote.headers.all(header, header.name.lowerAscii() != 'authorization')",
            "credential is sent as Authorization: take that header away, or the credential",
            lambda self: (
                self.credential is None
                or self.remote is None
                or all(header.name.lower() != "authorization" for header in self.remote.headers)
            ),
        ),
        Rule(
            "!self.perUser || !has(self.stdio) || self.isolation == 'user'",
            "perUser with stdio needs isolation: user, a process for each user",
            lambda self: not self.per_user or self.stdio is None or self.isolation == "user",
        ),
    )

    remote: Remote | None = None
    """A server that runs elsewhere."""
    container: Container | None = None
    """An image that serves MCP over HTTP."""
    stdio: Stdio | None = None
    """A command that speaks MCP on stdin and stdout."""
    isolation: Literal["shared", "session", "user"] = "shared"
    """Who shares a process of a stdio server: all clients, nobody (one process a client session), or a user's sessions. One that is
    not shared has a folder of its own, MCP_OWN_DIR."""
    allowed_routes: AllowedRoutes = AllowedRoutes()
    """Which McpRoutes may bring the server to a proxy."""
    timeouts: Timeouts = Timeouts()
    """How long the proxy waits for the server."""
    health: Health = Health()
    """How the server is probed."""
    canary: Canary | None = None
    """A tool call that proves more than a listing can. Unset: none is made."""
    retry: Retry = Retry()
    """How often the proxy tries to connect."""
    limits: Limits = Limits()
    """What the proxy lets through to the server at once."""
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    """When calls of a server that does not answer fail at once."""
    tools: Annotated[
        tuple[ToolSettings, ...], Field(max_length=128, json_schema_extra=keyed_by("name")), unique("name")
    ] = ()
    """How calls of single tools are treated, on every proxy."""
    pinning: Pinning = "Off"
    """What becomes of a tool whose definition (name, description, schemas, annotations) is not the one that was recorded or
    approved. Warn: it is served, and told of. Enforce: it is quarantined, neither listed nor callable, until somebody approves
    it; new tools too. Off forgets the record."""
    approved_definitions: ApprovedDefinitions | None = None
    """Definitions that are approved. Unset: those that are seen first."""
    credential: Credential | None = None
    """Token that proxies show to the server besides its headers, or, with stdio, that the process of each user has in the variable
    stdio.credentialEnv. Those of a user make it a server of which each has an own part."""
    per_user: bool = False
    """Each user has a session, and lists, of an own with the server. So it is, too, with a user's credential and with
    isolation: user. It is served by proxies that authenticate their callers."""
    category: Category = ""
    """Of its tools, for those who look for some; empty: as the annotation or else the label mcp-operator.dev/category says."""
    image_pull_secrets: PullSecretList = ()
    """Secrets with the credentials of private registries, besides those of the installation."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods; it must exist. Its token is mounted only when podTemplate says so."""
    pod_template: PodTemplate | None = None
    """What the pods shall have besides."""

    @property
    def of_users(self) -> bool:
        """Whether each user has a part of an own in it."""
        personal = self.credential is not None and self.credential.is_personal
        return self.per_user or personal or self.isolation == "user"

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

    count: Count = 0
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
    consecutive_failures: Count = 0
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
    restarts: Count = 0
    """Restarts that the operator ordered since the server was last healthy."""
    restarted_at: datetime | None = None
    """When the operator last ordered one."""
    restarts_reset: Annotated[str, StringConstraints(max_length=256)] = ""
    """Value of the annotation mcp-operator.dev/reset-restarts for which the count last started anew."""
    definitions: Definitions | None = None
    """The record of the tools' definitions, and what differs from it. Only with spec.pinning."""
