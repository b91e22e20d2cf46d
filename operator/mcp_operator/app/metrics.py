"""What the operator reports of itself beside the engine's series."""

from collections import Counter as Counts
from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import PENDING
from mcp_operator.conditions.reasons import Type
from mcp_operator.engine.keys import Key
from mcp_operator.engine.metrics import PrometheusMetrics
from mcp_operator.engine.store import Store
from mcp_operator.probe.canary import CanaryResult
from mcp_operator.probe.facts import ProbeResult

_TOLD_OF_WHAT_IS_WRONG: Final = {
    Type.CONFLICTED,
    Type.NAME_TOO_LONG,
    Type.SERVICES_NOT_SHARED,
    Type.RECONCILING,
    Type.STALLED,
}
"""Conditions that are there only while they hold."""
_STATUSES: Final = ("True", "False", "Unknown")
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class OperatorMetrics(PrometheusMetrics):
    """The engine's series, and those of probes, swaps and conditions. Label values are of fixed lists."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._probes = Counter("mcp_operator_probes", "Probes by outcome", ["kind", "outcome"], registry=registry)
        self._probe_seconds = Histogram(
            "mcp_operator_probe_seconds", "Time of one probe", ["kind"], registry=registry, buckets=_SECONDS
        )
        self._canary_calls = Counter(
            "mcp_operator_canary_calls", "Canary calls by outcome", ["outcome"], registry=registry
        )
        self._canary_seconds = Histogram(
            "mcp_operator_canary_seconds", "Time of one canary call", registry=registry, buckets=_SECONDS
        )
        self._restarts = Counter(
            "mcp_operator_server_restarts", "Restarts of hosted servers that the operator ordered", registry=registry
        )
        self._swap_seconds = Histogram(
            "mcp_operator_swap_seconds",
            "From writing a proxy's configuration until every replica ran it",
            registry=registry,
            buckets=_SECONDS,
        )
        self._leader = Gauge("mcp_operator_leader", "1 while this process leads", registry=registry)
        self._lost = Counter("mcp_operator_leadership_losses", "Times that the lead was lost", registry=registry)
        self._watch_age = Gauge(
            "mcp_operator_watch_age_seconds",
            "Time since the watch of a kind was last known to bring all that the API server has",
            ["kind"],
            registry=registry,
        )
        self._watch_failures = Counter(
            "mcp_operator_watch_failures",
            "Times that the watch streams were begun anew after a failure",
            registry=registry,
        )
        self._requests = Counter(
            "mcp_operator_api_requests", "Requests to the API server", ["method", "code"], registry=registry
        )
        self._request_seconds = Histogram(
            "mcp_operator_api_request_seconds",
            "Time until the API server answered",
            ["method"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._conditions = Gauge(
            "mcp_operator_conditions",
            "Resources by the status of each of their conditions",
            ["kind", "condition", "status"],
            registry=registry,
        )
        self._unmet = Gauge(
            "mcp_operator_unmet_conditions",
            "1 for each condition of a resource that should hold and does not",
            ["kind", "object", "condition", "status", "reason"],
            registry=registry,
        )
        self._longest = Gauge(
            "controller_longest_running_reconcile_seconds", "Time of the oldest reconcile under way", registry=registry
        )
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

    def called(self, _: Key, result: CanaryResult) -> None:
        self._canary_calls.labels("ok" if result.passed else result.outcome).inc()
        self._canary_seconds.observe(result.seconds)

    def restarted(self) -> None:
        self._restarts.inc()

    def swapped(self, seconds: float) -> None:
        self._swap_seconds.observe(seconds)

    def leads(self, *, leading: bool) -> None:
        self._leader.set(1 if leading else 0)

    def lost_the_lead(self) -> None:
        self._lost.inc()

    def watch_failed(self) -> None:
        self._watch_failures.inc()

    def answered(self, method: str, status: int, seconds: float) -> None:
        """A request to the API server ended; status 0: without an answer."""
        self._requests.labels(method, str(status) if status else "none").inc()
        self._request_seconds.labels(method).observe(seconds)

    def note_age(self, watch_ages: Mapping[str, float], longest_reconcile: float) -> None:
        """How old things are: called when somebody reads the metrics. All in seconds."""
        for kind, age in watch_ages.items():
            self._watch_age.labels(kind).set(age)
        self._longest.set(longest_reconcile)

    def count_objects(self, store: Store) -> None:
        """Count the resources by their conditions: called when somebody reads the metrics."""
        counts: Counts[tuple[str, str, str]] = Counts()
        self._unmet.clear()
        for kind in meta.KINDS:
            for body in store.list(kind.kind):
                for condition, (status, reason) in _conditions(body).items():
                    counts[kind.kind, condition, status] += 1
                    if status != "True" and condition not in _TOLD_OF_WHAT_IS_WRONG:
                        about = body["metadata"]
                        name = f"{about['namespace']}/{about['name']}"
                        self._unmet.labels(kind.kind, name, condition, status, reason).set(1)
        self._conditions.clear()
        for (kind_name, condition, status), count in counts.items():
            self._conditions.labels(kind_name, condition, status).set(count)
        for kind in meta.KINDS:
            for status in _STATUSES:
                self._objects.labels(kind.kind, status).set(counts[kind.kind, "Ready", status])

    def forget_objects(self) -> None:
        """Nothing is known of the cluster any more: another process leads."""
        self._conditions.clear()
        self._unmet.clear()
        self._objects.clear()
        self._watch_age.clear()
        self._longest.set(0)


def _conditions(body: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition; `Ready` is there even where nobody has said it yet."""
    found = {"Ready": ("Unknown", str(PENDING["reason"]))}
    for condition in (body.get("status") or {}).get("conditions") or ():
        status = condition.get("status")
        found[str(condition.get("type"))] = (
            status if status in _STATUSES else "Unknown",
            str(condition.get("reason") or ""),
        )
    return found
