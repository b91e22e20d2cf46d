"""Child objects: apply what drifted, prune what is no longer wanted. An unchanged world costs no request."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.verdict import Refusal
from mcp_operator.desired.drift import drifted, with_hash
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object, is_controlled_by
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Forbidden, Invalid
from mcp_operator.kube.paths import path_of
from mcp_operator.reconcile.world import World, is_managed

log = logging.getLogger(__name__)

Owner = McpServer | McpProxy
RETRY_SECONDS: Final = 30.0
"""After which a refusal that may pass is looked at again: the end of a foreign object or of a quota is told by nobody."""


class Refused(Exception):
    """The children cannot be made. `refusal` is for the status; `retry`: it may pass without anybody's edit of the owner."""

    def __init__(self, refusal: Refusal, *, retry: bool) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.retry = retry


async def apply_children(
    kube: KubeClient, world: World, owner: Owner, desired: Sequence[Mapping[str, Any]]
) -> set[Key]:
    """Make the children of `owner` as `desired`, in that order; return the keys of those that were written.

    Nothing is written when one of their names belongs to an object that the operator did not make. Prunes only what the
    owner controls by uid and the operator labelled.

    Raises Refused, and the errors of `kube.errors` that backing off may cure.
    """
    bodies = {Key.of(body["kind"], body): with_hash(body) for body in desired}
    try:
        live = {key: await _live(kube, world, owner, key, body) for key, body in bodies.items()}
        written = {key for key, body in bodies.items() if await _apply(kube, world, key, body, live[key])}
    except Invalid as error:
        raise Refused(Refusal(Reason.APPLY_REFUSED, str(error)), retry=False) from error
    except Forbidden as error:
        if error.namespace_terminating:
            raise
        raise Refused(Refusal(Reason.APPLY_REFUSED, str(error)), retry=True) from error
    for key, body in world.children(owner.metadata.uid).items():
        if key not in bodies and not body["metadata"].get("deletionTimestamp"):
            await kube.delete(path_of(body), uid=body["metadata"]["uid"])
            world.store.remove(key.kind, key.namespace, key.name, body["metadata"]["uid"])
            log.info("pruned %s", key)
    return written


async def _live(kube: KubeClient, world: World, owner: Owner, key: Key, body: Mapping[str, Any]) -> Object | None:
    """The child as it is. The store knows no foreign objects of most kinds, so what it lacks is looked for.

    Applying would take over whatever has the name: raises Refused when that is not ours.
    """
    found = world.store.get(key) or await kube.get(path_of(body))
    if found is None or is_controlled_by(found, owner.metadata.uid):
        return found
    owners = found["metadata"].get("ownerReferences") or ()
    controller = next((reference for reference in owners if reference.get("controller")), None)
    if controller is None and is_managed(found) and _was_applied(found):
        return found  # left behind on purpose: kubectl delete --cascade=orphan
    if controller is not None and (controller["kind"], controller["name"]) == (owner.kind, owner.metadata.name):
        message = f"{key.kind} {key.namespace}/{key.name} of a deleted {owner.kind} of this name is still being removed"
        raise Refused(Refusal(Reason.DEPLOYING, message), retry=True)
    message = (
        f"{key.kind} {key.namespace}/{key.name} exists already and is not the operator's: "
        f"delete or rename it, or give the {owner.kind} another name"
    )
    raise Refused(Refusal(Reason.CHILD_NAME_TAKEN, message), retry=True)


def _was_applied(body: Object) -> bool:
    return meta.ANNOTATION_APPLIED_HASH in (body["metadata"].get("annotations") or {})


async def _apply(kube: KubeClient, world: World, key: Key, body: Mapping[str, Any], live: Object | None) -> bool:
    """Apply `body` if `live` differs; whether it did. The uid says that just this object is meant, and no successor."""
    if live is not None and not drifted(body, live):
        return False
    known = {"uid": live["metadata"]["uid"]} if live is not None else {}
    sent = {**body, "metadata": {**body["metadata"], **known}}
    applied = await kube.apply(path_of(body), sent, field_manager=meta.FIELD_MANAGER)
    world.store.observe(key.kind, applied)
    log.info("applied %s", key)
    return True
