"""McpRoute: nothing of its own in the cluster, only the truth about how its proxies took it."""

from datetime import UTC, datetime

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpRoute
from mcp_operator.compile import Compiled
from mcp_operator.conditions.reasons import Type
from mcp_operator.conditions.route import Parent, route_status
from mcp_operator.engine.keys import Key
from mcp_operator.engine.worker import Result
from mcp_operator.reconcile.context import Context


async def reconcile_route(context: Context, key: Key, route: McpRoute) -> Result:
    """Say in the route's status what became of it on each of its parents."""
    parents = {ref.name: _parent(context, key, route, ref.name) for ref in route.spec.parent_refs}
    await context.status.write(route, route_status(route, parents, datetime.now(UTC)))
    return Result()


def _parent(context: Context, key: Key, route: McpRoute, name: str) -> Parent | None:
    proxy_key = Key(meta.PROXY.kind, key.namespace, name)
    proxy = context.world.model(proxy_key)
    if not isinstance(proxy, McpProxy):
        return None
    path = route.spec.path or proxy.spec.path
    compiled = context.compiled.get(proxy_key)
    if compiled is None or route.id not in compiled.route_problems:
        return Parent(path=path, servers=(), waiting="its configuration is being compiled")
    return Parent(
        path=compiled.route_paths[route.id],
        servers=compiled.route_servers[route.id],
        problems=compiled.route_problems[route.id],
        left_out=compiled.route_left_out[route.id],
        hidden=_hidden(context, proxy_key, compiled, route.id),
        waiting=_waiting(proxy),
    )


def _waiting(proxy: McpProxy) -> str | None:
    programmed = next((c for c in proxy.status.conditions if c.type == Type.PROGRAMMED), None)
    if programmed is None:
        return "its pods are being created"
    return None if programmed.status == "True" else programmed.message


def _hidden(context: Context, proxy_key: Key, compiled: Compiled, route_id: str) -> tuple[str, ...]:
    """Names of this route's servers that another server of the path has, as the replicas report."""
    path = compiled.route_paths[route_id]
    servers = set(compiled.route_servers[route_id])
    route_names = {route.name for route in compiled.config.routes if route.path == path}
    found = {
        conflict
        for replica in context.replicas.states(proxy_key).values()
        for conflict in replica.conflicts
        if conflict.loser in servers and conflict.route in route_names
    }
    return tuple(
        f"{c.kind} {c.name!r} of McpServer {c.loser} is hidden at {path}: McpServer {c.winner} already has that name; "
        "give one of them a prefix"
        for c in sorted(found, key=lambda c: (c.kind, c.name, c.winner, c.loser))
    )
