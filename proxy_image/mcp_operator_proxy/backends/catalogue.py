"""What a backend offers: its whole lists, in the wire form that it sent, all pages of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, Request
from pydantic import TypeAdapter

from mcp_operator_proxy.backends.connect import Connected

JsonObject: TypeAlias = Mapping[str, Any]
RAW: Final[TypeAdapter[Any]] = TypeAdapter(dict[str, Any])
"""Takes a result as the JSON object that it is; the session has validated it against the negotiated protocol version."""
MAX_PAGES: Final = 1000


class EndlessList(RuntimeError):
    """The server's pagination does not end."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The lists of one backend. Compared by value, so that an unchanged one changes nothing."""

    tools: tuple[JsonObject, ...] = ()
    prompts: tuple[JsonObject, ...] = ()
    resources: tuple[JsonObject, ...] = ()
    resource_templates: tuple[JsonObject, ...] = ()
    completions: bool = False
    """The server completes arguments (`completion/complete`)."""
    subscribe: bool = False
    """The server tells of changed resources."""
    extensions: frozenset[str] = frozenset()
    """Names of the extensions that it declares (SEP-2133)."""


async def list_catalogue(connected: Connected) -> Catalogue:
    """List everything that the server says it has.

    Raises:
        MCPError: the server answered with an error.
        pydantic.ValidationError: an answer breaks the schema of the negotiated protocol version.
        EndlessList: a cursor came twice, or there are more than `MAX_PAGES` pages.
    """
    session, capabilities = connected.session, connected.capabilities
    return Catalogue(
        tools=await _pages(session, "tools/list", "tools") if capabilities.tools else (),
        prompts=await _pages(session, "prompts/list", "prompts") if capabilities.prompts else (),
        resources=await _pages(session, "resources/list", "resources") if capabilities.resources else (),
        resource_templates=await _pages(session, "resources/templates/list", "resourceTemplates")
        if capabilities.resources
        else (),
        completions=capabilities.completions is not None,
        subscribe=bool(capabilities.resources and capabilities.resources.subscribe),
        extensions=frozenset(capabilities.extensions or ()),
    )


async def _pages(session: ClientSession, method: str, key: str) -> tuple[JsonObject, ...]:
    items: list[JsonObject] = []
    cursors: set[str] = set()
    cursor: str | None = None
    while True:
        params = {"cursor": cursor} if cursor is not None else {}
        try:
            page = await session.send_request(Request[dict[str, Any], str](method=method, params=params), RAW)
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND and not items:
                return ()
            raise
        items.extend(page.get(key, ()))
        cursor = page.get("nextCursor")
        if not cursor:
            return tuple(items)
        if cursor in cursors or len(cursors) >= MAX_PAGES:
            raise EndlessList(f"{method} does not end: the server's cursors repeat")
        cursors.add(cursor)
