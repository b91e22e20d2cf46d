"""An overview as text: tables that read as `kubectl get` does, and the tree. Pure."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final, Literal

from mcp_operator.api import meta
from mcp_operator.local.table import age, columns
from mcp_operator.overview.model import KINDS, Overview, Served, State, Tree, View

Colour = Literal["red", "green", "yellow", "cyan", "bold", "dim"]
Painter = Callable[[str, Colour | None], str]
COLOURS: Final[dict[State, Colour]] = {
    "Ready": "green",
    "NotReady": "red",
    "Unknown": "yellow",
    "Outdated": "yellow",
    "Deleting": "yellow",
}
_TITLES: Final = {meta.PROXY.kind: "McpProxies", meta.SERVER.kind: "McpServers", meta.ROUTE.kind: "McpRoutes"}
_SHORT: Final = 100


def tables(
    overview: Overview, paint: Painter, now: datetime, *, wide: bool = False, namespaces: bool = False
) -> Iterator[str]:
    """Lines of one table a kind, those of kinds without resources left out."""
    for kind in KINDS:
        views = overview.of(kind)
        if views:
            yield paint(_TITLES[kind], "bold")
            yield from _table(kind, views, paint, now, wide=wide, namespaces=namespaces)
            yield ""


def _table(
    kind: str, views: Sequence[View], paint: Painter, now: datetime, *, wide: bool, namespaces: bool
) -> Iterator[str]:
    shown = [column.name for column in columns(kind) if wide or not column.wide]
    heads = [*(["NAMESPACE"] if namespaces else []), "NAME", *(name.upper() for name in shown)]
    rows = [
        [
            *([view.key.namespace] if namespaces else []),
            view.key.name,
            *(
                age(view.created, now) if name == "Age" else _line_of(view.cells.get(name, ""), whole=True)
                for name in shown
            ),
        ]
        for view in views
    ]
    widths = [max(len(line[at]) for line in [heads, *rows]) for at in range(len(heads))]
    yield paint(_line(heads, widths), "dim")
    ready = heads.index("READY")
    for view, cells in zip(views, rows, strict=True):
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        padded[ready] = paint(padded[ready], COLOURS[view.state])
        yield "   ".join(padded).rstrip()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def trees(overview: Overview, paint: Painter, *, wide: bool = False, namespaces: bool = False) -> Iterator[str]:
    """Proxies, their paths, the servers on each, and under each what does not hold; then what is served nowhere."""
    for tree in overview.trees:
        yield from _tree(tree, paint, wide=wide, namespaces=namespaces)
    loose = [(view, "is on no proxy") for view in overview.unserved]
    loose += [(view, "is attached to no proxy") for view in overview.unattached]
    for view, what in loose:
        yield f"{view.key.kind} {_name(view, namespaces)} {paint(what, 'yellow')}   {_state(view, paint)}"
        yield from _conditions(view, "    ", paint, wide=wide)


def _tree(tree: Tree, paint: Painter, *, wide: bool, namespaces: bool) -> Iterator[str]:
    proxy = tree.proxy
    facts = [proxy.cells.get("URL", ""), _counted(proxy)]
    head = "   ".join(part for part in (_state(proxy, paint), *facts) if part)
    yield f"{paint(_name(proxy, namespaces), 'bold')}   {head}"
    yield from _conditions(proxy, "│   ", paint, wide=wide)
    branches = len(tree.paths) + len(tree.routes)
    for number, (path, entries) in enumerate(tree.paths.items(), 1):
        fork, rail = ("└── ", "    ") if number == branches else ("├── ", "│   ")
        yield f"{fork}{paint(path, 'cyan')}" + ("" if entries else f"   {paint('no server', 'yellow')}")
        yield from _entries(entries, proxy, rail, paint, wide=wide)
    for number, route in enumerate(tree.routes, len(tree.paths) + 1):
        fork, rail = ("└── ", "    ") if number == branches else ("├── ", "│   ")
        yield f"{fork}McpRoute {route.key.name}   {_state(route, paint)}"
        yield from _conditions(route, f"{rail}    ", paint, wide=wide)
    yield ""


def _entries(entries: Sequence[Served], proxy: View, rail: str, paint: Painter, *, wide: bool) -> Iterator[str]:
    names = [_name(e.server, e.server.key.namespace != proxy.key.namespace) for e in entries]
    prefixes = [f"{e.prefix}_*" if e.prefix else "*" for e in entries]
    widths = [max(map(len, texts), default=0) for texts in (names, prefixes)]
    for number, (served, name, prefix) in enumerate(zip(entries, names, prefixes, strict=True), 1):
        fork, deeper = ("└── ", "    ") if number == len(entries) else ("├── ", "│   ")
        facts = [_state(served.server, paint)]
        if served.server.state == "Ready":
            facts += [_tools(served.server), served.server.cells.get("Latency", "")]
        facts += [paint(f"McpRoute {served.route.partition('/')[2]}", "dim")] if served.route else []
        line = "   ".join(part for part in facts if part)
        yield f"{rail}{fork}{name.ljust(widths[0])}   {prefix.ljust(widths[1])}   {line}"
        yield from _conditions(served.server, f"{rail}{deeper}    ", paint, wide=wide)


def _conditions(view: View, indent: str, paint: Painter, *, wide: bool) -> Iterator[str]:
    """What does not hold and why; with `wide` everything, and messages whole."""
    if not wide and view.state == "Ready":
        return
    shown = view.conditions if wide else view.amiss
    for condition in shown:
        colour = _colour(condition.type, condition.status)
        message = _line_of(condition.message, whole=wide)
        yield f"{indent}{paint(f'{condition.type}={condition.status}', colour)} {condition.reason}: {message}"
    if not shown and view.state != "Ready":
        yield f"{indent}{view.reason}: {_line_of(view.message, whole=wide)}"


def _colour(kind: str, status: str) -> Colour:
    if status == "Unknown":
        return "yellow"
    if kind == "Stalled":
        return "red"
    if kind == "Reconciling":
        return "yellow"
    return "green" if status == "True" else "red"


def _state(view: View, paint: Painter) -> str:
    text = "Ready" if view.state == "Ready" else view.reason if view.state == "NotReady" else view.state
    return paint(text, COLOURS[view.state])


def _tools(view: View) -> str:
    count = view.cells.get("Tools", "")
    return f"{count} tool{'' if count == '1' else 's'}" if count else ""


def _counted(proxy: View) -> str:
    cells = proxy.cells
    parts = [_tools(proxy), f"{cells['Replicas']} replicas" if cells.get("Replicas") else ""]
    return ", ".join(part for part in parts if part)


def _name(view: View, with_namespace: bool) -> str:
    return f"{view.key.namespace}/{view.key.name}" if with_namespace else view.key.name


def _line_of(message: str, *, whole: bool) -> str:
    """A message on one line, and without what a terminal would obey: some are the words of others."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(message.split()))
    return line if whole or len(line) <= _SHORT else f"{line[: _SHORT - 1]}…"
