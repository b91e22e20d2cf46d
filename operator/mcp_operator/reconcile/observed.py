"""What probes and replicas found, in the terms of `conditions`."""

from collections.abc import Mapping, Sequence

from mcp_operator.api import meta
from mcp_operator.api.common import seconds
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer
from mcp_operator.compile import Compiled
from mcp_operator.compile.references import Resolved
from mcp_operator.compile.servers import BRIDGE_PORT
from mcp_operator.conditions.notices import Notices, hidden, notices
from mcp_operator.conditions.proxy import Replica
from mcp_operator.conditions.reasons import Type
from mcp_operator.conditions.route import Parent
from mcp_operator.conditions.server import Health
from mcp_operator.desired.names import cluster_url
from mcp_operator.engine.store import Object
from mcp_operator.probe.replica import ReplicaState
from mcp_operator.probe.state import ServerHealth
from mcp_operator.probe.target import Target
from mcp_operator_proxy.egress import Egress


def is_paused(resource: McpServer | McpProxy) -> bool:
    """Whether its author holds the operator off its children."""
    return resource.metadata.annotations.get(meta.ANNOTATION_PAUSED) == "true"


def probe_target(
    url: str, server: McpServer, resolved: Resolved, pods: Sequence[Object] = (), egress: Egress | None = None
) -> Target:
    """Where and how a server is probed: as a proxy would speak to it. `pods` are those of a hosted one, oldest first."""
    endpoint = server.spec.remote or server.spec.container
    return Target(
        url=url,
        transport=endpoint.transport if endpoint else "streamable-http",
        headers=resolved.header_values(),
        ca_bundle=resolved.ca_bundle,
        timeout=seconds(server.spec.health.timeout),
        definitions=server.spec.pinning != "Off",
        bridge=_bridge(pods) if server.spec.stdio else None,
        guarded=server.spec.credential is not None,
        egress=egress,
    )


def _bridge(pods: Sequence[Object]) -> str | None:
    """Where the bridge of the youngest pod tells of its process, while no pod is ready."""
    if any(is_ready(pod) for pod in pods):
        return None
    addresses = (pod.get("status", {}).get("podIP") for pod in reversed(pods))
    return next((f"http://{bracketed(address)}:{BRIDGE_PORT}/readyz" for address in addresses if address), None)


def is_ready(pod: Object) -> bool:
    """Whether the kubelet says so."""
    found = pod.get("status", {}).get("conditions") or ()
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in found)


def bracketed(address: str) -> str:
    """An IP address as a URL holds it."""
    return f"[{address}]" if ":" in address else address


def proxy_target(proxy: McpProxy, egress: Egress | None = None, operator_key: bytes | None = None) -> Target:
    """A proxy is probed through its Service, as its clients in the cluster reach it, with the operator's key where it has one.

    Its certificate may be for other names than the Service's, so it is not looked at, as the kubelet's probes do it.
    """
    return Target(
        url=cluster_url(proxy),
        transport="streamable-http",
        headers=key_headers(operator_key),
        verify=False,
        lists=False,
        egress=egress,
    )


def key_headers(operator_key: bytes | None) -> dict[str, str]:
    """How the operator says who it is."""
    return {} if operator_key is None else {"Authorization": f"Bearer {operator_key.decode()}"}


def slowest(states: Mapping[str, ReplicaState]) -> float | None:
    """Seconds that the last replica took to run its revision; None while one does not, or none is known."""
    taken = [state.seconds for state in states.values()]
    known = [seconds for seconds in taken if seconds is not None]
    return max(known) if known and len(known) == len(taken) else None


def health_view(health: ServerHealth | None) -> Health | None:
    """A probe's state as the conditions want it."""
    if health is None:
        return None
    facts = health.facts
    return Health(
        healthy=health.healthy,
        recovering=health.recovering,
        doubted=health.doubted,
        error_class=health.error.error_class if health.error else "",
        error=health.error.message if health.error else "",
        consecutive_failures=health.consecutive_failures,
        server_name=facts.server_name if facts else "",
        server_version=facts.server_version if facts else "",
        protocol_version=facts.protocol_version if facts else "",
        transport=facts.transport if facts else "",
        tools=facts.tools if facts else (),
        tools_digest=facts.digest if facts else "",
        definitions=facts.definitions if facts else None,
        latency_seconds=health.latency_seconds,
        time=health.time.replace(microsecond=0) if health.time else None,
    )


def replica_view(states: Mapping[str, ReplicaState]) -> list[Replica]:
    """The replicas' own words, sorted by pod."""
    return [
        Replica(
            pod=pod,
            answered=state.state != "unknown",
            revision=state.revision,
            rejected=state.rejected,
            unreachable=state.error.message if state.error else None,
            servers={
                server.id: server.error.error_class if server.error else None if server.state == "pending" else ""
                for server in state.servers
            },
            tools=sum(len(route.tools) for route in state.routes),
        )
        for pod, state in sorted(states.items())
    ]


def notices_view(proxy: McpProxy, compiled: Compiled, states: Mapping[str, ReplicaState]) -> Notices:
    """What `proxy` has to tell to itself, its routes and its servers."""
    return notices(
        proxy,
        compiled,
        (conflict for state in states.values() for conflict in state.conflicts),
        (name for state in states.values() for name in state.long_names),
    )


def is_heard(states: Mapping[str, ReplicaState]) -> bool:
    """Whether a replica has said something, or there is none that could."""
    return not states or any(state.state != "unknown" for state in states.values())


def parent_view(
    route: McpRoute,
    proxy: McpProxy,
    compiled: Compiled | None,
    states: Mapping[str, ReplicaState],
    told: Notices = Notices(),  # noqa: B008 - immutable
) -> Parent:
    """How `proxy` took `route`: what was compiled of it, and what the replicas made of that."""
    if compiled is None or route.id not in compiled.route_problems:
        return Parent(
            path=route.spec.path or proxy.spec.path, servers=(), waiting="its configuration is being compiled"
        )
    return Parent(
        path=compiled.route_paths[route.id],
        servers=compiled.route_servers[route.id],
        problems=compiled.route_problems[route.id],
        left_out=compiled.route_left_out[route.id],
        hidden=_hidden(route, compiled, states),
        notices=told.routes.get(route.id, ()),
        waiting=_waiting(proxy, compiled.config.revision),
    )


def _waiting(proxy: McpProxy, revision: str) -> str | None:
    programmed = next((c for c in proxy.status.conditions if c.type == Type.PROGRAMMED), None)
    if programmed is None:
        return "its pods are being created"
    if programmed.status != "True":
        return programmed.message
    return None if proxy.status.programmed_revision == revision else f"its replicas do not all run revision {revision}"


def _hidden(route: McpRoute, compiled: Compiled, states: Mapping[str, ReplicaState]) -> tuple[str, ...]:
    """Names of this route's servers that another server of the path has, as the replicas report."""
    if not any(replica.conflicts for replica in states.values()):
        return ()
    path = compiled.route_paths[route.id]
    servers = set(compiled.route_servers[route.id])
    names = {served.name for served in compiled.config.routes if served.path == path}
    found = {
        conflict
        for replica in states.values()
        for conflict in replica.conflicts
        if conflict.loser in servers and conflict.route in names
    }
    return tuple(hidden(c, path) for c in sorted(found, key=lambda c: (c.kind, c.name, c.winner, c.loser)))
