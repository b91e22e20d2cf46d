"""An operator in this process against a real API server that stands alone: what a cluster's other parts would do, done through the API.

There is no controller, no scheduler and no kubelet. Proxies are real ones on loopback, run from the ConfigMaps and Secrets that
the operator wrote.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.operator import Operator
from mcp_operator.app.options import parse
from mcp_operator.app.watching import watch_forever
from mcp_operator.compile.references import decoded
from mcp_operator.engine.keys import Key
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.paths import path_of
from mcp_operator.reconcile.proxy import compiled_now
from mcp_operator_proxy.config import CONFIG_FILE, ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from support.backends import eventually
from support.controlplane import ControlPlane

PLURALS = {kind.kind: kind.plural for kind in meta.KINDS}
ROOTS = {"deployments": "/apis/apps/v1", **{kind.plural: f"/apis/{meta.API_VERSION}" for kind in meta.KINDS}}
Body = dict[str, Any]


@dataclass
class World:
    """What a test has at hand: the API, the operator's own view of it, and the parts of a cluster that are missing."""

    plane: ControlPlane
    kube: KubeClient
    namespace: str
    port: int
    """Where every pod of a proxy listens, each on an address of its own."""
    hosts: dict[str, str]
    """Names of Services, and the loopback addresses that they lead to."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    operator: Operator | None = None

    # The API, as users have it

    async def apply(self, *bodies: Body) -> None:
        for body in bodies:
            placed = {**body, "metadata": {**body["metadata"], "namespace": self.namespace}}
            await self.kube.apply(path_of(placed, PLURALS), placed, field_manager="test")

    def path(self, plural: str, name: str) -> str:
        return f"{ROOTS.get(plural, '/api/v1')}/namespaces/{self.namespace}/{plural}/{name}"

    async def get(self, plural: str, name: str) -> Body:
        return await self.kube.get(self.path(plural, name)) or {}

    async def condition(self, name: str, of: str, plural: str = "mcpservers") -> tuple[str, str]:
        """Status and reason."""
        return await self._part(name, of, plural, lambda c: (c["status"], c["reason"])) or ("", "")

    async def message(self, name: str, of: str) -> str:
        return await self._part(name, of, "mcpservers", lambda c: c["message"]) or ""

    async def _part(self, name: str, of: str, plural: str, part: Callable[[Body], Any]) -> Any:
        listed = ((await self.get(plural, name)).get("status") or {}).get("conditions") or []
        return next((part(condition) for condition in listed if condition["type"] == of), None)

    async def comes(self, name: str, of: str, status: str, reason: str, plural: str = "mcpservers") -> None:
        """Wait until the condition is so."""

        async def holds() -> bool:
            return await self.condition(name, of, plural) == (status, reason)

        await eventually(holds, 60)

    async def plain_secret(self, name: str) -> dict[str, str]:
        """What a Secret holds, decoded."""
        found = decoded("Secret", await self.get("secrets", name))
        return {key: value.decode() for key, value in found.items()}

    async def annotate(self, plural: str, name: str, **annotations: str) -> None:
        self.plane.kubectl(
            "-n", self.namespace, "annotate", plural, name, "--overwrite",
            *(f"{meta.GROUP}/{key.replace('_', '-')}={value}" for key, value in annotations.items()),
        )  # fmt: skip

    async def events(self, name: str) -> list[str]:
        """Reasons of the Events about an object, each as often as it came."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        found = [event for event in (await self.kube.list(path)).items if event["involvedObject"]["name"] == name]
        return [event["reason"] for event in found for _ in range(event.get("count", 1))]

    def counted(self, metric: str, **labels: str) -> float:
        """A sample of the operator's metrics."""
        return self.registry.get_sample_value(metric, labels) or 0.0

    # The parts of a cluster that are missing

    async def rolled_out(
        self, deployment: str, *, addresses: Mapping[str, str], up_since: datetime | None = None
    ) -> None:
        """As the Deployment controller and a kubelet: these pods (by their addresses) run and are ready."""
        live = await self.get("deployments", deployment)
        template = live["spec"]["template"]
        for pod, address in addresses.items():
            await self._pod(pod, template["metadata"]["labels"], address, up_since or datetime.now(UTC))
        count = len(addresses)
        status = {"observedGeneration": live["metadata"]["generation"], "replicas": count}
        status |= {"updatedReplicas": count, "availableReplicas": count, "readyReplicas": count}
        await self.kube.merge_patch(self.path("deployments", deployment) + "/status", {"status": status})

    async def _pod(self, name: str, labels: Body, address: str, since: datetime) -> None:
        spec = {"containers": [{"name": "c", "image": "none"}], "automountServiceAccountToken": False}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        await self.apply(body)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": since.isoformat(timespec="seconds")}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        await self.kube.merge_patch(self.path("pods", name) + "/status", {"status": status})

    async def runs_proxy(self, name: str, *addresses: str) -> None:
        """As the pods of a proxy: real proxies at these addresses, with what the operator wrote; clients meet the first."""
        await eventually(lambda: self._is_written(name), 60)
        await eventually(lambda: self.get("deployments", f"{name}-proxy"), 60)
        pods = {f"{name}-proxy-{number}": address for number, address in enumerate(addresses)}
        for pod, address in pods.items():
            proxy = await self.stack.enter_async_context(Proxy(warm_seconds=5))
            await self.stack.enter_async_context(running(proxy, address, self.port, grace_seconds=1))
            self.proxies[pod] = proxy
        self.hosts[f"{name}-proxy.{self.namespace}.svc"] = addresses[0]
        await self.rolled_out(f"{name}-proxy", addresses=pods)
        await self.synced(name)

    async def synced(self, name: str, change: Callable[[str, Body], Body] | None = None) -> None:
        """As the kubelet: the pods of a proxy have the config and the secrets of now. `change` is told pod and config."""
        config = (await self.get("configmaps", f"{name}-proxy-config"))["data"][CONFIG_FILE]
        secrets = decoded("Secret", await self.get("secrets", f"{name}-proxy-secrets"))
        for pod, proxy in self.proxies.items():
            if pod.startswith(f"{name}-proxy-"):
                body = ProxyConfig.model_validate_json(config)
                if change is not None:
                    body = ProxyConfig.model_validate(change(pod, body.model_dump(by_alias=True, mode="json")))
                await proxy.apply(body, {file: value.decode() for file, value in secrets.items()})

    # The operator

    async def _is_written(self, name: str) -> bool:
        """Whether the proxy's config is what follows from all that was applied.

        Watches keep no order among kinds, and the next change of a config waits a moment.
        """
        assert self.operator is not None
        for kind in meta.KINDS:
            for body in (await self.kube.list(self.path(kind.plural, "").rstrip("/"))).items:
                if self.operator.store.get(Key.of(kind.kind, body)) is None:
                    return False
        context, key = self.operator._context, Key(meta.PROXY.kind, self.namespace, name)
        proxy = context.world.model(key)
        assert isinstance(proxy, McpProxy)
        written = await self.get("configmaps", f"{name}-proxy-config")
        annotations = (written or {}).get("metadata", {}).get("annotations", {})
        return (await compiled_now(context, key, proxy)).config.revision == annotations.get(meta.ANNOTATION_REVISION)

    @contextlib.asynccontextmanager
    async def operating(self) -> AsyncIterator[Operator]:
        """It lists, watches and works, as `mcp-operator run` does."""
        options = parse(["--identity", "test", "--namespaces", self.namespace, "--egress-allow", "loopback"])
        self.registry = CollectorRegistry()
        async with Operator(options, self.kube, OperatorMetrics(self.registry)) as operator:
            listing = [operator.work(), operator.resync.run(), operator.data_watch.run()]
            parts = [asyncio.create_task(part) for part in listing]
            await operator.resync.synced.wait()
            watching = watch_forever(options, operator.observe, spawned=_give_back_signals)
            parts.append(asyncio.create_task(watching))
            self.operator = operator
            try:
                yield operator
            finally:
                self.operator = None
                operator.queue.shut_down(drain=False)
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)


def _give_back_signals() -> None:
    """kopf takes them; here they are pytest's."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().remove_signal_handler(number)
