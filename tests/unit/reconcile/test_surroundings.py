"""What stands around a proxy, through a whole pass: switched on and off, refused by itself, missing APIs that appear.

on and off · an unchanged world · drift and deletion · one that is refused leaves the proxy serving · somebody else's name
a missing API: a condition, then healed; an API that goes · the number of pods under an autoscaler
egress to a removed server until no replica needs it · TLS: a missing Secret, its creation, its renewal, replicas of both kinds
"""

from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.engine.keys import Key
from mcp_operator.kube.discovery import RETRY_SECONDS
from support import resources
from support.apiserver import INVALID, QUOTA, Body
from support.bench import FACTS, Bench
from support.tls import Issued, issue

CORE = {"team": "core"}
PROXY = Key("McpProxy", "team-a", "tools")
GATEWAY, PROMETHEUS = "gateway.networking.k8s.io", "monitoring.coreos.com"
PARENT = {"parentRefs": [{"name": "edge"}]}
ALL: dict[str, Any] = {
    "autoscaling": {},
    "ingress": {"host": "a.example.com"},
    "httpRoute": {**PARENT, "hostnames": ["b.example.com"]},
    "monitoring": {"enabled": True},
}
AROUND = ("NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress", "HTTPRoute", "ServiceMonitor")


def _remote(name: str) -> Body:
    return resources.remote(name, f"http://{name}.example.com:81/mcp", labels=CORE)


def _there(bench: Bench) -> set[str]:
    return {kind for kind in AROUND if "tools-proxy" in bench.api.names(kind)}


def _secret(issued: Issued) -> Body:
    data = {"tls.crt": issued.chain, "tls.key": issued.key}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"}, "stringData": data}


async def test_on_and_off(bench: Bench) -> None:
    bench.apply(resources.proxy(selector=CORE, **ALL))
    await bench.drain()
    assert _there(bench) == set(AROUND)
    assert bench.status("McpProxy", "tools")["url"] == "http://a.example.com/mcp"
    assert bench.status("McpProxy", "tools")["clusterUrl"] == "http://tools-proxy.team-a.svc/mcp"
    bench.apply(resources.proxy(selector=CORE, networkPolicy={"enabled": False}))
    await bench.drain()
    assert _there(bench) == set()
    assert bench.status("McpProxy", "tools")["url"] == "http://tools-proxy.team-a.svc/mcp"
    assert bench.status("McpProxy", "tools")["selector"] == "mcp-operator.dev/proxy=tools"


async def test_an_unchanged_world_costs_nothing(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE, **ALL))
    await bench.programmed()
    asked = len(bench.api.asked)
    await bench.reconcile("McpProxy", "tools")
    assert [request for request in bench.api.asked[asked:] if "/events" not in request.path] == []


@pytest.mark.parametrize("kind", AROUND)
async def test_what_is_deleted_comes_back(bench: Bench, kind: str) -> None:
    bench.apply(resources.proxy(selector=CORE, **ALL))
    await bench.drain()
    bench.api.kubectl_delete(kind, "tools-proxy")
    await bench.drain()
    assert _there(bench) == set(AROUND)
    bench.api.edit(kind, "tools-proxy", lambda body: body["spec"].clear())
    await bench.drain()
    assert bench.api.get(kind, "tools-proxy")["spec"]


async def test_what_others_add_stays(bench: Bench) -> None:
    bench.apply(resources.proxy(selector=CORE, **ALL))
    await bench.drain()
    for kind in (*AROUND, "Deployment"):
        bench.api.edit(kind, "tools-proxy", lambda body: body["metadata"]["labels"].update(theirs="yes"))
        bench.api.edit(kind, "tools-proxy", lambda body: body["metadata"]["annotations"].update(theirs="too"))
    restarted = {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}
    bench.api.edit("Deployment", "tools-proxy", lambda body: body["spec"]["template"]["metadata"].update(restarted))
    bench.apply(resources.proxy(selector=CORE, **ALL, logLevel="debug"))
    await bench.drain()
    for kind in (*AROUND, "Deployment"):
        metadata = bench.api.get(kind, "tools-proxy")["metadata"]
        assert (metadata["labels"]["theirs"], metadata["annotations"]["theirs"]) == ("yes", "too")
    template = bench.api.get("Deployment", "tools-proxy")["spec"]["template"]
    assert template["metadata"]["annotations"] == restarted["annotations"]
    assert "debug" in template["spec"]["containers"][0]["args"]


REFUSALS = [
    ("ingresses", "Exposed", INVALID, None),
    ("httproutes", "Exposed", QUOTA, 30.0),
    ("horizontalpodautoscalers", "Autoscaled", INVALID, None),
    ("servicemonitors", "Monitored", QUOTA, 30.0),
    ("networkpolicies", "Programmed", INVALID, None),
    ("poddisruptionbudgets", "Programmed", QUOTA, 30.0),
]


@pytest.mark.parametrize(("plural", "condition", "refusal", "again"), REFUSALS)
async def test_one_that_is_refused_leaves_the_rest(
    bench: Bench, plural: str, condition: str, refusal: Any, again: float | None
) -> None:
    bench.api.refuse("PATCH", f"/{plural}/", refusal)
    bench.apply(resources.proxy(selector=CORE, **ALL))
    results = await bench.drain()
    assert len(_there(bench)) == len(AROUND) - 1
    assert bench.api.get("Deployment", "tools-proxy")
    assert bench.condition("McpProxy", "tools", condition) == ("False", "ApplyRefused")
    assert refusal.message in bench.message("McpProxy", "tools", condition)
    if again:
        assert results[PROXY].requeue_after is not None
        assert results[PROXY].requeue_after <= again
    bench.api.relent()
    await bench.reconcile("McpProxy", "tools")
    assert _there(bench) == set(AROUND)


async def test_a_name_that_is_somebody_elses(bench: Bench) -> None:
    """The Ingress of another is left as it is, and the proxy serves."""
    theirs = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "tools-proxy"}, "spec": {}}
    bench.apply(theirs, resources.proxy(selector=CORE, ingress={}))
    await bench.drain()
    assert bench.api.get("Ingress", "tools-proxy")["spec"] == {}
    assert bench.condition("McpProxy", "tools", "Exposed") == ("False", "ChildNameTaken")
    assert bench.api.get("Deployment", "tools-proxy")


async def test_a_missing_api_is_a_condition_and_heals(bench: Bench) -> None:
    bench.api.absent = {GATEWAY, PROMETHEUS}
    bench.apply(resources.proxy(selector=CORE, **ALL))
    results = await bench.drain()
    assert _there(bench) == set(AROUND) - {"HTTPRoute", "ServiceMonitor"}
    assert bench.condition("McpProxy", "tools", "Exposed") == ("False", "ApiMissing")
    assert "install the Gateway API, or do without" in bench.message("McpProxy", "tools", "Exposed")
    assert bench.condition("McpProxy", "tools", "Monitored") == ("False", "ApiMissing")
    assert results[PROXY].requeue_after is not None
    asked = len(bench.api.asked)
    await bench.reconcile("McpProxy", "tools")
    more = [request.path for request in bench.api.asked[asked:] if "/events" not in request.path]
    assert more == [], "it is not asked for at every pass"
    bench.api.absent.clear()
    bench.clock += RETRY_SECONDS + 1
    await bench.reconcile("McpProxy", "tools")
    assert _there(bench) == set(AROUND)
    assert bench.condition("McpProxy", "tools", "Monitored") == ("True", "Monitored")
    assert bench.condition("McpProxy", "tools", "Exposed") == ("Unknown", "Waiting")


async def test_an_api_that_goes(bench: Bench) -> None:
    bench.apply(resources.proxy(selector=CORE, **ALL))
    await bench.drain()
    bench.api.absent = {GATEWAY}
    bench.apply(resources.proxy(selector=CORE, **ALL, path="/other"))
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Exposed") == ("False", "ApiMissing")


async def test_the_number_of_pods_is_the_autoscalers(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE, replicas=3, autoscaling={}))
    await bench.drain()
    bench.api.edit("Deployment", "tools-proxy", lambda body: body["spec"].update(replicas=5))
    await bench.drain()
    bench.apply(resources.proxy(selector=CORE, replicas=4, autoscaling={}, logLevel="debug"))
    await bench.drain()
    assert bench.api.get("Deployment", "tools-proxy")["spec"]["replicas"] == 5
    assert bench.status("McpProxy", "tools")["replicaSummary"] == "0/5"
    bench.apply(resources.proxy(selector=CORE, replicas=4))
    await bench.drain()
    assert bench.api.get("Deployment", "tools-proxy")["spec"]["replicas"] == 4


async def test_egress_goes_when_no_replica_needs_it(bench: Bench) -> None:
    def ports() -> list[list[int]]:
        rules = bench.api.get("NetworkPolicy", "tools-proxy")["spec"]["egress"][2:]
        return [[port["port"] for port in rule["ports"]] for rule in rules]

    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    await bench.programmed()
    assert ports() == [[81]]
    bench.apply(resources.remote("two", "http://two.example.com:82/mcp", labels=CORE))
    bench.api.kubectl_delete("McpServer", "one")
    await bench.drain()
    assert ports() == [[82], [81]]
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert ports() == [[82]]
    order = [write for write in bench.api.writes if write.startswith(("NetworkPolicy", "ConfigMap"))]
    assert order[:2] == ["NetworkPolicy/tools-proxy", "ConfigMap/tools-proxy-config"], "out before what needs it"


async def test_tls_waits_for_its_secret_and_follows_it(bench: Bench) -> None:
    bench.apply(resources.proxy(selector=CORE, tls={"secretName": "cert"}))
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "ResolvedRefs") == ("False", "RefNotFound")
    assert bench.condition("McpProxy", "tools", "Ready") == ("False", "RefNotFound")
    revisions = [bench.status("McpProxy", "tools")["revision"]]
    for issued in (issue(), issue()):
        bench.apply(_secret(issued))
        await bench.drain()
        assert bench.condition("McpProxy", "tools", "ResolvedRefs") == ("True", "Resolved")
        held = bench.api.get("Secret", "tools-proxy-secrets")["data"]
        assert len([name for name in held if name.startswith("tls.crt.")]) >= 1
        revisions.append(bench.status("McpProxy", "tools")["revision"])
    assert len(set(revisions)) == 3
    bench.run_pods("tools-proxy")
    await bench.drain()
    assert bench.replicas.addresses[PROXY] == {"tools-proxy-0": "https://10.1.0.1:8080"}
    url = "https://tools-proxy.team-a.svc/mcp"
    assert bench.prober._watched[PROXY].target.url == url
    assert not bench.prober._watched[PROXY].target.verify


async def test_while_tls_is_switched_on_there_are_both_kinds(bench: Bench) -> None:
    bench.apply(_secret(issue()), resources.proxy(selector=CORE))
    await bench.drain()
    bench.run_pods("tools-proxy")
    bench.apply(resources.proxy(selector=CORE, tls={"secretName": "cert"}))
    await bench.drain()
    assert bench.replicas.addresses[PROXY] == {"tools-proxy-0": "http://10.1.0.1:8080"}
    bench.run_pods("tools-proxy")
    await bench.drain()
    assert bench.replicas.addresses[PROXY] == {"tools-proxy-0": "https://10.1.0.1:8080"}
    assert bench.api.get("Service", "tools-proxy")["spec"]["ports"][0]["port"] == 443
    assert meta.LABEL_PROXY in bench.api.get("Pod", "tools-proxy-0")["metadata"]["labels"]


async def test_ready_counts_the_way_in(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE, ingress={"host": "a.example.com"}))
    await bench.programmed()
    await bench.probe(PROXY, FACTS)
    assert bench.condition("McpProxy", "tools", "Exposed") == ("True", "Exposed")
    assert bench.condition("McpProxy", "tools", "Ready") == ("True", "Ready")


async def test_a_pod_template_that_is_refused(bench: Bench) -> None:
    taken = {"spec": {"volumes": [{"name": "config", "emptyDir": {}}]}}
    bench.apply(_remote("one"), resources.proxy(selector=CORE, podTemplate=taken))
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "InvalidValue")
    assert "the volume config is the operator's own" in bench.message("McpProxy", "tools")
    bench.apply(resources.proxy(selector=CORE))
    await bench.programmed()
