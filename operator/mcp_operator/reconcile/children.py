"""Child objects: apply what drifted, prune what is no longer wanted. An unchanged world costs no request."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.verdict import Refusal
from mcp_operator.desired.drift import drifted, with_hash
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object, is_controlled_by
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.discovery import Discovery
from mcp_operator.kube.errors import Forbidden, Invalid, NotFound
from mcp_operator.kube.paths import path_of
from mcp_operator.reconcile.world import World, is_managed

log = logging.getLogger(__name__)

Owner = McpServer | McpProxy
Body = Mapping[str, Any]
RETRY_SECONDS: Final = 30.0
"""After which a refusal that may pass is looked at again: the end of a foreign object or of a quota is told by nobody."""
_PROMETHEUS: Final = "the Prometheus operator's API"
OPTIONAL_APIS: Final = {"HTTPRoute": "the Gateway API", "ServiceMonitor": _PROMETHEUS, "PodMonitor": _PROMETHEUS}
"""Kinds that a cluster may lack, and what to install for them."""


class Refused(Exception):
    """The children cannot be made. `refusal` is for the status; `retry`: it may pass without anybody's edit of the owner."""

    def __init__(self, refusal: Refusal, *, retry: bool) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Applied:
    """What was written, and which of the kinds that others do not rest on could not be."""

    written: set[Key] = field(default_factory=set)
    refused: dict[str, Refused] = field(default_factory=dict)


async def apply_children(
    kube: KubeClient,
    world: World,
    owner: Owner,
    desired: Sequence[Body],
    *,
    soft: Collection[str] = (),
    discovery: Discovery | None = None,
) -> Applied:
    """Make the children of `owner` as `desired`, in that order.

    Nothing is written when one of their names belongs to an object that the operator did not make. Prunes only what the
    owner controls by uid and the operator labelled. Of the kinds `soft`, each may fail by itself; `discovery` says which of
    the optional ones there are.

    Raises Refused, and the errors of `kube.errors` that backing off may cure.
    """
    bodies = {Key.of(body["kind"], body): with_hash(body) for body in desired}
    work = _Work(kube, world, owner, discovery)
    done = Applied()
    live: dict[Key, Object | None] = {}
    for key, body in bodies.items():
        try:
            live[key] = await work.look(key, body)
        except Refused as refused:
            if key.kind not in soft:
                raise
            done.refused[key.kind] = refused
    for key, found in live.items():
        try:
            if await work.apply(key, bodies[key], found):
                done.written.add(key)
        except Refused as refused:
            if key.kind not in soft:
                raise
            done.refused[key.kind] = refused
    for key, child in world.children(owner.metadata.uid).items():
        if key not in bodies and not child["metadata"].get("deletionTimestamp"):
            await kube.delete(path_of(child), uid=child["metadata"]["uid"])
            world.store.remove(key.kind, key.namespace, key.name, child["metadata"]["uid"])
            log.info("pruned %s", key)
    return done


@dataclass(frozen=True, slots=True)
class _Work:
    kube: KubeClient
    world: World
    owner: Owner
    discovery: Discovery | None

    async def look(self, key: Key, body: Body) -> Object | None:
        """The child as it is. The store knows no foreign objects of most kinds, so what it lacks is looked for.

        Applying would take over whatever has the name: raises Refused when that is not ours, and for kinds that there are not.
        """
        if key.kind in OPTIONAL_APIS and not (
            self.discovery and await self.discovery.serves(body["apiVersion"], key.kind)
        ):
            raise _missing(body)
        found = self.world.store.get(key) or await self._get(body)
        if found is None or is_controlled_by(found, self.owner.metadata.uid):
            return found
        owners = found["metadata"].get("ownerReferences") or ()
        controller = next((reference for reference in owners if reference.get("controller")), None)
        if controller is None and is_managed(found) and _was_applied(found):
            return found  # left behind on purpose: kubectl delete --cascade=orphan
        raise _taken(key, self.owner, controller)

    async def _get(self, body: Body) -> Object | None:
        try:
            return await self.kube.get(path_of(body))
        except Forbidden as error:
            if error.namespace_terminating:
                raise
            raise _forbidden(error) from error

    async def apply(self, key: Key, body: Body, live: Object | None) -> bool:
        """Apply `body` if `live` differs; whether that changed it. The uid says that just this object is meant, and no successor."""
        likeness = self.world.likeness
        if live is not None and (not drifted(body, live) or likeness.holds(key, body, live)):
            return False
        known = {"uid": live["metadata"]["uid"]} if live is not None else {}
        sent = {**body, "metadata": {**body["metadata"], **known}}
        try:
            if key.kind == "Deployment" and live is not None and "replicas" not in body["spec"]:
                await self._hand_over_replicas(sent)
            applied = await self.kube.apply(path_of(body), sent, field_manager=meta.FIELD_MANAGER)
        except Invalid as error:
            raise Refused(Refusal(Reason.APPLY_REFUSED, str(error)), retry=False) from error
        except Forbidden as error:
            if error.namespace_terminating:
                raise
            raise _forbidden(error) from error
        except NotFound:
            if key.kind not in OPTIONAL_APIS or self.discovery is None:
                raise
            self.discovery.forget(body["apiVersion"])
            raise _missing(body) from None
        if live is not None and _version(applied) == _version(live):
            likeness.note(key, body, live)
            return False
        self.world.observe(key.kind, applied)
        log.info("applied %s", key)
        return True

    async def _hand_over_replicas(self, deployment: Body) -> None:
        """Leave the number of pods as it is when the operator stops to set it: it would fall to the default of one.

        Source: Kubernetes, "Server-Side Apply", transferring ownership.
        """
        path = path_of(deployment)
        live = await self.kube.get(path)
        if live is None or not _sets_replicas(live):
            return
        identity = {name: deployment["metadata"][name] for name in ("name", "namespace", "uid")}
        kept = {"apiVersion": deployment["apiVersion"], "kind": deployment["kind"], "metadata": identity}
        kept["spec"] = {"replicas": live["spec"]["replicas"]}
        await self.kube.apply(path, kept, field_manager=meta.REPLICAS_FIELD_MANAGER)


def _version(body: Body) -> str | None:
    version: str | None = body["metadata"].get("resourceVersion")
    return version


def _sets_replicas(deployment: Body) -> bool:
    """Whether the operator owns `spec.replicas`."""
    return any(
        entry.get("manager") == meta.FIELD_MANAGER
        and "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        for entry in deployment["metadata"].get("managedFields") or ()
    )


def _missing(body: Body) -> Refused:
    what = OPTIONAL_APIS[body["kind"]]
    message = (
        f"{body['kind']} is asked for, and this cluster does not serve {body['apiVersion']}: install {what}, or do without; "
        f"it is looked for every {RETRY_SECONDS:g} s"
    )
    return Refused(Refusal(Reason.API_MISSING, message), retry=True)


def _forbidden(error: Forbidden) -> Refused:
    return Refused(Refusal(Reason.APPLY_REFUSED, str(error)), retry=True)


def _taken(key: Key, owner: Owner, controller: Mapping[str, Any] | None) -> Refused:
    if controller is not None and (controller["kind"], controller["name"]) == (owner.kind, owner.metadata.name):
        message = f"{key.kind} {key.namespace}/{key.name} of a deleted {owner.kind} of this name is still being removed"
        return Refused(Refusal(Reason.DEPLOYING, message), retry=True)
    message = (
        f"{key.kind} {key.namespace}/{key.name} exists already and is not the operator's: "
        f"delete or rename it, or give the {owner.kind} another name"
    )
    return Refused(Refusal(Reason.CHILD_NAME_TAKEN, message), retry=True)


def _was_applied(body: Object) -> bool:
    return meta.ANNOTATION_APPLIED_HASH in (body["metadata"].get("annotations") or {})
