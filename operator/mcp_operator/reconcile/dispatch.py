"""From a key to its reconciler."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from mcp_operator.api.common import Condition
from mcp_operator.api.resources import MODELS, InvalidResource, McpProxy, McpRoute, McpServer
from mcp_operator.conditions.server import invalid_status
from mcp_operator.engine.keys import Key
from mcp_operator.engine.worker import Result
from mcp_operator.kube.errors import Forbidden
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.proxy import reconcile_proxy
from mcp_operator.reconcile.route import reconcile_route
from mcp_operator.reconcile.server import reconcile_server


async def reconcile(context: Context, key: Key) -> Result:
    """Reconcile whatever stands under `key` now. Raises the errors of `kube.errors`: the worker backs off."""
    resource = context.world.model(key)
    if resource is None:
        context.forget(key)
        return Result()
    if isinstance(resource, InvalidResource):
        context.forget(key)
        await _tell_invalid(context, key, resource)
        return Result()
    if resource.metadata.deletion_timestamp is not None:
        context.forget(key)
        return Result()
    try:
        match resource:
            case McpServer():
                return await reconcile_server(context, key, resource)
            case McpProxy():
                return await reconcile_proxy(context, key, resource)
            case McpRoute():
                return await reconcile_route(context, key, resource)
    except Forbidden as error:
        if error.namespace_terminating:  # nothing comes of it any more, and nobody shall wait for it
            context.forget(key)
            return Result()
        raise


async def _tell_invalid(context: Context, key: Key, problem: InvalidResource) -> None:
    """An object that the schema let through and the models do not: its author sees why."""
    body = context.world.store.get(key)
    if body is not None:
        generation = body["metadata"].get("generation", 0)
        previous = _conditions(body.get("status") or {})
        status = invalid_status(str(problem), generation, datetime.now(UTC), previous)
        await context.status.write_raw(MODELS[key.kind][0], body, status)


def _conditions(status: Mapping[str, Any]) -> Iterator[Condition]:
    """The conditions of a status that can be read."""
    for condition in status.get("conditions") or ():
        with suppress(ValueError):
            yield Condition.model_validate(condition, extra="ignore")
