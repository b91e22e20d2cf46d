"""Conditions of what stands around a proxy's pods: there only where the spec asks, and which of them decides Ready."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import compile_proxy
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.proxy import ProxyObservation, Replica, proxy_status
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.server import Health
from mcp_operator.conditions.surroundings import Surroundings
from mcp_operator.conditions.verdict import Refusal
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)
Body = dict[str, Any]
MISSING = Refusal(Reason.API_MISSING, "no Gateway API")
PARENT = {"parentRefs": [{"name": "edge"}]}


TWO = {"parentRefs": [{"name": "edge"}, {"name": "inner", "namespace": "infra"}]}


def parents(*conditions: Body, generation: int = 1) -> Body:
    told = [{"parentRef": {"name": "edge"}, "conditions": [*conditions]}]
    return {"metadata": {"generation": generation}, "status": {"parents": told}}


def hpa(**conditions: str) -> Body:
    told = [{"type": name, "status": status, "reason": "Why", "message": "how"} for name, status in conditions.items()]
    return {"status": {"conditions": told}}


ACCEPTED = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
REFUSED = {"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "not from here"}
Case = tuple[str, Body, Surroundings, str, tuple[str, str] | None]
CASES: list[Case] = [
    ("nothing asked", {}, Surroundings(), "Exposed", None),
    ("an Ingress", {"ingress": {}}, Surroundings({"Ingress": {}}), "Exposed", ("True", "Exposed")),
    ("an Ingress that is refused", {"ingress": {}}, Surroundings(refused={"Ingress": Refusal(Reason.APPLY_REFUSED, "no")}),
     "Exposed", ("False", "ApplyRefused")),
    ("no Gateway API", {"httpRoute": PARENT}, Surroundings(refused={"HTTPRoute": MISSING}), "Exposed", ("False", "ApiMissing")),
    ("one of two", {"httpRoute": PARENT, "ingress": {}}, Surroundings({"Ingress": {}}, {"HTTPRoute": MISSING}),
     "Exposed", ("False", "ApiMissing")),
    ("no Gateway yet", {"httpRoute": PARENT}, Surroundings({"HTTPRoute": {}}), "Exposed", ("Unknown", "Waiting")),
    ("a Gateway that takes it", {"httpRoute": PARENT}, Surroundings({"HTTPRoute": parents(ACCEPTED)}),
     "Exposed", ("True", "Exposed")),
    ("a Gateway that refuses it", {"httpRoute": PARENT}, Surroundings({"HTTPRoute": parents(REFUSED)}),
     "Exposed", ("False", "NotAccepted")),
    ("one Gateway of two", {"httpRoute": TWO}, Surroundings({"HTTPRoute": parents(ACCEPTED)}), "Exposed", ("Unknown", "Waiting")),
    ("a Gateway that took the route before its edit", {"httpRoute": PARENT},
     Surroundings({"HTTPRoute": parents(ACCEPTED | {"observedGeneration": 1}, generation=2)}), "Exposed", ("Unknown", "Waiting")),
    ("a Gateway that refused the route before its edit", {"httpRoute": PARENT},
     Surroundings({"HTTPRoute": parents(REFUSED | {"observedGeneration": 1}, generation=2)}), "Exposed", ("Unknown", "Waiting")),
    ("a Gateway that takes it as it is", {"httpRoute": PARENT},
     Surroundings({"HTTPRoute": parents(ACCEPTED | {"observedGeneration": 2}, generation=2)}), "Exposed", ("True", "Exposed")),
    ("an Ingress that is not made", {"ingress": {}}, Surroundings(), "Exposed", ("Unknown", "Waiting")),
    ("a route that is not made", {"httpRoute": PARENT, "ingress": {}}, Surroundings({"Ingress": {}}), "Exposed",
     ("Unknown", "Waiting")),
    ("a monitor that is not made", {"monitoring": {"enabled": True}}, Surroundings(), "Monitored", ("Unknown", "Waiting")),
    ("not scaled", {"replicas": 2}, Surroundings(), "Autoscaled", None),
    ("a new autoscaler", {"autoscaling": {}}, Surroundings({"HorizontalPodAutoscaler": {}}), "Autoscaled", ("Unknown", "Waiting")),
    ("one that works", {"autoscaling": {}},
     Surroundings({"HorizontalPodAutoscaler": hpa(AbleToScale="True", ScalingActive="True")}), "Autoscaled", ("True", "Autoscaled")),
    ("one without metrics", {"autoscaling": {}},
     Surroundings({"HorizontalPodAutoscaler": hpa(AbleToScale="True", ScalingActive="False")}),
     "Autoscaled", ("False", "AutoscalerInactive")),
    ("not monitored", {}, Surroundings(), "Monitored", None),
    ("a monitor", {"monitoring": {"enabled": True}}, Surroundings({"ServiceMonitor": {}}), "Monitored", ("True", "Monitored")),
    ("nobody to monitor", {"monitoring": {"enabled": True}}, Surroundings(refused={"ServiceMonitor": MISSING}),
     "Monitored", ("False", "ApiMissing")),
]  # fmt: skip


def _seen(proxy: McpProxy, around: Surroundings | None) -> ProxyObservation:
    compiled = compile_proxy(proxy, routes=[], servers=[], objects={}, url_of=cluster_url)
    replicas = [Replica(pod, revision=compiled.config.revision) for pod in ("a", "b")]
    up = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    deployment = {"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": up}
    return ProxyObservation(
        compiled=compiled,
        url="http://a/mcp",
        deployment=deployment,
        replicas=replicas,
        health=Health(healthy=True),
        around=around,
    )


@pytest.mark.parametrize(
    ("spec", "around", "kind", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_conditions(spec: Body, around: Surroundings, kind: str, expected: tuple[str, str] | None) -> None:
    proxy = models.proxy(resources.proxy(**spec))
    status = proxy_status(proxy, _seen(proxy, around), NOW)
    told = {condition.type: (condition.status, condition.reason) for condition in status.conditions}
    assert told.get(kind) == expected
    spoils = kind == "Exposed" and expected is not None and expected[0] == "False"
    assert told["Ready"] == (("False", expected[1]) if spoils and expected else ("True", "Ready"))
    assert told["Programmed"] == ("True", "Programmed")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"rest": {}, "replicas": 2}, True),
        ({"rest": {}, "replicas": 1, "workers": 2}, True),
        ({"rest": {}, "autoscaling": {}}, True),
        ({"rest": {}}, True),  # the Deployment has been scaled to two
        ({"rest": {}, "replicas": 1}, False),
        ({"replicas": 2}, False),
    ],
)
def test_services_that_are_not_shared(spec: Body, told: bool) -> None:
    proxy = models.proxy(resources.proxy(**spec))
    conditions = {c.type: c for c in proxy_status(proxy, _seen(proxy, Surroundings()), NOW).conditions}
    assert ("ServicesNotShared" in conditions) == told
    if told:
        assert conditions["ServicesNotShared"].reason == "KeptApart"
        assert "sessions of users (set spec.stores.redis)" in conditions["ServicesNotShared"].message
        assert conditions["Ready"].status == "True"


def test_on_one_machine_nothing_stands_around_it() -> None:
    proxy = models.proxy(resources.proxy(ingress={}, autoscaling={}, monitoring={"enabled": True}))
    told = {condition.type for condition in proxy_status(proxy, _seen(proxy, None), NOW).conditions}
    assert told == {"Accepted", "ResolvedRefs", "Programmed", "Healthy", "Ready"}


def test_the_words_of_others_are_passed_on() -> None:
    proxy = models.proxy(resources.proxy(httpRoute=PARENT))
    status = proxy_status(proxy, _seen(proxy, Surroundings({"HTTPRoute": parents(REFUSED)})), NOW)
    (message,) = [condition.message for condition in status.conditions if condition.type == "Exposed"]
    assert message == "Gateway edge does not serve the HTTPRoute: NotAllowedByListeners: not from here"


@pytest.mark.parametrize(("scaled", "summary"), [(2, "2/2"), (3, "2/3"), (0, "2/0")])
def test_as_many_pods_as_others_want(scaled: int, summary: str) -> None:
    proxy = models.proxy(resources.proxy(replicas=7, autoscaling={}))
    seen = _seen(proxy, Surroundings())
    assert seen.deployment is not None
    deployment = {**seen.deployment, "spec": {"replicas": scaled}}
    status = proxy_status(proxy, replace(seen, deployment=deployment), NOW)
    assert status.replica_summary == summary
    programmed = next(condition for condition in status.conditions if condition.type == "Programmed")
    assert (programmed.status == "True") == (scaled == 2)
    if scaled == 0:
        assert programmed.message == "the Deployment is scaled to 0: nothing serves"
