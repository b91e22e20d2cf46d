"""What a backend offers: its whole lists, in the wire form that it sent, all pages of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, ServerCapabilities

from mcp_operator_proxy.eras.freshness import Freshness, freshness_of, least

JsonObject: TypeAlias = Mapping[str, Any]
MAX_PAGES: Final = 1000
_KEYS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


class Source(Protocol):
    """A session with a server that has negotiated."""

    @property
    def capabilities(self) -> ServerCapabilities: ...

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result as the server sent it, validated against the negotiated protocol version."""
        ...


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
    placeholder: bool = False
    """No server has sent it: the proxy made it up itself, so that it needs nobody's approval."""
    freshness: Mapping[str, Freshness] = field(default_factory=dict)
    """What it says of its lists, by method; those that it does not have are left out."""

    def lists(self) -> Mapping[str, tuple[JsonObject, ...]]:
        """By method."""
        return {
            "tools/list": self.tools,
            "prompts/list": self.prompts,
            "resources/list": self.resources,
            "resources/templates/list": self.resource_templates,
        }


async def list_catalogue(source: Source, before: Catalogue | None = None) -> Catalogue:
    """List everything that the server says it has.

    A server may declare lists that it does not have, and then knows no such method. One that had entries `before` is taken
    to be out of order instead.

    Raises:
        MCPError: the server answered with an error.
        pydantic.ValidationError: an answer breaks the schema of the negotiated protocol version.
        EndlessList: a cursor came twice, or there are more than `MAX_PAGES` pages.
    """
    capabilities = source.capabilities
    offered = {
        "tools/list": capabilities.tools,
        "prompts/list": capabilities.prompts,
        "resources/list": capabilities.resources,
        "resources/templates/list": capabilities.resources,
    }
    had = {} if before is None else before.lists()
    found = {
        method: await _pages(source, method, optional=not had.get(method)) for method, offer in offered.items() if offer
    }
    lists = {method: items for method, (items, _) in found.items()}
    return Catalogue(
        tools=lists.get("tools/list", ()),
        prompts=lists.get("prompts/list", ()),
        resources=lists.get("resources/list", ()),
        resource_templates=lists.get("resources/templates/list", ()),
        completions=capabilities.completions is not None,
        subscribe=bool(capabilities.resources and capabilities.resources.subscribe),
        extensions=frozenset(capabilities.extensions or ()),
        freshness={method: said for method, (_, said) in found.items() if said is not None},
    )


async def _pages(source: Source, method: str, *, optional: bool) -> tuple[tuple[JsonObject, ...], Freshness | None]:
    """The entries, and how long they are good for; None where the server has no such list."""
    key = _KEYS[method]
    items: list[JsonObject] = []
    said: list[Freshness] = []
    cursors: set[str] = set()
    cursor: str | None = None
    while True:
        params = {"cursor": cursor} if cursor is not None else {}
        try:
            page = await source.ask(method, params)
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND and optional and not cursors:
                return (), None
            raise
        items.extend(page.get(key, ()))
        said.append(freshness_of(page))
        cursor = page.get("nextCursor")
        if not cursor:
            return tuple(items), least(said)
        if cursor in cursors or len(cursors) >= MAX_PAGES:
            raise EndlessList(f"{method} does not end: the server's cursors repeat")
        cursors.add(cursor)
