"""What the engine reports of itself. The names and meanings follow client-go's and controller-runtime's metrics."""

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Outcome = Literal["success", "requeue_after", "error", "timeout"]
_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The hooks that the engine calls; this base ignores them. Hooks are called on hot paths and must not raise."""

    def depth(self, keys: int) -> None:
        """Keys that wait for a worker, after each change."""

    def added(self, kind: str) -> None:
        """A key was put in line (an add that changed nothing is not counted)."""

    def waited(self, kind: str, seconds: float) -> None:
        """A key was handed to a worker, so long after it was put in line."""

    def retried(self, kind: str) -> None:
        """A key was put back after a failure, with backoff."""

    def busy(self, workers: int) -> None:
        """Keys that are being reconciled, after each change."""

    def reconciled(self, kind: str, outcome: Outcome, seconds: float) -> None:
        """One reconcile ended."""

    def resynced(self, kind: str, differences: int, seconds: float) -> None:
        """One LIST was compared with the store; `differences` is what the watch had not told."""

    def resync_failed(self, kind: str) -> None:
        """A LIST failed."""


class PrometheusMetrics(Metrics):
    """The hooks as Prometheus series, named as dashboards for controllers expect them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._depth = Gauge("workqueue_depth", "Keys that wait for a worker", registry=registry)
        self._adds = Counter("workqueue_adds", "Keys put in line", ["kind"], registry=registry)
        self._retries = Counter("workqueue_retries", "Keys put back after a failure", ["kind"], registry=registry)
        self._waited = Histogram(
            "workqueue_queue_duration_seconds", "Time in line", ["kind"], registry=registry, buckets=_BUCKETS
        )
        self._busy = Gauge("controller_active_workers", "Keys being reconciled", registry=registry)
        self._reconciled = Counter(
            "controller_reconcile", "Reconciles by outcome", ["kind", "result"], registry=registry
        )
        self._duration = Histogram(
            "controller_reconcile_time_seconds", "Time of one reconcile", ["kind"], registry=registry, buckets=_BUCKETS
        )
        self._resync = Histogram(
            "controller_resync_seconds", "Time of one LIST and diff", ["kind"], registry=registry, buckets=_BUCKETS
        )
        self._differences = Counter(
            "controller_resync_differences",
            "Differences found by LIST that no watch event told",
            ["kind"],
            registry=registry,
        )
        self._resync_failures = Counter("controller_resync_failures", "LISTs that failed", ["kind"], registry=registry)

    def depth(self, keys: int) -> None:
        self._depth.set(keys)

    def added(self, kind: str) -> None:
        self._adds.labels(kind).inc()

    def waited(self, kind: str, seconds: float) -> None:
        self._waited.labels(kind).observe(seconds)

    def retried(self, kind: str) -> None:
        self._retries.labels(kind).inc()

    def busy(self, workers: int) -> None:
        self._busy.set(workers)

    def reconciled(self, kind: str, outcome: Outcome, seconds: float) -> None:
        self._reconciled.labels(kind, outcome).inc()
        self._duration.labels(kind).observe(seconds)

    def resynced(self, kind: str, differences: int, seconds: float) -> None:
        self._resync.labels(kind).observe(seconds)
        self._differences.labels(kind).inc(differences)

    def resync_failed(self, kind: str) -> None:
        self._resync_failures.labels(kind).inc()
