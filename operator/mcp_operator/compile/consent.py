"""Whether a server lets routes of another namespace bring it to their proxies (`spec.allowedRoutes`). Pure.

As in the Gateway API, where a ReferenceGrant or a listener's `allowedRoutes` is the consent of who is referred to.
"""

from collections.abc import Mapping
from typing import Final

from mcp_operator.api.common import LabelSelector
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.problems import Problem

Labels = Mapping[str, str] | None
"""Labels of a namespace; None where they can't be read."""

NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server gives it to every Namespace, so it is known where nothing can be read (KEP-2161)."""


def allows(server: McpServer, namespace: str, labels: Labels) -> bool:
    """Whether routes of `namespace`, with its `labels`, may bring the server."""
    if server.metadata.namespace == namespace:
        return True
    consent = server.spec.allowed_routes.namespaces
    match consent.from_:
        case "All":
            return True
        case "Same":
            return False
        case "Selector":
            assert consent.selector is not None
            if undecided(server, labels):
                return False
            return consent.selector.matches({**(labels or {}), NAME_LABEL: namespace})


def undecided(server: McpServer, labels: Labels) -> bool:
    """Whether the server's consent hangs on labels that can't be read."""
    selector = server.spec.allowed_routes.namespaces.selector
    return labels is None and selector is not None and not _by_name_alone(selector)


def consent_problem(server: McpServer) -> Problem | None:
    """What to tell of a consent that hangs on labels which can't be read."""
    if not undecided(server, None):
        return None
    return Problem(
        "UnsupportedValue",
        "spec.allowedRoutes.namespaces.selector: the operator watches only some namespaces and can't read their labels; ask for"
        f" {NAME_LABEL} alone, or use from: Same or All",
    )


def _by_name_alone(selector: LabelSelector) -> bool:
    keys = {*selector.match_labels, *(requirement.key for requirement in selector.match_expressions)}
    return keys <= {NAME_LABEL}
