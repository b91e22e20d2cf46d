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
    """Say in the route's status what became of it on each of its parents.

    Nothing is said before every parent has looked at this version of the route: a proxy enqueues its routes when it has.
    """
    parents: dict[str, Parent | None] = {}
    for ref in route.spec.parent_refs:
        proxy_key = Key(meta.PROXY.kind, key.namespace, ref.name)
        proxy = context.world.model(proxy_key)
        if not isinstance(proxy, McpProxy) or proxy.metadata.deletion_timestamp is not None:
            parents[ref.name] = None
        elif _is_told(context, proxy_key, route):
            states = context.replicas.states(proxy_key)
            told = context.notices.of_proxy(proxy_key)
            parents[ref.name] = parent_view(route, proxy, context.compiled[proxy_key], states, told)
        else:
            return Result()
    await context.status.write(route, route_status(route, parents, datetime.now(UTC)))
    return Result()


def _is_told(context: Context, proxy: Key, route: McpRoute) -> bool:
    """Whether `proxy` was compiled with this version of the route, and a status of it need not wait for the replicas' word.

    After a restart of the operator they are unheard for a moment; what the status says of them stands meanwhile.
    """
    compiled = context.compiled.get(proxy)
    if compiled is None or compiled.route_generations.get(route.id) != route.metadata.generation:
        return False
    states = context.replicas.states(proxy).values()
    unheard = bool(states) and all(state.state == "unknown" for state in states)
    return not unheard or route.status.observed_generation != route.metadata.generation
