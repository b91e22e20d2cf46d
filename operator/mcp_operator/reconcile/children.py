"""Child objects: apply what drifted, prune what is no longer wanted. An unchanged world costs no request."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.desired.drift import drifted, with_hash
from mcp_operator.engine.keys import Key
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.paths import path_of
from mcp_operator.reconcile.world import World

log = logging.getLogger(__name__)


async def apply_children(
    kube: KubeClient, world: World, owner: McpServer | McpProxy, desired: Sequence[Mapping[str, Any]]
) -> set[Key]:
    """Make the children of `owner` as `desired`, in that order; return the keys of those that were written.

    Prunes only what the owner controls by uid and the operator labelled. Raises the errors of `kube.errors`.
    """
    written = set()
    wanted = set()
    for body in desired:
        key = Key.of(body["kind"], body)
        wanted.add(key)
        if await _apply(kube, world, key, with_hash(body)):
            written.add(key)
    for key, body in world.children(owner.metadata.uid).items():
        if key not in wanted and not body["metadata"].get("deletionTimestamp"):
            await kube.delete(path_of(body), uid=body["metadata"]["uid"])
            log.info("pruned %s", key)
    return written


async def _apply(kube: KubeClient, world: World, key: Key, body: dict[str, Any]) -> bool:
    live = world.store.get(key)
    if live is not None and live["metadata"].get("deletionTimestamp"):
        live = None
    if not drifted(body, live):
        return False
    applied = await kube.apply(path_of(body), body, field_manager=meta.FIELD_MANAGER)
    world.store.observe(key.kind, applied)
    log.info("applied %s", key)
    return True
