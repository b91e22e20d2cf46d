"""Where an object lives in the API: pure functions from names to URL paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API server names it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The collection (of `namespace`, or of all), or the object `name` in it."""
        return object_path(self.api_version, self.plural, namespace, name)


BUILT_IN: Final[dict[tuple[str, str], Resource]] = {
    (resource.api_version, resource.kind): resource
    for resource in (
        Resource("v1", "ConfigMap", "configmaps"),
        Resource("v1", "Event", "events"),
        Resource("v1", "Namespace", "namespaces", namespaced=False),
        Resource("v1", "Node", "nodes", namespaced=False),
        Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Resource("v1", "Pod", "pods"),
        Resource("v1", "Secret", "secrets"),
        Resource("v1", "Service", "services"),
        Resource("v1", "ServiceAccount", "serviceaccounts"),
        Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False),
        Resource("apps/v1", "Deployment", "deployments"),
        Resource("apps/v1", "ReplicaSet", "replicasets"),
        Resource("apps/v1", "StatefulSet", "statefulsets"),
        Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        Resource("batch/v1", "Job", "jobs"),
        Resource("coordination.k8s.io/v1", "Lease", "leases"),
        Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
        Resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
        Resource("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
        Resource("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
        Resource("networking.k8s.io/v1", "Ingress", "ingresses"),
        Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        Resource("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
        Resource("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
        Resource("rbac.authorization.k8s.io/v1", "Role", "roles"),
        Resource("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    )
}


def built_in(kind: str) -> Resource:
    """The built-in resource of that kind. `KeyError` if there is none."""
    for resource in BUILT_IN.values():
        if resource.kind == kind:
            return resource
    raise KeyError(kind)


def object_path(api_version: str, plural: str, namespace: str | None = None, name: str | None = None) -> str:
    """`("apps/v1", "deployments", "a", "b")` → `/apis/apps/v1/namespaces/a/deployments/b`. Without `name`: the collection."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    scope = f"/namespaces/{_segment(namespace)}" if namespace else ""
    leaf = f"/{_segment(name)}" if name is not None else ""
    return f"{root}{scope}/{plural}{leaf}"


def path_of(body: Mapping[str, Any], plurals: Mapping[str, str] | None = None) -> str:
    """The path of an object, from its `apiVersion`, `kind` and `metadata`.

    `plurals` names the (namespaced) custom kinds: `{"McpServer": "mcpservers"}`. `ValueError` for an unknown kind, a missing
    name, or a namespaced object without a namespace.
    """
    api_version, kind = body["apiVersion"], body["kind"]
    resource = BUILT_IN.get((api_version, kind))
    if resource is None:
        plural = (plurals or {}).get(kind)
        if plural is None:
            raise ValueError(f"no path is known for {api_version} {kind}")
        resource = Resource(api_version, kind, plural)
    metadata = body["metadata"]
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name:
        raise ValueError(f"{kind} without a name")
    if resource.namespaced and not namespace:
        raise ValueError(f"{kind} {name} without a namespace")
    return resource.path(namespace if resource.namespaced else None, name)


def _segment(text: str) -> str:
    if text in {"", ".", ".."}:
        raise ValueError(f"{text!r} names no object")
    return quote(text, safe="")
