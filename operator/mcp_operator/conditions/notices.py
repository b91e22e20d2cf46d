"""What the resources of one proxy do to each other, told to all whom it concerns: the winner of a conflict too.

These conditions are there only while they are True, and `Ready` does not hang on them: what they speak of is served, under one
name or another, or is refused as somebody wished.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from mcp_operator.api.common import Condition
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict, joined, plural
from mcp_operator_proxy.report import Conflict, LongName

KINDS: Final = (Type.CONFLICTED, Type.NAME_TOO_LONG)


@dataclass(frozen=True, slots=True)
class Notice:
    """One condition in parts, which those of several proxies can be joined to."""

    type: Type
    reason: Reason
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notices:
    """Of one proxy: what concerns itself, its routes and its servers, these by id."""

    proxy: tuple[Notice, ...] = ()
    routes: Mapping[str, tuple[Notice, ...]] = field(default_factory=dict)
    servers: Mapping[str, tuple[Notice, ...]] = field(default_factory=dict)


Tell = Callable[[str | None, Type, str, str], None]
"""Takes an id (None: the proxy itself), the type of the condition, its reason, and the text."""


class _Texts:
    """Texts by whom they concern, each once."""

    def __init__(self) -> None:
        self._found: defaultdict[str, dict[tuple[Type, str, str], None]] = defaultdict(dict)

    def add(self, about: str, kind: Type, reason: str, text: str) -> None:
        self._found[about][kind, reason, text] = None

    def notices(self) -> dict[str, tuple[Notice, ...]]:
        return {about: tuple(_noticed(texts)) for about, texts in self._found.items()}


def _noticed(texts: Iterable[tuple[Type, str, str]]) -> Iterator[Notice]:
    texts = list(texts)
    for kind in KINDS:
        found = [(reason, text) for of, reason, text in texts if of == kind]
        if found:
            yield Notice(kind, Reason(found[0][0]), tuple(text for _, text in found))


def notices(
    proxy: McpProxy, compiled: Compiled, conflicts: Iterable[Conflict], long_names: Iterable[LongName]
) -> Notices:
    """What follows from the resources, and from the names that the replicas found in the servers' catalogues."""
    own, routes, servers = _Texts(), _Texts(), _Texts()
    where = f"McpProxy {proxy.id}: "

    def tell(source: str | None, kind: Type, reason: str, text: str) -> None:
        if source is None:
            own.add("", kind, reason, text)
        else:
            routes.add(source, kind, reason, text)

    def tell_server(server: str | None, kind: Type, reason: str, text: str) -> None:
        servers.add(server or "", kind, reason, where + text)

    _of_claims(compiled, tell, tell_server)
    paths = {route.name: route.path for route in compiled.config.routes}
    known = {server.id for server in compiled.config.servers}
    found = {c for c in conflicts if c.route in paths and {c.winner, c.loser} <= known}
    for conflict in sorted(found, key=lambda c: (paths[c.route], c.kind, c.name, c.winner, c.loser)):
        _of_conflict(
            conflict, paths[conflict.route], partial(compiled.source, paths[conflict.route]), tell, tell_server
        )
    long = {n for n in long_names if n.route in paths and n.server in known}
    for name in sorted(long, key=lambda n: (paths[n.route], n.kind, n.name, n.server)):
        text = _long(name, paths[name.route], proxy.spec.naming.max_length)
        tell(None, Type.NAME_TOO_LONG, Reason.NAME_TOO_LONG, text)
        tell_server(name.server, Type.NAME_TOO_LONG, Reason.NAME_TOO_LONG, text)
    return Notices(own.notices().get("", ()), routes.notices(), servers.notices())


def _of_claims(compiled: Compiled, tell: Tell, tell_server: Tell) -> None:
    """The loser's source has a condition of its own that does not hold; its server, and the winner's side, are told here."""
    for claim in compiled.claims:
        if claim.winner.source != claim.loser.source:
            tell(claim.winner.source, Type.CONFLICTED, claim.reason, claim.told_to_winner())
        tell_server(claim.winner.server, Type.CONFLICTED, claim.reason, claim.told_to_winner())
        if claim.loser.server != claim.winner.server:
            tell_server(claim.loser.server, Type.CONFLICTED, claim.reason, claim.told_to_loser())


def _of_conflict(
    conflict: Conflict, path: str, source: Callable[[str], str | None], tell: Tell, tell_server: Tell
) -> None:
    winner, loser = source(conflict.winner), source(conflict.loser)
    if winner != loser:
        tell(winner, Type.CONFLICTED, Reason.NAME_CONFLICT, also_offered(conflict, path))
    if loser is None:  # a route says so by its Accepted
        tell(None, Type.CONFLICTED, Reason.NAME_CONFLICT, hidden(conflict, path))
    tell_server(conflict.loser, Type.CONFLICTED, Reason.NAME_CONFLICT, hidden(conflict, path))
    if conflict.loser != conflict.winner:
        tell_server(conflict.winner, Type.CONFLICTED, Reason.NAME_CONFLICT, also_offered(conflict, path))


def hidden(conflict: Conflict, path: str) -> str:
    """What the loser of a name is told."""
    if conflict.winner == conflict.loser:
        return (
            f"{conflict.kind} {conflict.name!r} of McpServer {conflict.loser} stands twice at {path}, and only the first is"
            " served; rename one of the two"
        )
    return (
        f"{conflict.kind} {conflict.name!r} of McpServer {conflict.loser} is hidden at {path}: McpServer {conflict.winner}"
        " already has that name; give one of them a prefix"
    )


def also_offered(conflict: Conflict, path: str) -> str:
    """What the winner of a name is told."""
    return (
        f"{conflict.kind} {conflict.name!r} of McpServer {conflict.winner} at {path} hides that of McpServer"
        f" {conflict.loser}; give one of them a prefix"
    )


def _long(name: LongName, path: str, most: int) -> str:
    becomes = "is not served" if name.shown is None else f"is shown as {name.shown!r}"
    return f"{name.kind} {name.name!r} of McpServer {name.server} has over {most} characters and {becomes} at {path}"


def noted(found: Iterable[Notice]) -> list[Verdict]:
    """One condition of each type, from the notices of all proxies."""
    found = list(found)
    told = []
    for kind in KINDS:
        parts = [notice for notice in found if notice.type == kind]
        if parts:
            texts = list(dict.fromkeys(text for notice in parts for text in notice.texts))
            count = f"{plural(len(texts), 'name')}: " if kind is Type.NAME_TOO_LONG and len(texts) > 1 else ""
            told.append(Verdict(kind, "True", parts[0].reason, count + joined(texts)))
    return told


def noted_before(previous: Iterable[Condition]) -> list[Verdict]:
    """The notices that stand in a status, for as long as not everything is known anew."""
    return [Verdict(Type(c.type), c.status, c.reason, c.message) for c in previous if c.type in KINDS]
