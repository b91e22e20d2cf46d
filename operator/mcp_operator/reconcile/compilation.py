"""What a proxy shall serve, from the resources as the store knows them; compiled anew only when one of them has changed.

A proxy is looked at whenever a pod, a probe or a replica has something to tell: mostly nothing that a configuration depends on.
"""

import secrets
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mcp_operator.api.meta import CATEGORY_KEY
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer
from mcp_operator.compile import Compiled, compile_proxy, pins
from mcp_operator.compile.access import OPERATOR_KEY_FILE
from mcp_operator.compile.consent import allows
from mcp_operator.compile.lookup import DataId, DataObject, DataObjects
from mcp_operator.compile.proxy import SESSION_KEY_FILE, shows_logs
from mcp_operator.compile.references import decoded
from mcp_operator.compile.selection import is_attached
from mcp_operator.compile.servers import cluster_url, has_key, identity_name
from mcp_operator.desired.names import secret_name
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import is_controlled_by
from mcp_operator.kube.paths import built_in
from mcp_operator.reconcile.context import Context

Version: TypeAlias = tuple[str, int, bool, frozenset[tuple[str, str]], str, Hashable]
"""Everything of a resource that a configuration may depend on: uid, generation, whether it is being deleted, labels, category,
and of a server the record of its definitions."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a configuration follows from. Equal inputs have equal configurations."""

    versions: frozenset[Version]
    namespace_labels: Mapping[str, str] | None
    objects: DataObjects = field(repr=False)
    session_key: bytes = field(repr=False)
    operator_key: bytes | None = field(repr=False)


async def compiled_now(context: Context, key: Key, proxy: McpProxy) -> Compiled:
    """What follows from the resources now. Raises the errors of `kube.errors`."""
    namespace = proxy.metadata.namespace
    routes = context.world.routes(namespace)
    labels = context.world.namespace_labels(namespace)
    candidates = context.world.candidates(proxy, routes)
    servers = [server for server in candidates if allows(server, namespace, labels)]
    attached = [route for route in routes if is_attached(route, proxy)]
    inputs = Inputs(
        versions=frozenset([version_of(proxy), *map(version_of, attached), *map(version_of, servers)]),
        namespace_labels=labels,
        objects={**await context.world.data([*servers, proxy]), **_keys_of_logs(context, proxy, servers)},
        session_key=await _own_key(context, key, proxy, SESSION_KEY_FILE),
        operator_key=await operator_key(context, key, proxy),
    )
    known = context.compilations.get(key)
    if known is not None and known[0] == inputs:
        return known[1]
    compiled = compile_proxy(
        proxy,
        routes=routes,
        servers=servers,
        namespace_labels=labels,
        objects=inputs.objects,
        url_of=cluster_url,
        session_key=inputs.session_key,
        operator_key=inputs.operator_key,
    )
    context.compilations[key] = inputs, compiled
    return compiled


def wants_logs(proxy: object) -> bool:
    """Whether it is a proxy that shows operators what servers wrote."""
    return isinstance(proxy, McpProxy) and shows_logs(proxy)


def _keys_of_logs(context: Context, proxy: McpProxy, servers: Iterable[McpServer]) -> DataObjects:
    """The keys by which the proxy may ask bridges for logs, as far as the store has them: who makes one has the proxy look again."""
    found: dict[DataId, DataObject] = {}
    for server in servers if shows_logs(proxy) else ():
        key = Key("Secret", server.metadata.namespace, identity_name(server))
        held = context.world.store.get(key) if has_key(server) else None
        if held is not None and is_controlled_by(held, server.metadata.uid):
            version = str(held["metadata"].get("resourceVersion", ""))
            found["Secret", key.namespace, key.name] = DataObject(version, decoded("Secret", held))
    return found


def version_of(resource: McpServer | McpProxy | McpRoute) -> Version:
    metadata = resource.metadata
    deleted = metadata.deletion_timestamp is not None
    category = metadata.annotations.get(CATEGORY_KEY, "")
    record = pins.version(resource) if isinstance(resource, McpServer) else None
    return metadata.uid, metadata.generation, deleted, frozenset(metadata.labels.items()), category, record


async def operator_key(context: Context, owner: Key, proxy: McpProxy) -> bytes | None:
    """With what the operator itself calls; None where the proxy lets everybody in. Raises the errors of `kube.errors`."""
    return await _own_key(context, owner, proxy, OPERATOR_KEY_FILE) if proxy.spec.authentication else None


async def _own_key(context: Context, owner: Key, proxy: McpProxy, file: str) -> bytes:
    """A key that the operator makes once, as the proxy's Secret holds it; a new one where there never was one.

    What the store lacks is asked for, and where somebody deleted the Secret the key is known still: a second one would end
    the sessions of the first, and lock the operator out until every replica has it.
    """
    key = Key("Secret", proxy.metadata.namespace, secret_name(proxy))
    held = context.world.store.get(key) or await context.kube.get(built_in("Secret").path(key.namespace, key.name))
    known = decoded("Secret", held or {}).get(file)
    found = known or context.own_keys.get((owner, file)) or secrets.token_hex(32).encode()
    context.own_keys[owner, file] = found
    return found
