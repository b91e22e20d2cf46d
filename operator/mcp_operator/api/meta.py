"""The names everything shares: API group, kinds, labels, annotations, limits."""

from dataclasses import dataclass
from typing import Final

GROUP: Final = "mcp-operator.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "mcp"

FIELD_MANAGER: Final = "mcp-operator"
STATUS_FIELD_MANAGER: Final = "mcp-operator-status"
REPLICAS_FIELD_MANAGER: Final = "mcp-operator-replicas"
"""Keeps a Deployment's number of pods as it is when it is no longer the operator's to set."""

NAME_MAX_LENGTH: Final = 52
"""Longest name of a resource that has a Service: its children append a suffix and must stay DNS labels (63)."""

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_SERVER: Final = f"{GROUP}/server"
LABEL_PROXY: Final = f"{GROUP}/proxy"
MANAGED_BY: Final = "mcp-operator"

ANNOTATION_APPLIED_HASH: Final = f"{GROUP}/applied-hash"
"""Hash of the object as the operator last applied it: catches a field that the operator stopped setting."""
ANNOTATION_REVISION: Final = f"{GROUP}/config-revision"
"""On a proxy's ConfigMap and pods: patching it on a pod makes the kubelet sync the mounted files at once."""
ANNOTATION_RESTARTED_AT: Final = f"{GROUP}/restarted-at"
"""On a hosted server's pod template: when the operator last ordered a restart; a new time rolls the pods."""
ANNOTATION_ENVIRONMENT: Final = f"{GROUP}/environment"
"""On a hosted server's pod template: digest of the Secrets and ConfigMaps in its environment; a new one rolls the pods."""
ANNOTATION_FILES: Final = f"{GROUP}/files"
"""On a hosted server's pods: digest of its files; patching it makes the kubelet renew the mounted files at once."""
ANNOTATION_RESET_RESTARTS: Final = f"{GROUP}/reset-restarts"
"""On a hosted McpServer: each new value starts the count of its restarts anew, so that the operator tries again."""
ANNOTATION_APPROVE: Final = f"{GROUP}/approve"
"""On an McpServer with pinned definitions: digests to approve, or `all`. The operator takes it away once that is recorded."""
ANNOTATION_PAUSED: Final = f"{GROUP}/paused"
"""On an McpServer or McpProxy: `"true"` makes the operator leave its children as they are; it still probes and tells."""

CATEGORY_KEY: Final = f"{GROUP}/category"
"""Annotation or label of an McpServer: the category of its tools, where the spec says none."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource kind, as the API server names it."""

    kind: str
    plural: str
    short_name: str

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{GROUP}"

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """API path of the collection (of a namespace, or of all) or of one object."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        leaf = f"/{name}" if name else ""
        return f"/apis/{API_VERSION}{scope}/{self.plural}{leaf}"


SERVER: Final = Kind("McpServer", "mcpservers", "mcps")
PROXY: Final = Kind("McpProxy", "mcpproxies", "mcpp")
ROUTE: Final = Kind("McpRoute", "mcproutes", "mcpr")
KINDS: Final = (SERVER, PROXY, ROUTE)
