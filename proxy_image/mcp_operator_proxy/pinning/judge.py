"""A catalogue against the definitions that are approved. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mcp_operator_proxy.config import Pin, Server
from mcp_operator_proxy.pinning.definition import TooDeep, canonical, digest_of, tool_digest
from mcp_operator_proxy.pinning.diff import difference
from mcp_operator_proxy.report import UnapprovedTool

MOST_REPORTED: Final = 64
"""Tools of one server that a report names."""
MOST_OF_A_DEFINITION: Final = 8192
"""Characters of a canonical definition that a report holds; a longer one is left out."""
Tool = Mapping[str, Any]


def approved_digests(pins: Iterable[Pin]) -> dict[str, frozenset[str]]:
    """By the tool's own name."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for pin in pins:
        found[pin.tool].add(pin.digest)
    return {tool: frozenset(digests) for tool, digests in found.items()}


class Approval:
    """Which tools of a server may be served. Only `pinning: enforce` keeps any from it."""

    def __init__(self, server: Server | None) -> None:
        enforced = server is not None and server.pinning == "enforce"
        self._digests = approved_digests(server.pins) if enforced and server is not None else None

    def covers(self, tool: Tool) -> bool:
        """Whether the definition of a tool, in the server's own wire form, is one that is approved."""
        return self._digests is None or tool_digest(tool) in self._digests.get(str(tool["name"]), ())


def unapproved(tools: Iterable[Tool], pins: Iterable[Pin]) -> list[UnapprovedTool]:
    """What of a catalogue is not as `pins` say: sorted by name, each definition once, those that are gone too."""
    pins = list(pins)
    approved = approved_digests(pins)
    known = {pin.digest: pin.definition for pin in pins if pin.definition}
    found: dict[tuple[str, str], UnapprovedTool] = {}
    listed = set()
    for tool in tools:
        name, digest = str(tool["name"]), tool_digest(tool)
        listed.add(name)
        before = approved.get(name, frozenset())
        if digest not in before and (name, digest) not in found:
            found[name, digest] = _unapproved(tool, name, digest, before, known)
    for name in approved.keys() - listed:
        found[name, ""] = UnapprovedTool(tool=name, kind="gone", approved=tuple(sorted(approved[name])))
    return [found[key] for key in sorted(found)]


def _unapproved(
    tool: Tool, name: str, digest: str, approved: frozenset[str], known: Mapping[str, str]
) -> UnapprovedTool:
    kind = "changed" if approved else "new"
    said = UnapprovedTool(tool=name, kind=kind, digest=digest, approved=tuple(sorted(approved)))
    try:
        text = canonical(tool)
    except TooDeep:
        return said.model_copy(update={"diff": "its definition is nested too deep to be compared"})
    before = next((known[one] for one in sorted(approved) if one in known), None)
    diff = "" if approved and before is None else difference(before or "", text)
    definition = text if len(text) <= MOST_OF_A_DEFINITION else ""
    return said.model_copy(update={"diff": diff, "definition": definition})


def pins_of(tools: Iterable[Tool]) -> tuple[Pin, ...]:
    """Pins of the tools as they are: of two that have one name, the first. What is nested too deep has none."""
    found: dict[str, Pin] = {}
    for tool in tools:
        try:
            text = canonical(tool)
        except TooDeep:
            continue
        found.setdefault(str(tool["name"]), Pin(tool=str(tool["name"]), digest=digest_of(text), definition=text))
    return tuple(found[name] for name in sorted(found))
