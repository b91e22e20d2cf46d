"""The record of a server's approved definitions: what is in it, what comes into it, and what proxies are told of it. Pure.

The record is `status.definitions.pinned`: digests alone, written by the operator and by nobody else.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mcp_operator.api.pinning import MOST_PINNED
from mcp_operator.api.resources import McpServer
from mcp_operator_proxy import config
from mcp_operator_proxy.backends.digest import digest_of_all
from mcp_operator_proxy.pinning.definition import digest_of

EVERYTHING: Final = "all"
_NAME_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class Record:
    """Approved definitions: digests by the tools' names, and when they were first recorded."""

    at: datetime
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """A server's catalogue: name, digest and canonical definition of each tool in its order, and the digest of them all."""

    tools: tuple[tuple[str, str, str], ...]
    catalogue: str


@dataclass(frozen=True, slots=True)
class Folded:
    """The record after a look. `approved` are names of tools that were approved just now, `unknown` words of an approval that
    nothing has; `heeded`: the approval that was asked for is done with."""

    record: Record | None
    approved: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    heeded: bool = False


def seen(definitions: Iterable[tuple[str, str]]) -> Seen:
    """The catalogue whose tools have these names and canonical definitions."""
    found = [(name, digest_of(text), text) for name, text in definitions]
    return Seen(tuple(found), digest_of_all(text for _, _, text in found))


def recorded(server: McpServer) -> Record | None:
    """What its status says; None before anything was recorded, or where nothing is pinned."""
    said = server.status.definitions
    if server.spec.pinning == "Off" or said is None:
        return None
    return Record(said.recorded_at, {pinned.tool: pinned.digest for pinned in said.pinned})


def version(server: McpServer) -> Hashable:
    """What of the record a configuration depends on."""
    record = recorded(server)
    return None if record is None else tuple(record.tools.items())


def declared(server: McpServer) -> dict[str, frozenset[str]]:
    """Digests that the spec approves, by tool."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item in server.spec.approved_definitions.tools if server.spec.approved_definitions else ():
        found[item.tool].add(item.digest)
    return {tool: frozenset(digests) for tool, digests in found.items()}


def approved(server: McpServer, record: Record | None) -> dict[str, frozenset[str]]:
    """All digests that are approved, by tool: the recorded one and the declared ones."""
    found = declared(server)
    for tool, digest in record.tools.items() if record else ():
        found[tool] = found.get(tool, frozenset()) | {digest}
    return found


def fold(
    server: McpServer,
    record: Record | None,
    found: Seen | None,
    now: datetime,
    *,
    asked: str = "",
    elsewhere: Iterable[tuple[str, str]] = (),
) -> Folded:
    """The record after a look at the server, which listed `found`; None: it has not been seen yet.

    What is seen first is trusted where the spec approves nothing; with approvals in the spec, those alone count. `asked` is
    an approval by annotation: `all`, or digests of tools or of the catalogue. `elsewhere` are definitions, name and digest,
    that proxies are shown and the operator is not.
    """
    if server.spec.pinning == "Off":
        return Folded(None)
    if found is None:
        return Folded(record)
    words = [word for word in re.split(r"[\s,]+", asked) if word]
    everything = {word for word in words if word in {EVERYTHING, found.catalogue}}
    given = server.spec.approved_definitions
    whole = bool(everything) or (given is not None and given.all == found.catalogue)
    before = record.tools if record else {}
    tools = _first(found) if whole or (record is None and given is None) else dict(before)
    if not whole:
        _declare(tools, found, declared(server))
    named = [*((name, digest) for name, digest, _ in found.tools), *elsewhere]
    known = {digest for _, digest in named}
    for name, digest in named:
        if digest in words and _can_be_recorded(name) and (name in tools or len(tools) < MOST_PINNED):
            tools[name] = digest
    changed = tuple(sorted(name for name, digest in tools.items() if before.get(name) != digest))
    return Folded(
        Record(record.at if record else now, dict(sorted(tools.items()))),
        approved=changed if record else (),
        unknown=tuple(word for word in words if word not in everything | known),
        heeded=bool(asked),
    )


def _first(found: Seen) -> dict[str, str]:
    tools: dict[str, str] = {}
    for name, digest, _ in found.tools:
        if _can_be_recorded(name) and len(tools) < MOST_PINNED:
            tools.setdefault(name, digest)
    return tools


def _declare(tools: dict[str, str], found: Seen, wanted: Mapping[str, frozenset[str]]) -> None:
    """Move the record on to what the spec approves and the server has: what was recorded before is then approved no more."""
    listed: defaultdict[str, list[str]] = defaultdict(list)
    for name, digest, _ in found.tools:
        listed[name].append(digest)
    for name, digests in wanted.items():
        held = tools.get(name)
        if held in digests or held in listed[name]:
            continue
        there = next((digest for digest in listed[name] if digest in digests), None)
        if there is not None and (held is not None or len(tools) < MOST_PINNED):
            tools[name] = there


def _can_be_recorded(name: str) -> bool:
    """Whether a status can hold the name as it is."""
    return 0 < len(name) <= _NAME_LENGTH and not any("\ud800" <= character <= "\udfff" for character in name)


def pinned(server: McpServer) -> dict[str, object]:
    """What the proxy is told: fields of its `Server`.

    Before anything is recorded, `Enforce` serves only what the spec approves, and `Warn` has nothing to warn of.
    """
    record = recorded(server)
    mode = server.spec.pinning
    if mode == "Off" or (mode == "Warn" and record is None):
        return {}
    pins = [
        config.Pin(tool=tool, digest=digest)
        for tool, digests in sorted(approved(server, record).items())
        for digest in sorted(digests)
    ]
    return {"pinning": mode.lower(), "pins": tuple(pins)}
