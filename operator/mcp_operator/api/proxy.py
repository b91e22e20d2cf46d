"""McpProxy: one proxy instance, an MCP endpoint for many servers."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from mcp_operator.api.common import ApiModel, Image, LabelSelector, Port, PullPolicy, Resources, StatusModel, rules
from mcp_operator_proxy.config import DEFAULT_NAMING, MCP_PATH, RESERVED_PATHS, naming_problem

McpPath = Annotated[str, StringConstraints(pattern=MCP_PATH, min_length=1, max_length=256)]

_RESERVED = ", ".join(f"'{path}'" for path in sorted(RESERVED_PATHS))
PATH_MESSAGE = f"path must not be one of the proxy's own: {', '.join(sorted(RESERVED_PATHS))}"


def path_rule(field: str) -> tuple[str, str]:
    """CEL rule that keeps `field`, when set, off the paths that the proxy serves itself."""
    return f"!has({field}) || !({field} in [{_RESERVED}])", PATH_MESSAGE


class ServerSelection(ApiModel):
    """Servers that appear without any route, under the prefix of their name."""

    selector: LabelSelector | None = None
    """Labels of the McpServers of this namespace; `{}` takes all, unset takes none."""


class Naming(ApiModel):
    """How the proxy names the tools and prompts of its servers."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.template.split('{tool}').size() == 2", "naming template needs {tool} exactly once"),
        )
    )

    template: Annotated[
        str,
        StringConstraints(
            pattern=r"^([A-Za-z0-9_.-]|\{(prefix|namespace|server|tool)\})+$", min_length=6, max_length=128
        ),
    ] = DEFAULT_NAMING
    """Template with the placeholders {prefix}, {namespace}, {server} and {tool}. It is not applied where a prefix is empty."""

    @model_validator(mode="after")
    def _names_tools(self) -> Self:
        if problem := naming_problem(self.template):
            raise ValueError(problem)
        return self


class ProxyService(ApiModel):
    """The Service in front of the proxy."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Service."""
    port: Port = 80
    """Port of the Service."""
    annotations: Annotated[dict[str, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Annotations of the Service."""


class ProxySpec(ApiModel):
    """What the user declares."""

    model_config = ConfigDict(json_schema_extra=rules(path_rule("self.path")))

    replicas: Annotated[int, Field(ge=0, le=100)] = 1
    """Pods that serve the same configuration."""
    servers: ServerSelection = ServerSelection()
    """Servers that appear at spec.path without any McpRoute."""
    path: McpPath = "/mcp"
    """Path of the MCP endpoint of the servers above, and of routes that name no path."""
    naming: Naming = Naming()
    """How tools and prompts are named."""
    service: ProxyService = ProxyService()
    """The Service in front of the pods."""
    image: Image | None = None
    """Proxy image; unset: the one that the operator was installed with."""
    image_pull_policy: PullPolicy | None = None
    """When to pull the image; unset: the operator's setting."""
    resources: Resources = Resources()
    """Compute resources of a proxy pod."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much the proxy logs."""
    allowed_origins: Annotated[tuple[Annotated[str, StringConstraints(max_length=253)], ...], Field(max_length=64)] = ()
    """Origins (`https://app.example.com`) that browsers may send. Requests without an Origin are no browsers' and pass."""
    allowed_hosts: Annotated[tuple[Annotated[str, StringConstraints(max_length=253)], ...], Field(max_length=64)] = ()
    """Host names that are answered (`name`, `name:port`, `*.suffix`); empty: any."""

    @model_validator(mode="after")
    def _path_is_free(self) -> Self:
        if self.path in RESERVED_PATHS:
            raise ValueError(PATH_MESSAGE)
        return self


class ProxyStatus(StatusModel):
    """What the operator found."""

    url: Annotated[str, StringConstraints(max_length=2048)] = ""
    """Where clients of this cluster reach the proxy at spec.path."""
    paths: Annotated[tuple[Annotated[str, StringConstraints(max_length=256)], ...], Field(max_length=256)] = ()
    """Every MCP path that it serves, sorted."""
    server_count: Annotated[int, Field(ge=0)] = 0
    """Servers in its configuration."""
    ready_servers: Annotated[int, Field(ge=0)] = 0
    """Servers of those that its replicas reach."""
    tool_count: Annotated[int, Field(ge=0)] = 0
    """Tools that clients see, over all paths."""
    revision: Annotated[str, StringConstraints(max_length=64)] = ""
    """Revision of the configuration that it was given."""
    programmed_revision: Annotated[str, StringConstraints(max_length=64)] = ""
    """Revision that every replica was last seen to run."""
    swap_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds from the writing of that configuration until every replica ran it."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Pods that exist."""
    programmed_replicas: Annotated[int, Field(ge=0)] = 0
    """Pods that say that they run the revision."""
    replica_summary: Annotated[str, StringConstraints(max_length=32)] = ""
    """Programmed and wanted replicas, for people."""
