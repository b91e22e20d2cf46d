"""Definitions that are pinned, in the cluster: the ConfigMap beside the record, Events, and approvals that were heeded."""

from mcp_operator.api import meta
from mcp_operator.api.pinning import UnapprovedTool
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.servers import pins_name
from mcp_operator.conditions.verdict import joined, plural
from mcp_operator.desired.common import Object
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import is_controlled_by
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.definitions import PinWork, unapproved
from mcp_operator.reconcile.world import is_managed


def live_pins(context: Context, server: McpServer) -> Object | None:
    """The ConfigMap as the store knows it, if it is this very server's."""
    body = context.world.store.get(Key("ConfigMap", server.metadata.namespace, pins_name(server)))
    own = body is not None and is_managed(body) and is_controlled_by(body, server.metadata.uid)
    return dict(body) if body is not None and own else None


def tell_of_pins(context: Context, server: McpServer, work: PinWork) -> None:
    """Events of what the look came to, once the status says it."""
    pins, folded, status = work.pins, work.folded, context.status
    if pins is None:
        return
    if folded.record is not None and work.first:
        count = plural(len(folded.record.tools), "definition")
        status.tell(server, "DefinitionsRecorded", f"{count} recorded: from now on a change of any is noticed")
    if folded.approved:
        names = joined(folded.approved, separator=", ")
        status.tell(server, "DefinitionsApproved", f"{plural(len(folded.approved), 'definition')} approved: {names}")
    if folded.unknown:
        words = joined((word[:80] for word in folded.unknown), separator=", ")
        status.tell(server, "ApprovalUnknown", f"the server lists nothing with the digest {words}", warning=True)
    known = {(one.tool, one.digest) for one in unapproved(server)}
    new = [one for one in pins.questionable if (one.tool, one.digest) not in known]
    if folded.record is not None and new:
        reason = "DefinitionQuarantined" if pins.mode == "Enforce" else "DefinitionChanged"
        status.tell(server, reason, joined(map(_about, new), limit=3), warning=True)


def _about(one: UnapprovedTool) -> str:
    first, _, rest = one.diff.partition("\n")
    more = ", …" if rest else ""
    return f"{one.tool[:128]!a} is {one.kind.lower()} ({one.digest[:19]}…): {first}{more}"


async def take_away_approval(context: Context, server: McpServer, work: PinWork) -> None:
    """Remove the annotation, which has been heeded, unless somebody has written another one meanwhile.

    Raises Conflict: then the next pass looks again.
    """
    key = Key(server.kind, server.metadata.namespace, server.metadata.name)
    body = context.world.store.get(key)
    if not work.folded.heeded or body is None:
        return
    held = (body["metadata"].get("annotations") or {}).get(meta.ANNOTATION_APPROVE)
    if held != server.metadata.annotations.get(meta.ANNOTATION_APPROVE):
        return
    version = body["metadata"].get("resourceVersion")
    patch = {"metadata": {"annotations": {meta.ANNOTATION_APPROVE: None}, "resourceVersion": version}}
    path = meta.SERVER.path(key.namespace, key.name)
    patched = await context.kube.merge_patch(path, patch, field_manager=meta.FIELD_MANAGER)
    context.world.store.observe(server.kind, patched)
