"""`tools` and `tool`: what a route shows to the caller, and what holds when he calls it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from mcp_operator_proxy.inspector.asking import Look, Looking
from mcp_operator_proxy.inspector.models import (
    OwnTool,
    ToolDetail,
    ToolItem,
    ToolPolicy,
    ToolRateLimit,
    Tools,
)
from mcp_operator_proxy.pinning.definition import TooDeep, tool_digest
from mcp_operator_proxy.policy import explained
from mcp_operator_proxy.registry.listing import category
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.problems import ProblemError
from mcp_operator_proxy.services.windows import Rule
from mcp_operator_proxy.table import Entry, RouteTable

router = APIRouter()


@router.get("/tools")
async def tools(  # noqa: PLR0917 - a query
    look: Look,
    route: Annotated[str | None, Query(max_length=256)] = None,
    q: Annotated[str, Query(max_length=2000)] = "",
    server: Annotated[str | None, Query(max_length=316)] = None,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=2000)] = 100,
) -> Tools:
    """What the caller may call, in the order of the routes; with `q` what has all its words, and names before descriptions."""
    path = look.route_path(route) if route is not None else None
    tables = await look.tables(path)
    found = [
        (table, name, entry)
        for table in tables.values()
        for name, entry in table.tools.items()
        if server is None or entry.server == server
    ]
    if words := q.lower().split():
        found = _matching(found, words)
    ids = look.proxy.services.registry.ids(look.principal, look.own_user)
    up = {key: backend.available for key, backend in look.state.backends.items()}
    shown = [_item(look, table, name, entry, ids, up) for table, name, entry in found[offset : offset + limit]]
    return Tools(total=len(found), items=shown)


@router.get("/tool")
async def tool(
    look: Look, route: Annotated[str, Query(max_length=256)], name: Annotated[str, Query(max_length=1024)]
) -> ToolDetail:
    """One of them. An operator is shown also what policies keep from him."""
    path = look.route_path(route)
    shown = (await look.tables(path))[path]
    table = look.proxy.table(path, look.principal) if look.is_operator else shown
    entry = table.tools.get(name)
    if entry is None:
        raise ProblemError(problems.UNKNOWN_TOOL, "the route shows no such tool to this caller")
    own = _own(look, entry)
    return ToolDetail(
        route=path,
        name=name,
        tool_id=look.proxy.services.registry.ids(look.principal, look.own_user).get((entry.server, entry.name)),
        server=entry.server,
        definition=dict(entry.definition),
        own=OwnTool(name=entry.name, definition=dict(own)) if own is not None and own != entry.definition else None,
        policy=_policy(look, path, name, entry, own),
    )


def _matching(
    found: Sequence[tuple[RouteTable, str, Entry]], words: Sequence[str]
) -> list[tuple[RouteTable, str, Entry]]:
    """Those that have all the words: in the name first, then anywhere."""

    def rank(name: str, entry: Entry) -> int | None:
        if all(word in name.lower() for word in words):
            return 0
        definition = entry.definition
        text = f"{name} {definition.get('title', '')} {definition.get('description', '')} {entry.server}".lower()
        return 1 if all(word in text for word in words) else None

    ranked = [(rank(name, entry), (table, name, entry)) for table, name, entry in found]
    return [one for wanted in (0, 1) for place, one in ranked if place == wanted]


def _item(  # noqa: PLR0917
    look: Looking,
    table: RouteTable,
    name: str,
    entry: Entry,
    ids: Mapping[tuple[str, str], str],
    up: Mapping[str, bool],
) -> ToolItem:
    definition = entry.definition
    annotations = definition.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    title = definition.get("title") or annotations.get("title")
    said = category(look.server_of(entry.server), entry.name, definition)
    return ToolItem(
        route=table.path,
        name=name,
        tool_id=ids.get((entry.server, entry.name)),
        server=entry.server,
        title=title if isinstance(title, str) else "",
        description=_text(definition.get("description")),
        category=said,
        annotations=annotations,
        available=up.get(entry.server, True),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _own(look: Looking, entry: Entry) -> Mapping[str, Any] | None:
    """The definition as its server gives it."""
    backend = look.state.backends.get(entry.server)
    if backend is None and entry.server in look.state.personal:
        backend = look.proxy.services.users.instances.held(entry.server, look.own_user)
    known = backend.catalogue.tools if backend is not None else ()
    return next((definition for definition in known if definition.get("name") == entry.name), None)


def _policy(look: Looking, path: str, name: str, entry: Entry, own: Mapping[str, Any] | None) -> ToolPolicy:
    allowed, reason, decided_by = explained(look.state.policy, look.principal, path, name, entry)
    server = look.server_of(entry.server)
    return ToolPolicy(
        allowed=allowed,
        reason=reason,
        decided_by=decided_by,
        rate_limits=list(_limits(look, entry)),
        timeout_seconds=entry.timeout,
        cache_seconds=entry.cache_seconds,
        idempotent=entry.idempotent,
        pinning=server.pinning if server is not None else "off",
        approved=_approved(look, entry, own),
    )


def _limits(look: Looking, entry: Entry) -> Iterator[ToolRateLimit]:
    for limit in look.state.config.rate_limits:
        if Rule(limit).matches(entry.name, entry.server):
            yield ToolRateLimit(name=limit.name, limit=limit.limit, per=list(limit.per))


def _approved(look: Looking, entry: Entry, own: Mapping[str, Any] | None) -> bool | None:
    server = look.server_of(entry.server)
    if server is None or server.pinning == "off" or own is None:
        return None
    try:
        digest = tool_digest(own)
    except TooDeep:
        return False
    return any(pin.tool == entry.name and pin.digest == digest for pin in server.pins)
