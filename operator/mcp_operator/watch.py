"""The watch streams: the only kopf handlers. They remember and enqueue, nothing else.

kopf never retries an event handler and tells of no deletion that happened during a relist; so whatever is lost here is
found by the resync, and whatever fails later is retried by the queue.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import kopf

from mcp_operator.api import meta

Sink = Callable[[str, str | None, Mapping[str, Any]], None]
"""Takes the kind, the event's type (ADDED, MODIFIED, DELETED, or None for the first listing) and the object."""

CHILD_SELECTOR: Final = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"

WATCHED: Final[Mapping[str, tuple[str, str, str]]] = {
    **{kind.kind: (meta.GROUP, meta.VERSION, kind.plural) for kind in meta.KINDS},
    "Deployment": ("apps", "v1", "deployments"),
    "Service": ("", "v1", "services"),
    "ServiceAccount": ("", "v1", "serviceaccounts"),
    "Pod": ("", "v1", "pods"),
    "ConfigMap": ("", "v1", "configmaps"),
    "Secret": ("", "v1", "secrets"),
    "HorizontalPodAutoscaler": ("autoscaling", "v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
    "Ingress": ("networking.k8s.io", "v1", "ingresses"),
    "HTTPRoute": ("gateway.networking.k8s.io", "v1", "httproutes"),
    "ServiceMonitor": ("monitoring.coreos.com", "v1", "servicemonitors"),
    "PodMonitor": ("monitoring.coreos.com", "v1", "podmonitors"),
}
"""Every watched kind of a namespace as group, version, plural."""
CLUSTER_SCOPED: Final[Mapping[str, tuple[str, str, str]]] = {"Namespace": ("", "v1", "namespaces")}
"""Watched only where the whole cluster is: labels of namespaces decide consents (`spec.allowedRoutes` of an McpServer)."""


def watched(*, clusterwide: bool) -> Mapping[str, tuple[str, str, str]]:
    """Every watched kind as group, version, plural."""
    return {**WATCHED, **CLUSTER_SCOPED} if clusterwide else WATCHED


OPTIONAL: Final = frozenset({"HTTPRoute", "ServiceMonitor", "PodMonitor"})
"""Kinds that a cluster may lack: those of CRDs that other projects bring."""
LABELLED: Final = frozenset(WATCHED) - {kind.kind for kind in meta.KINDS}
"""Kinds of which only the operator's own objects are watched. Secrets and ConfigMaps that resources refer to: `reconcile.datawatch`."""


def registry(sink: Sink, *, clusterwide: bool = True) -> kopf.OperatorRegistry:
    """Handlers that give every event of every watched kind to `sink`."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(id="login", registry=handlers)(_login)
    for kind, (group, version, plural) in watched(clusterwide=clusterwide).items():
        _register(handlers, sink, kind, (group, version, plural))
    return handlers


def _register(handlers: kopf.OperatorRegistry, sink: Sink, kind: str, resource: tuple[str, str, str]) -> None:
    group, version, plural = resource
    identity = {"apiVersion": f"{group}/{version}" if group else version, "kind": kind}

    async def observe(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        sink(kind, event["type"], {**identity, **body})

    kopf.on.event(group=group, version=version, plural=plural, id=f"observe-{plural}", registry=handlers)(observe)


async def _login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """In a pod the service account's token, read anew whenever it is refused; elsewhere whatever the kubeconfig says."""
    return kopf.login_with_service_account(**arguments) or await asyncio.to_thread(kopf.login_via_client, **arguments)


def settings(*, clusterwide: bool = False) -> kopf.OperatorSettings:
    """kopf as a source of events: no peering, no posting, no storage in the objects.

    Only where the whole cluster is watched may it follow CRDs, and so notices when an optional kind comes or goes; elsewhere it
    watches the kinds that there are when it starts.
    """
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = not clusterwide
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.watching.server_timeout = 240
    chosen.watching.client_timeout = 300
    chosen.watching.connect_timeout = 30
    chosen.networking.connect_timeout = 30
    chosen.networking.error_backoffs = _Endless(1, 2, 3, 5, 8, 13, 21, 30)
    for kind in LABELLED:
        group, version, plural = WATCHED[kind]
        chosen.watching.label_selectors[group, version, plural] = CHILD_SELECTOR
    return chosen


class _Endless:
    """Delays in seconds that never run out: an API server that is away for an hour is no reason to exit."""

    def __init__(self, *delays: float) -> None:
        self._delays = delays

    def __iter__(self) -> Iterator[float]:
        yield from self._delays
        while True:
            yield self._delays[-1]
