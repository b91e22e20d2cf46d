"""Which servers can have a say in what a proxy serves, told from routes and selectors alone. Pure.

Everything else may come, go and change without a look at the proxy: so the cost of a change does not grow with the number of
servers that have nothing to do with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mcp_operator.api.common import LabelSelector
from mcp_operator.api.resources import McpProxy, McpRoute
from mcp_operator.compile.selection import attached_routes


@dataclass(frozen=True, slots=True)
class Wanted:
    """Servers of one namespace: a name, or a selector, as a route or a proxy refers to them."""

    namespace: str
    name: str | None = None
    selector: LabelSelector | None = None

    def includes(self, namespace: str, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a server of these names and labels is meant."""
        if namespace != self.namespace:
            return False
        return name == self.name if self.selector is None else self.selector.matches(labels)


def wanted_by_route(route: McpRoute) -> Iterator[Wanted]:
    """What one route refers to."""
    for reference in route.spec.servers:
        yield Wanted(reference.namespace or route.metadata.namespace, reference.name, reference.selector)


def wanted_by_proxy(proxy: McpProxy, routes: Iterable[McpRoute]) -> Iterator[Wanted]:
    """What the proxy itself and the routes that are attached to it refer to."""
    if proxy.spec.servers.selector is not None:
        yield Wanted(proxy.metadata.namespace, selector=proxy.spec.servers.selector)
    for route in attached_routes(proxy, routes):
        yield from wanted_by_route(route)
