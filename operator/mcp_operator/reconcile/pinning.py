"""Definitions that are pinned: the record and its approvals, what is not approved, and the definitions behind the digests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mcp_operator.api import meta
from mcp_operator.api.pinning import UnapprovedTool
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.pins import Folded, approved, fold, recorded, seen
from mcp_operator.compile.servers import pins_name
from mcp_operator.conditions.pinning import Approved, Definitions, Pins, judge, merged
from mcp_operator.conditions.server import Health
from mcp_operator.conditions.verdict import joined, plural
from mcp_operator.desired.common import Object
from mcp_operator.desired.pins import Kept, kept_in, pins_object
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import is_controlled_by
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.world import is_managed
from mcp_operator_proxy import report


@dataclass(frozen=True, slots=True)
class PinWork:
    """What a look at a server's definitions came to."""

    pins: Pins | None = None
    """None where they are not pinned."""
    folded: Folded = field(default_factory=lambda: Folded(None))
    first: bool = False
    """Nothing was recorded before."""
    children: tuple[Object, ...] = ()

    def changes(self, server: McpServer) -> bool:
        """Whether the record is another than the status says: proxies are to be told."""
        return recorded(server) != self.folded.record


def look_at_pins(
    server: McpServer,
    health: Health | None,
    live: Mapping[str, object] | None,
    elsewhere: Mapping[str, Iterable[report.UnapprovedTool]],
    now: datetime,
    *,
    paused: bool = False,
) -> PinWork:
    """Fold what the server lists into its record, and find what is not approved. Pure.

    `live` is the ConfigMap beside the record, `elsewhere` what the proxies are shown, by their ids. A paused server's
    record stays as it is.
    """
    if server.spec.pinning == "Off":
        return PinWork()
    found = seen(health.definitions) if health is not None and health.definitions is not None else None
    asked = "" if paused else server.metadata.annotations.get(meta.ANNOTATION_APPROVE, "")
    elsewhere = {proxy: list(tools) for proxy, tools in elsewhere.items()}
    others = ((one.tool, one.digest) for tools in elsewhere.values() for one in tools if one.kind != "gone")
    kept = kept_in(live) if live is not None else Kept()
    before = recorded(server) or kept.record
    folded = Folded(before) if paused else fold(server, before, found, now, asked=asked, elsewhere=others)
    allowed = approved(server, folded.record)
    texts = {digest: text for _, digest, text in found.tools} if found is not None else {}
    known: Definitions = {**kept.definitions, **texts}
    own = judge(found, allowed, kept.definitions) if found is not None else _standing(_unapproved(server), allowed)
    pins = Pins(
        mode=server.spec.pinning,
        record=folded.record,
        unapproved=merged(own, elsewhere, allowed, kept.definitions),
        listed=len(found.tools) if found is not None else 0,
    )
    if folded.record is None:
        return PinWork(pins, folded)
    wanted = {digest for digests in allowed.values() for digest in digests}
    held = (known[one] for one in wanted & known.keys())
    return PinWork(pins, folded, first=before is None, children=(pins_object(server, folded.record, held),))


def _standing(before: Iterable[UnapprovedTool], allowed: Approved) -> list[UnapprovedTool]:
    """What was found before this process began, as long as the server has not been seen anew."""
    return [one for one in before if one.kind == "Gone" or one.digest not in allowed.get(one.tool, ())]


def _unapproved(server: McpServer) -> tuple[UnapprovedTool, ...]:
    """As its status says."""
    return server.status.definitions.unapproved if server.status.definitions else ()


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
    known = {(one.tool, one.digest) for one in _unapproved(server)}
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
