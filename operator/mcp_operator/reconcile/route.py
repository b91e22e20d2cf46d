"""McpRoute: nothing of its own in the cluster, only the truth about how its proxies took it."""

from datetime import UTC, datetime

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpRoute
from mcp_operator.conditions.route import Parent, route_status
from mcp_operator.engine.keys import Key
from mcp_operator.engine.worker import Result
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.observed import parent_view


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
    return parent_view(route, proxy, context.compiled.get(proxy_key), context.replicas.states(proxy_key))
