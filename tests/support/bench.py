"""Reconcilers as the operator runs them, against an API server in memory: without workers, so that a test says when."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mcp_operator import watch
from mcp_operator.api import meta
from mcp_operator.desired import HostingSettings
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Store
from mcp_operator.engine.worker import Result
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.discovery import Discovery
from mcp_operator.kube.events import EventRecorder
from mcp_operator.probe.canaries import Canaries
from mcp_operator.probe.canary import CanaryCall, CanaryResult, Outcome
from mcp_operator.probe.facts import ProbeResult, ServerFacts
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replica import ReplicaState, expecting, heard
from mcp_operator.probe.target import Target
from mcp_operator.reconcile.affected import DATA_KINDS, affected, affected_by_data
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.dispatch import reconcile
from mcp_operator.reconcile.pace import Pace
from mcp_operator.reconcile.status import StatusWriter
from mcp_operator.reconcile.swaps import Swaps
from mcp_operator.reconcile.world import INDEXED_LABELS, LABELLED, World, slimmed
from mcp_operator_proxy.report import ErrorReport, StatusReport
from support.apiserver import ApiServer, Body

SETTINGS = HostingSettings(proxy_image="proxy:1", runner_image="runner:1")
NOW = datetime(2026, 5, 1, tzinfo=UTC)
FACTS = ServerFacts(
    protocol_version="2025-11-25",
    transport="streamable-http",
    server_name="demo",
    server_version="1",
    tools=("add", "hello"),
    digest="sha256:0",
)


class Probes:
    """What a probe of a URL finds; nothing for as long as nothing is said."""

    def __init__(self) -> None:
        self.answers: dict[str, ServerFacts | ErrorReport] = {}
        self.seconds = 0.01
        """What a good one takes."""
        self.asked: list[Target] = []
        self._told = asyncio.Event()

    def say(self, url: str, answer: ServerFacts | ErrorReport) -> None:
        self.answers[url] = answer
        self._told.set()
        self._told = asyncio.Event()

    async def __call__(self, target: Target) -> ProbeResult:
        self.asked.append(target)
        while target.url not in self.answers:
            await self._told.wait()
        answer = self.answers[target.url]
        if isinstance(answer, ErrorReport):
            return ProbeResult(time=NOW, seconds=0.5, error=answer)
        return ProbeResult(time=NOW, seconds=self.seconds, facts=answer)


class Calls:
    """What a canary call comes to, by URL and tool; nothing for as long as nothing is said."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[Outcome, str]] = {}
        self.asked: list[CanaryCall] = []
        self._told = asyncio.Event()

    def say(self, url: str, tool: str, outcome: Outcome, message: str = "") -> None:
        self.answers[url, tool] = (outcome, message)
        self._told.set()
        self._told = asyncio.Event()

    async def __call__(self, canary: CanaryCall) -> CanaryResult:
        self.asked.append(canary)
        while (canary.target.url, canary.tool) not in self.answers:
            await self._told.wait()
        outcome, message = self.answers[canary.target.url, canary.tool]
        return CanaryResult(time=NOW, seconds=0.01, outcome=outcome, message=message)


class Replicas:
    """In the place of `probe.replicas.Replicas`: the same states, told by the test instead of by pods."""

    def __init__(self, on_change: Callable[[Key], None]) -> None:
        self._on_change = on_change
        self._states: dict[Key, dict[str, ReplicaState]] = {}
        self._wanted: dict[Key, str | None] = {}
        self.addresses: dict[Key, Mapping[str, str]] = {}

    def watch(self, key: Key, revision: str | None, pods: Mapping[str, str]) -> None:
        renewed = self._wanted.get(key) != revision
        before = self._states.get(key, {})
        self._wanted[key], self.addresses[key] = revision, dict(pods)
        self._states[key] = {
            pod: before[pod] if pod in before and not renewed else expecting(before.get(pod), revision) for pod in pods
        }

    def states(self, key: Key) -> dict[str, ReplicaState]:
        return self._states.get(key, {})

    def forget(self, key: Key) -> None:
        for known in (self._states, self._wanted, self.addresses):
            known.pop(key, None)  # type: ignore[attr-defined]

    def tell(self, key: Key, pod: str, revision: str | None, **more: Any) -> None:
        report = StatusReport(version="1", revision=revision, started_at=NOW, **more)
        self._states[key][pod] = heard(self._states[key][pod], report, 0.25)
        self._on_change(key)


class Bench:
    """A cluster and an operator whose keys a test drains when it likes."""

    def __init__(self, api: ApiServer, kube: KubeClient, events: EventRecorder) -> None:
        self.api = api
        self.clock = 100.0
        self._looks = 0
        self.probes = Probes()
        self.waiting: dict[Key, None] = {}
        self.swaps: list[float] = []
        self.restarts = 0
        self.calls = Calls()
        self._probed: Counter[Key] = Counter()
        self._kube = kube
        self._events = events
        self.start()

    def start(self) -> None:
        """A fresh operator, which lists what there is."""
        self.store = Store(label_indexes=INDEXED_LABELS, labelled=LABELLED)
        self.world = World(self.store, self._kube)
        self.replicas = Replicas(self.enqueue)
        self.prober: Prober[Key] = Prober(self.enqueue, spread=0.0, probe=self.probes, on_result=self._count)
        self.canaries: Canaries[Key] = Canaries(self.enqueue, spread=0.0, call=self.calls)
        self.context = Context(
            kube=self._kube,
            world=self.world,
            prober=self.prober,
            canaries=self.canaries,
            replicas=self.replicas,  # type: ignore[arg-type]
            status=StatusWriter(self._kube, self.store, self._events),
            settings=SETTINGS,
            enqueue=self.enqueue,
            on_swap=self.swaps.append,
            on_restart=self._restarted,
            discovery=Discovery(self._kube, lambda: self.clock),
            swaps=Swaps(lambda: self.clock),
            files=Swaps(lambda: self.clock, meta.ANNOTATION_FILES),
            pace=Pace(self._later),
        )
        self.waiting.clear()
        self.api.changed = self._observe
        for body in [*self.api.objects.values()]:
            self._observe("ADDED", body)

    def _later(self) -> float:
        """A clock that goes on by hours between two looks: no configuration waits for the one before it."""
        self._looks += 1
        return self._looks * 3600.0

    async def restart(self) -> None:
        """As after a crash: nothing is remembered but what stands in the cluster."""
        await self.aclose()
        self.start()

    async def aclose(self) -> None:
        """End the probes and the calls."""
        await self.prober.aclose()
        await self.canaries.aclose()

    def _restarted(self) -> None:
        self.restarts += 1

    def _count(self, key: Key, _: ProbeResult) -> None:
        self._probed[key] += 1

    def enqueue(self, key: Key) -> None:
        self.waiting.setdefault(key)

    def _observe(self, event: str, body: Body) -> None:
        labels, metadata = body["metadata"].get("labels") or {}, body["metadata"]
        foreign = labels.get(meta.LABEL_MANAGED_BY) != meta.MANAGED_BY
        if body["kind"] in DATA_KINDS:
            reference = (body["kind"], metadata["namespace"], metadata["name"])
            version = None if event == "DELETED" else metadata["resourceVersion"]
            for key in (
                affected_by_data(reference, self.world) if self.world.references.seen(reference, version) else ()
            ):
                self.enqueue(key)
        if body["kind"] == "Event" or (foreign and body["kind"] in watch.LABELLED):
            return
        if event == "DELETED":
            where = (metadata.get("namespace", ""), metadata["name"], metadata["uid"], metadata["resourceVersion"])
            change = self.store.remove(body["kind"], *where)
        else:
            change = self.store.observe(body["kind"], slimmed(body))
        for key in affected(change, self.world) if change else ():
            self.enqueue(key)

    async def reconcile(self, kind: str, name: str, namespace: str = "team-a") -> Result:
        return await reconcile(self.context, Key(kind, namespace, name))

    async def drain(self) -> dict[Key, Result]:
        """Reconcile what waits until nothing does; the last result of each key."""
        results = {}
        for _ in range(200):
            if not self.waiting:
                return results
            key = next(iter(self.waiting))
            del self.waiting[key]
            results[key] = await reconcile(self.context, key)
        raise AssertionError(f"it does not come to rest: {[*self.waiting]}")

    async def until(self, condition: Callable[[], object]) -> None:
        """Drain until the condition holds."""
        async with asyncio.timeout(30):
            while True:
                await self.drain()
                if condition():
                    return
                await asyncio.sleep(0.001)

    async def probe(self, key: Key, answer: ServerFacts | ErrorReport, *, times: int = 1) -> None:
        """Have `key` probed that often, with this answer of its URL, and drain."""
        self.probes.say(self.prober._watched[key].target.url, answer)
        for _ in range(times):
            before = self._probed[key]
            self.prober.trigger(key)
            await self.until(lambda before=before: self._probed[key] > before)
        await self.drain()

    # The cluster's other parts

    def apply(self, *bodies: Body) -> None:
        for body in bodies:
            self.api.kubectl_apply(body)

    def run_pods(self, deployment: str, *, ready: bool = True) -> list[str]:
        """As the deployment controller and a kubelet: the pods that the Deployment wants, and its status."""
        live = self.api.get("Deployment", deployment)
        wanted, template = live["spec"]["replicas"], live["spec"]["template"]
        names = [f"{deployment}-{number}" for number in range(wanted)]
        for number, name in enumerate(names):
            self.api.kubectl_apply(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "labels": template["metadata"]["labels"]},
                    "spec": template["spec"],
                }
            )
            condition = {"type": "Ready", "status": "True" if ready else "False"}
            status = {"phase": "Running", "podIP": f"10.1.0.{number + 1}", "conditions": [condition]}
            self.api.edit("Pod", name, lambda pod, status=status: pod.update(status=status))
        up = wanted if ready else 0
        status = {"observedGeneration": live["metadata"]["generation"]}
        status |= {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": up}
        self.api.edit("Deployment", deployment, lambda body: body.update(status=status))
        return names

    def status(self, kind: str, name: str, namespace: str = "team-a") -> Body:
        status: Body = self.api.get(kind, name, namespace).get("status", {})
        return status

    def condition(self, kind: str, name: str, of: str, namespace: str = "team-a") -> tuple[str, str]:
        """Status and reason."""
        listed = self.status(kind, name, namespace).get("conditions", [])
        return next(((c["status"], c["reason"]) for c in listed if c["type"] == of), ("", ""))

    def message(self, kind: str, name: str, of: str = "Ready", namespace: str = "team-a") -> str:
        return next(str(c["message"]) for c in self.status(kind, name, namespace)["conditions"] if c["type"] == of)

    async def programmed(self, name: str = "tools") -> str:
        """Bring a proxy to where its replicas run what it was given; the revision."""
        await self.drain()
        pods = self.run_pods(f"{name}-proxy")
        self.probes.say(f"http://{name}-proxy.team-a.svc/mcp", FACTS)
        await self.drain()
        revision = self.swapped(name, *pods)
        await self.until(lambda: self.condition("McpProxy", name, "Ready")[0] == "True")
        return revision

    def swapped(self, name: str, *pods: str, **more: Any) -> str:
        """The pods say that they run the revision that the ConfigMap has."""
        config = self.api.get("ConfigMap", f"{name}-proxy-config")
        revision: str = config["metadata"]["annotations"][meta.ANNOTATION_REVISION]
        for pod in pods:
            self.replicas.tell(Key("McpProxy", "team-a", name), pod, revision, **more)
        return revision
