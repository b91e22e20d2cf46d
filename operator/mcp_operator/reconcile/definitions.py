"""What is to become of a server's pinned definitions: its record, what is not approved, and what is kept beside it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mcp_operator.api import meta
from mcp_operator.api.pinning import UnapprovedTool
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.pins import Folded, approved, fold, recorded, seen
from mcp_operator.conditions.pinning import Approved, Definitions, Pins, judge, merged
from mcp_operator.conditions.server import Health
from mcp_operator.desired.common import Object
from mcp_operator.desired.pins import Kept, kept_in, pins_object
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
    """Fold what the server lists into its record, and find what is not approved.

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
    own = judge(found, allowed, kept.definitions) if found is not None else _standing(unapproved(server), allowed)
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


def unapproved(server: McpServer) -> tuple[UnapprovedTool, ...]:
    """As its status says."""
    return server.status.definitions.unapproved if server.status.definitions else ()
