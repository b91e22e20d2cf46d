"""What one route says that it can: what the servers behind it can, at the moment that it is asked."""

from collections.abc import Iterable
from typing import Any, Final

from mcp.server.lowlevel.server import Server
from mcp_types import ServerCapabilities

from mcp_operator_proxy.auth import CALLER
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.eras.capabilities import TASKS
from mcp_operator_proxy.subscriptions import Sources

UI: Final = "io.modelcontextprotocol/ui"
PASSED_ON: Final = frozenset({TASKS, UI})
"""Extensions that need nothing, or no more than the proxy gives, from a gateway between client and server."""


def declare(server: "Server[Any]", route: Sources) -> None:
    """Let `server` declare the capabilities of the servers of `route`.

    Tools, prompts, resources and logging are always there: what is behind them may come with a swap, of which the client
    is told, while a capability is said once.
    """
    own = server.get_capabilities

    def capabilities(*args: Any, **options: Any) -> ServerCapabilities:
        return narrow(own(*args, **options), route.catalogues(CALLER.get()))

    server.get_capabilities = capabilities  # type: ignore[method-assign]


def narrow(declared: ServerCapabilities, offered: Iterable[Catalogue]) -> ServerCapabilities:
    """`declared` without what nothing of `offered` can. Pure."""
    offered = list(offered)
    resources = declared.resources
    if resources is not None and not any(catalogue.subscribe for catalogue in offered):
        resources = resources.model_copy(update={"subscribe": False})
    named = frozenset[str]().union(*(catalogue.extensions for catalogue in offered))
    extensions: dict[str, dict[str, Any]] = {name: {} for name in sorted(PASSED_ON & named)}
    return declared.model_copy(
        update={
            "resources": resources,
            "completions": declared.completions if any(catalogue.completions for catalogue in offered) else None,
            "extensions": extensions or None,
        }
    )
