"""The store, read as models: what reconcilers know of the cluster."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from mcp_operator.api import meta
from mcp_operator.api.resources import InvalidResource, McpProxy, McpRoute, McpServer, Resource, parse, parse_again
from mcp_operator.compile.candidates import Wanted, wanted_by_proxy, wanted_by_route
from mcp_operator.compile.lookup import DataId, DataKind, DataObject
from mcp_operator.compile.references import references
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object, Store, is_controlled_by
from mcp_operator.kube.client import KubeClient
from mcp_operator.reconcile.likeness import Likeness
from mcp_operator.reconcile.references import References

CHILD_KINDS: Final = (
    "Deployment",
    "Service",
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Ingress",
    "HTTPRoute",
    "ServiceMonitor",
    "PodMonitor",
)
INDEXED_LABELS: Final = (meta.LABEL_SERVER, meta.LABEL_PROXY)
LABELLED: Final = (meta.SERVER.kind,)
"""Kinds that are found by any label: selectors ask for them."""

R = TypeVar("R", McpServer, McpProxy, McpRoute)


class World:
    """Typed views of the store. Models are parsed once a version.

    The store holds the Secrets and ConfigMaps that are the operator's own; those of others that resources refer to are read
    by `references`.
    """

    def __init__(self, store: Store, kube: KubeClient, *, reads_namespaces: bool = True) -> None:
        self.store = store
        self.reads_namespaces = reads_namespaces
        """Whether the store knows the cluster's Namespaces, which an operator of some namespaces may not read."""
        self._models: dict[Key, tuple[str, Resource | InvalidResource]] = {}
        self.references = References(kube)
        self.likeness = Likeness()
        self._foreign: dict[Key, frozenset[str]] = {}

    def model(self, key: Key) -> Resource | InvalidResource | None:
        """The resource, or why its body can't be read, or None when it is gone."""
        body = self.store.get(key)
        if body is None:
            self._models.pop(key, None)
            self.references.note(key, ())
            self._foreign.pop(key, None)
            return None
        version = body["metadata"].get("resourceVersion", "")
        known = self._models.get(key)
        if known is None or known[0] != version:
            known = (version, _parsed(body, known[1] if known else None))
            self._models[key] = known
            self.references.note(key, referred(known[1]))
            self._note_namespaces(key, known[1])
        return known[1]

    def observe(self, kind: str, applied: Object) -> None:
        """Take what the operator itself has written: resources may refer to its Secrets too."""
        self.store.observe(kind, applied)
        metadata = applied["metadata"]
        if kind in {"Secret", "ConfigMap"}:
            reference = cast("DataKind", kind), metadata["namespace"], metadata["name"]
            self.references.seen(reference, metadata.get("resourceVersion"))

    def referrers(self, reference: DataId) -> frozenset[Key]:
        """Resources that refer to a Secret or ConfigMap, as far as they were read."""
        return self.references.referrers(reference)

    def servers(self, namespace: str) -> list[McpServer]:
        return self._all(meta.SERVER.kind, namespace, McpServer)

    def proxies(self, namespace: str) -> list[McpProxy]:
        return self._all(meta.PROXY.kind, namespace, McpProxy)

    def routes(self, namespace: str) -> list[McpRoute]:
        return self._all(meta.ROUTE.kind, namespace, McpRoute)

    def namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        """Labels of a namespace; None where they can't be read."""
        if not self.reads_namespaces:
            return None
        body = self.store.get(Key("Namespace", "", namespace)) or {}
        return (body.get("metadata") or {}).get("labels") or {}

    def routes_into(self, namespace: str) -> list[McpRoute]:
        """Routes of other namespaces that bring servers of this one; whoever fills the store has each read at once."""
        return self._routes(key for key, named in self._foreign.items() if namespace in named)

    def routes_out_of(self, namespace: str) -> list[McpRoute]:
        """Routes of this namespace that bring servers of others; the same holds."""
        return self._routes(key for key in self._foreign if key.namespace == namespace)

    def candidates(self, proxy: McpProxy, routes: Iterable[McpRoute]) -> list[McpServer]:
        """Servers that the proxy or one of its routes refers to: those that have a say in what it serves."""
        keys = {key for wanted in wanted_by_proxy(proxy, routes) for key in self._meant(wanted)}
        found = (self.model(key) for key in keys)
        return [server for server in found if isinstance(server, McpServer)]

    def concerned(self, server: Object) -> Iterator[Key]:
        """Proxies that a server of these names and labels has a say in, directly or by a route."""
        metadata = server["metadata"]
        named = (metadata["namespace"], metadata["name"], metadata.get("labels") or {})
        for proxy in self.proxies(metadata["namespace"]):
            if any(wanted.includes(*named) for wanted in wanted_by_proxy(proxy, ())):
                yield Key(proxy.kind, proxy.metadata.namespace, proxy.metadata.name)
        for route in (*self.routes(metadata["namespace"]), *self.routes_into(metadata["namespace"])):
            if any(wanted.includes(*named) for wanted in wanted_by_route(route)):
                for parent in route.spec.parent_refs:
                    yield Key(meta.PROXY.kind, route.metadata.namespace, parent.name)

    def proxies_of(self, server: Key) -> set[Key]:
        """Those that there are, readable or not, in which the server has a say."""
        body = self.store.get(server)
        concerned = self.concerned(body) if body is not None else ()
        return {proxy for proxy in concerned if self.store.get(proxy) is not None}

    def children(self, uid: str) -> dict[Key, Object]:
        """Objects that the resource with this uid controls and that carry the operator's label."""
        owned = {key: body for kind in CHILD_KINDS for key, body in self.store.owned_by(uid, kind).items()}
        return {key: body for key, body in owned.items() if is_controlled_by(body, uid) and is_managed(body)}

    def pods(self, owner: McpServer | McpProxy) -> list[Object]:
        """Pods of a hosted server or of a proxy, oldest first, without those that are ending or have ended (evicted)."""
        label = meta.LABEL_SERVER if isinstance(owner, McpServer) else meta.LABEL_PROXY
        pods = self.store.by_label("Pod", label, owner.metadata.name, owner.metadata.namespace)
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp") and not _has_ended(pod)]
        return sorted(alive, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))

    async def data(self, servers: Iterable[McpServer | McpProxy]) -> dict[DataId, DataObject]:
        """Content of every Secret and ConfigMap that they refer to; what does not exist is left out."""
        return await self.references.contents(reference for server in servers for reference in references(server))

    def _note_namespaces(self, key: Key, resource: Resource | InvalidResource) -> None:
        named = resource.spec.servers if isinstance(resource, McpRoute) else ()
        foreign = frozenset(item.namespace for item in named if item.namespace not in {None, key.namespace})
        if foreign:
            self._foreign[key] = foreign
        else:
            self._foreign.pop(key, None)

    def _routes(self, keys: Iterable[Key]) -> list[McpRoute]:
        found = (self.model(key) for key in [*keys])
        return [route for route in found if isinstance(route, McpRoute)]

    def _meant(self, wanted: Wanted) -> Iterator[Key]:
        kind, selector = meta.SERVER.kind, wanted.selector
        if selector is None:
            yield Key(kind, wanted.namespace, wanted.name or "")
            return
        for body in self.store.matching(kind, wanted.namespace, selector.match_labels):
            if selector.matches(body["metadata"].get("labels") or {}):
                yield Key.of(kind, body)

    def _all(self, kind: str, namespace: str, model: type[R]) -> list[R]:
        found = (self.model(Key.of(kind, body)) for body in self.store.list(kind, namespace))
        return [resource for resource in found if isinstance(resource, model)]


def referred(resource: Resource | InvalidResource) -> Iterable[DataId]:
    """Every Secret and ConfigMap whose change concerns the resource."""
    return references(resource) if isinstance(resource, McpServer | McpProxy) else ()


def slimmed(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the store keeps of a watched object: of foreign Secrets and ConfigMaps only which they are, of Namespaces the labels.

    Their annotations may hold the content too (`kubectl.kubernetes.io/last-applied-configuration`).
    """
    if body.get("kind") in {"Secret", "ConfigMap"} and not is_managed(body):
        metadata = {key: value for key, value in body["metadata"].items() if key != "annotations"}
        kept = {key: value for key, value in body.items() if key not in {"data", "binaryData", "stringData"}}
        return {**kept, "metadata": metadata}
    if body.get("kind") == "Namespace":
        kept = {
            key: body["metadata"][key]
            for key in ("name", "uid", "resourceVersion", "labels")
            if key in body["metadata"]
        }
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": kept}
    return body


def _has_ended(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def is_managed(body: Mapping[str, Any]) -> bool:
    """Whether the object carries the operator's label."""
    return (body["metadata"].get("labels") or {}).get(meta.LABEL_MANAGED_BY) == meta.MANAGED_BY


def _parsed(body: Object, known: Resource | InvalidResource | None) -> Resource | InvalidResource:
    try:
        return parse_again(known, body) if isinstance(known, McpServer | McpProxy | McpRoute) else parse(body)
    except InvalidResource as problem:
        return problem
