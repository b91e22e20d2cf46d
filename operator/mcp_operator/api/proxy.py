"""McpProxy: one proxy instance, an MCP endpoint for many servers."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mcp_operator.api.access import Authentication, Authorization, RateLimits, RequestLimits
from mcp_operator.api.common import ApiModel, LabelSelector, Resources, StatusModel, keyed_by, unique
from mcp_operator.api.constraints import Rule, matching
from mcp_operator.api.credentials import Provider, Refresh
from mcp_operator.api.exposure import (
    Annotations,
    Autoscaling,
    DisruptionBudget,
    HttpRoute,
    Ingress,
    Monitoring,
    NetworkPolicy,
    ProxyTls,
)
from mcp_operator.api.gateway import Audit, Inspector, Notices, Rest, Search, Stores, Users
from mcp_operator.api.pods import PodTemplate, PullSecretList
from mcp_operator.api.scalars import Count, Duration, Image, ObjectName, Port, PullPolicy, Url, between
from mcp_operator.api.tracing import Tracing
from mcp_operator_proxy.config import (
    DEFAULT_NAME_BUDGET,
    DEFAULT_NAMING,
    MIN_NAME_BUDGET,
    RESERVED_PATHS,
    naming_problem,
)

PATH = r"^(/|(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+)$"
"""No segment starts with a dot: clients resolve `.` and `..` away, and `/.well-known` is the proxy's (RFC 8615)."""
PATH_MESSAGE = f"must not be one of the proxy's own: {', '.join(sorted(RESERVED_PATHS))}"

McpPath = Annotated[
    str,
    StringConstraints(max_length=256),
    matching(PATH, "must be a path such as /mcp: segments of letters, digits and . _ ~ -, no '/' at the end"),
    Rule(f"!(self in {sorted(RESERVED_PATHS)})", PATH_MESSAGE, lambda path: path not in RESERVED_PATHS),
]
Origin = Annotated[
    str,
    StringConstraints(max_length=253),
    matching(
        r"^[a-z][a-z0-9+.-]*://([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
        "must be an origin such as https://app.example.com: scheme, host and port without a path",
    ),
]
AllowedHost = Annotated[
    str,
    StringConstraints(max_length=253),
    matching(
        r"^(\*\.)?([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
        "must be a host such as mcp.example.com, mcp.example.com:8443 or *.example.com, without a scheme",
    ),
]


class ServerSelection(ApiModel):
    """Servers that appear without any route, under the prefix of their name."""

    selector: LabelSelector | None = None
    """Labels of the McpServers of this namespace; `{}` takes all, unset takes none."""


class Naming(ApiModel):
    """How the proxy names the tools and prompts of its servers."""

    template: Annotated[
        str,
        StringConstraints(max_length=128),
        matching(
            r"^([A-Za-z0-9_.-]|\{(prefix|namespace|server|tool)\})*$",
            "may hold {prefix}, {namespace}, {server} and {tool}, letters, digits, '_', '.' and '-'",
        ),
        Rule(
            "self.split('{tool}').size() == 2",
            "needs {tool} exactly once",
            lambda template: naming_problem(template) is None,
        ),
    ] = DEFAULT_NAMING
    """Template with the placeholders {prefix}, {namespace}, {server} and {tool}. It is not applied where a prefix is empty."""
    max_length: Annotated[int, Field(strict=True, ge=MIN_NAME_BUDGET, le=1024)] = DEFAULT_NAME_BUDGET
    """Most characters of a tool's or prompt's name, prefix included. Many clients refuse a tool with more than 64."""
    too_long: Literal["Shorten", "Refuse"] = "Shorten"
    """What becomes of a longer name. Shorten: it is cut to maxLength, its end being `_` and 8 hex digits of the sha256 of the
    whole name, so it is the same everywhere and always. Refuse: it is not served. A condition NameTooLong names them."""


class ProxyService(ApiModel):
    """The Service in front of the proxy."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Service."""
    port: Port | None = None
    """Port of the Service; unset: 80, or 443 with spec.tls."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Service."""


class Sessions(ApiModel):
    """Sessions of clients of the handshake eras. They move between workers and replicas."""

    idle_timeout: Annotated[Duration, between("1s", "168h")] = "30m"
    """A session without a request or an open stream for this long ends."""
    max: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000
    """Sessions of one path that one worker holds at once."""


PageSize = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class ProxySpec(ApiModel):
    """What the user declares."""

    invariants = (
        Rule(
            "!has(self.audit) || !self.audit.database || has(self.stores) && has(self.stores.database)",
            "audit.database needs stores.database",
            lambda self: self.audit is None or not self.audit.database or self.stores.database is not None,
        ),
        Rule(
            "!has(self.users) || !has(self.users.issuer) || has(self.authentication) && has(self.authentication.jwt)"
            " && self.authentication.jwt.exists(jwt, jwt.name == self.users.issuer)",
            "users.issuer must be the name of an issuer of authentication.jwt",
            lambda self: (
                self.users.issuer is None
                or self.users.issuer in {jwt.name for jwt in (self.authentication.jwt if self.authentication else ())}
            ),
        ),
    )

    @property
    def shares_nothing(self) -> bool:
        """Whether there is one process alone, so that all state may stay in it."""
        return self.fixed_replicas in {0, 1} and self.workers == 1

    @property
    def fixed_replicas(self) -> int | None:
        """The number of pods, where it is the operator's to set; None: somebody else's."""
        return None if self.autoscaling else self.replicas

    replicas: Annotated[int, Field(strict=True, ge=0, le=1000)] | None = None
    """Pods that serve the same configuration. Unset: one at first, and whatever number the Deployment is scaled to.

    With spec.autoscaling it is not looked at."""
    autoscaling: Autoscaling | None = None
    """Let a HorizontalPodAutoscaler decide the number of pods."""
    pod_disruption_budget: DisruptionBudget = DisruptionBudget()
    """How many pods may be evicted at one time."""
    servers: ServerSelection = ServerSelection()
    """Servers that appear at spec.path without any McpRoute."""
    path: McpPath = "/mcp"
    """Path of the MCP endpoint of the servers above, and of routes that name no path."""
    naming: Naming = Naming()
    """How tools and prompts are named."""
    service: ProxyService = ProxyService()
    """The Service in front of the pods."""
    ingress: Ingress | None = None
    """Make an Ingress in front of the Service."""
    http_route: HttpRoute | None = None
    """Make an HTTPRoute of the Gateway API in front of the Service."""
    tls: ProxyTls | None = None
    """Let the pods serve TLS; unset: plain HTTP."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """Who may reach the pods, and whom they may reach."""
    monitoring: Monitoring = Monitoring()
    """Have the pods' metrics scraped."""
    image: Image | None = None
    """Proxy image; unset: the one that the operator was installed with."""
    image_pull_policy: PullPolicy | None = None
    """When to pull the image; unset: the operator's setting."""
    image_pull_secrets: PullSecretList = ()
    """Secrets with the credentials of registries, beside those that the operator was installed with."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods; unset: one without any rights is made. Its token is mounted only when podTemplate says so."""
    pod_template: PodTemplate | None = None
    """Merged over the generated pod template for what the other fields do not say."""
    resources: Resources = Resources()
    """Compute resources of a proxy pod."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much the proxy logs."""
    allowed_origins: Annotated[tuple[Origin, ...], Field(max_length=64)] = ()
    """Origins (`https://app.example.com`) that browsers may send. Requests without an Origin are no browsers' and pass."""
    allowed_hosts: Annotated[tuple[AllowedHost, ...], Field(max_length=64)] = ()
    """Host names that are answered (`name`, `name:port`, `*.suffix`); empty: any."""
    public_url: Url | None = None
    """URL of the proxy for browsers of users: they sign in at `/oauth/start/…` beneath it, and come back to `/oauth/callback`.

    Unset: authentication.resourceMetadata.resource."""
    workers: Annotated[int, Field(strict=True, ge=1, le=64)] = 1
    """Processes of each pod. One uses one core; give the pod as many cores as workers."""
    sessions: Sessions = Sessions()
    """Sessions of clients of the handshake eras."""
    page_size: PageSize | None = None
    """Entries of one page of a list; unset: all on one page, as clients exist that never ask for the second."""
    access_log: bool = True
    """Log one line for each request."""
    find_tools: bool = False
    """Show, at spec.path, the two tools find_tool and call_tool instead of the servers' own, which they find and call."""
    authentication: Authentication | None = None
    """Who may call; unset: whoever reaches the proxy. It never opens while what it refers to is missing."""
    authorization: Authorization | None = None
    """What callers may use; unset: all that a path shows."""
    rate_limits: RateLimits = ()
    """How often; unset: as often as they like."""
    request_limits: RequestLimits = RequestLimits()
    """What one request's body may be."""
    rest: Rest | None = None
    """Serve the REST interface; unset: MCP alone."""
    inspector: Inspector = Inspector()
    """A page that shows what the proxy does."""
    stores: Stores = Stores()
    """Where state is kept."""
    users: Users = Users()
    """Sessions of users."""
    providers: Annotated[
        tuple[Provider, ...], Field(max_length=64, json_schema_extra=keyed_by("name")), unique("name")
    ] = ()
    """Identity providers at which users have tokens."""
    refresh: Refresh = Refresh()
    """When tokens of users are renewed."""
    search: Search = Search()
    """How tools are found."""
    audit: Audit | None = None
    """Record every call; unset: only as the access log does."""
    notices: Notices | None = None
    """Send notices to a webhook; unset: nowhere."""
    tracing: Tracing | None = None
    """Send traces to a collector; unset: nothing is traced, and a client's context goes on to servers all the same."""


class ProxyStatus(StatusModel):
    """What the operator found."""

    url: Annotated[str, StringConstraints(max_length=2048)] = ""
    """Where clients reach the proxy at spec.path: by its Ingress, its HTTPRoute, or its Service."""
    cluster_url: Annotated[str, StringConstraints(max_length=2048)] = ""
    """Where clients of this cluster reach it: by its Service."""
    selector: Annotated[str, StringConstraints(max_length=512)] = ""
    """Label selector of the pods, for the scale subresource."""
    paths: Annotated[tuple[Annotated[str, StringConstraints(max_length=256)], ...], Field(max_length=256)] = ()
    """Every MCP path that it serves, sorted."""
    server_count: Count = 0
    """Servers in its configuration."""
    ready_servers: Count = 0
    """Servers of those that its replicas reach."""
    tool_count: Count = 0
    """Tools that clients see, over all paths."""
    revision: Annotated[str, StringConstraints(max_length=64)] = ""
    """Revision of the configuration that it was given."""
    programmed_revision: Annotated[str, StringConstraints(max_length=64)] = ""
    """Revision that every replica was last seen to run."""
    swap_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds from the writing of that configuration until every replica ran it."""
    replicas: Count = 0
    """Pods that exist."""
    programmed_replicas: Count = 0
    """Pods that say that they run the revision."""
    replica_summary: Annotated[str, StringConstraints(max_length=32)] = ""
    """Programmed and wanted replicas, for people."""
