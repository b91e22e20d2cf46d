"""What the operator reports of itself beside the engine's series."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mcp_operator.api import meta
from mcp_operator.engine.keys import Key
from mcp_operator.engine.metrics import PrometheusMetrics
from mcp_operator.engine.store import Store
from mcp_operator.probe.facts import ProbeResult

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class OperatorMetrics(PrometheusMetrics):
    """The engine's series, and those of probes, swaps and conditions. Label values are of fixed lists."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._probes = Counter("mcp_operator_probes", "Probes by outcome", ["kind", "outcome"], registry=registry)
        self._probe_seconds = Histogram(
            "mcp_operator_probe_seconds", "Time of one probe", ["kind"], registry=registry, buckets=_SECONDS
        )
        self._swap_seconds = Histogram(
            "mcp_operator_swap_seconds",
            "From writing a proxy's configuration until every replica ran it",
            registry=registry,
            buckets=_SECONDS,
        )
        self._leader = Gauge("mcp_operator_leader", "1 while this process leads", registry=registry)
        self._objects = Gauge(
            "mcp_operator_objects",
            "Resources by the status of their Ready condition",
            ["kind", "ready"],
            registry=registry,
        )

    def probed(self, key: Key, result: ProbeResult) -> None:
        outcome = result.error.error_class if result.error else "ok"
        self._probes.labels(key.kind, outcome).inc()
        self._probe_seconds.labels(key.kind).observe(result.seconds)

    def swapped(self, seconds: float) -> None:
        self._swap_seconds.observe(seconds)

    def leads(self, *, leading: bool) -> None:
        self._leader.set(1 if leading else 0)

    def count_objects(self, store: Store) -> None:
        """Count the resources by readiness: called when somebody reads the metrics."""
        for kind in meta.KINDS:
            counts = {"True": 0, "False": 0, "Unknown": 0}
            for body in store.list(kind.kind):
                listed = (body.get("status") or {}).get("conditions") or []
                ready = next((c.get("status") for c in listed if c.get("type") == "Ready"), "Unknown")
                counts[ready if ready in counts else "Unknown"] += 1
            for ready, count in counts.items():
                self._objects.labels(kind.kind, ready).set(count)
