"""What stands around a proxy, made by a running operator on a real API server. Its pods never run here.

on and off · the NetworkPolicy as the API server keeps it · an unchanged world · drift · the number of pods: set, left alone,
handed over · the scale subresource · `kubectl rollout restart`, labels of others · an API that is missing, comes and is watched
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import resources
from support.beside import operating
from support.definitions import open_definition
from support.kubectl import eventually

from .conftest import Kubectl

Body = dict[str, Any]
PARENT = {"parentRefs": [{"name": "edge"}]}
ALL: dict[str, Any] = {
    "replicas": 3,
    "autoscaling": {"targetCPUUtilization": 70, "targetMemoryUtilization": 80, "targetSessions": 100},
    "ingress": {"host": "mcp.example.com", "tlsSecretName": "mcp-tls", "annotations": {"example.com/a": "b"}},
    "networkPolicy": {"allowTo": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}, "ports": [3128]}]},
}
AROUND = {"NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress"}
pytestmark = pytest.mark.timeout(300)
HTTP_ROUTES = open_definition("HTTPRoute", "httproutes", "gateway.networking.k8s.io", status=True)


@pytest.fixture(scope="module", autouse=True)
def operator(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The operator as a process, with the rights of the ambient kubeconfig."""
    cluster.attempt("delete", "crd", HTTP_ROUTES["metadata"]["name"], "--ignore-not-found")
    log = tmp_path_factory.mktemp("operator") / "log"
    with operating(log):
        yield
    print(log.read_text()[-6000:])
    assert "Traceback" not in log.read_text()


@pytest.fixture
def apply(kubectl: Kubectl) -> Callable[..., None]:
    """Apply an McpProxy and wait until the operator has told of it."""

    def applied(name: str, *, edit: bool = True, **spec: Any) -> None:
        if edit:
            kubectl("apply", "-f", "-", body=resources.proxy(name, **spec))
        eventually(lambda: _told(kubectl, name))

    return applied


def _told(kubectl: Kubectl, name: str) -> bool:
    body = kubectl.json("get", "mcpp", name)
    status = body.get("status") or {}
    return bool(status.get("observedGeneration") == body["metadata"]["generation"] and status.get("url"))


def _kinds(kubectl: Kubectl, name: str) -> set[str]:
    plurals = "networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,ingresses"
    listed = kubectl.json("get", plurals, "-l", f"mcp-operator.dev/proxy={name}")
    return {item["kind"] for item in listed["items"]}


def _condition(kubectl: Kubectl, name: str, kind: str) -> tuple[str, str]:
    listed = kubectl.json("get", "mcpp", name)["status"]["conditions"]
    return next(((c["status"], c["reason"]) for c in listed if c["type"] == kind), ("", ""))


def _replicas(kubectl: Kubectl, name: str) -> int:
    return int(kubectl.json("get", "deployment", f"{name}-proxy")["spec"]["replicas"])


def _args(kubectl: Kubectl, name: str) -> list[str]:
    spec = kubectl.json("get", "deployment", f"{name}-proxy")["spec"]["template"]["spec"]
    return list(spec["containers"][0]["args"])


def test_on_and_off(kubectl: Kubectl, apply: Callable[..., None]) -> None:
    apply("around", **ALL)
    assert _kinds(kubectl, "around") == AROUND
    assert kubectl.json("get", "mcpp", "around")["status"]["url"] == "https://mcp.example.com/mcp"
    apply("around", replicas=1, networkPolicy={"enabled": False})
    eventually(lambda: _kinds(kubectl, "around") == set())
    assert kubectl.json("get", "mcpp", "around")["status"]["url"].endswith(f"around-proxy.{kubectl.namespace}.svc/mcp")


def test_the_network_policy_follows_the_routes(kubectl: Kubectl, apply: Callable[..., None]) -> None:
    """No plugin enforces it here: what counts is that the API server keeps it as it is meant, to the field."""
    labels = {"for": "policy"}
    kubectl("apply", "-f", "-", body=resources.remote("named", "https://docs.example.com/mcp", labels=labels))
    kubectl("apply", "-f", "-", body=resources.remote("numbered", "http://192.0.2.7:8080/mcp", labels=labels))
    kubectl("apply", "-f", "-", body=resources.container("near", "near:1", labels=labels))
    apply("policy", selector=labels, workers=2, networkPolicy=ALL["networkPolicy"])
    own = {"podSelector": {"matchLabels": {"mcp-operator.dev/proxy": "policy"}}}
    hosted = {"key": "mcp-operator.dev/server", "operator": "In", "values": ["near"]}
    expected = [
        {"to": [own], "ports": [{"protocol": "TCP", "port": 8081, "endPort": 8082}]},
        {"to": [{"podSelector": {"matchExpressions": [hosted]}}], "ports": [{"protocol": "TCP", "port": 8080}]},
        {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"protocol": "TCP", "port": 8080}]},
        {"ports": [{"protocol": "TCP", "port": 443}]},
        {
            "to": [{"ipBlock": ALL["networkPolicy"]["allowTo"][0]["ipBlock"]}],
            "ports": [{"protocol": "TCP", "port": 3128}],
        },
    ]

    def spec() -> Body:
        found: Body = kubectl.json("get", "networkpolicy", "policy-proxy")["spec"]
        return found

    eventually(lambda: spec()["egress"][1:] == expected, why=spec)
    assert spec()["podSelector"] == own["podSelector"]
    assert spec()["policyTypes"] == ["Ingress", "Egress"]
    assert [rule.get("from") for rule in spec()["ingress"]] == [None, [own]]
    kubectl("delete", "mcps", "near", "named")
    eventually(lambda: spec()["egress"][1:] == [expected[0], expected[2], expected[4]], why=spec)


def test_an_unchanged_world_writes_nothing(kubectl: Kubectl, apply: Callable[..., None]) -> None:
    """Passes that an annotation sets off find nothing to do. Other controllers may write statuses: theirs do not count."""
    apply("still", **ALL)

    def writes() -> list[tuple[str, str, Any]]:
        kinds = "deployments,services,configmaps,secrets,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,ingresses"
        command = ("get", kinds, "-l", "mcp-operator.dev/proxy=still", "--show-managed-fields")
        return sorted(
            (item["kind"], item["metadata"]["uid"], str(sorted(_by_the_operator(item), key=str)))
            for item in kubectl.json(*command)["items"]
        )

    eventually(
        lambda: _condition(kubectl, "still", "Autoscaled")[0] == "False", why=lambda: kubectl.json("get", "mcpp")
    )
    before = writes()
    for number in range(3):
        kubectl("annotate", "mcpp", "still", f"nudge={number}", "--overwrite")
    kubectl("patch", "mcpp", "still", "--type=merge", "-p", '{"spec": {"sessions": {"max": 77}}}')
    apply("still", edit=False)
    changed = {kind for (kind, _, after), (_, _, was) in zip(writes(), before, strict=True) if after != was}
    assert changed == {"ConfigMap"}, "the last edit alone, which shows that the passes took place"


def _by_the_operator(item: Body) -> list[Body]:
    return [entry for entry in item["metadata"]["managedFields"] if entry["manager"].startswith("mcp-operator")]


@pytest.mark.parametrize("kind", sorted(AROUND))
def test_what_is_deleted_or_edited_comes_back(kubectl: Kubectl, apply: Callable[..., None], kind: str) -> None:
    apply("drift", **ALL)
    uid = kubectl.json("get", kind, "drift-proxy")["metadata"]["uid"]
    kubectl("delete", kind, "drift-proxy", "--wait=false")
    eventually(lambda: kubectl.json("get", kind, "drift-proxy")["metadata"]["uid"] != uid)
    labels = kubectl.json("get", kind, "drift-proxy")["metadata"]["labels"]
    kubectl("label", kind, "drift-proxy", "mine=yes", "app.kubernetes.io/instance=other", "--overwrite")
    wanted = {**labels, "mine": "yes"}
    eventually(lambda: kubectl.json("get", kind, "drift-proxy")["metadata"]["labels"] == wanted)


def test_the_number_of_pods(kubectl: Kubectl, apply: Callable[..., None]) -> None:
    """Set by the spec; kept when that hands it over; then anybody else's; taken back."""
    apply("many", replicas=3)
    assert _replicas(kubectl, "many") == 3
    apply("many", replicas=3, autoscaling={"minReplicas": 2, "targetCPUUtilization": 70})
    assert _replicas(kubectl, "many") == 3, "it does not fall to one when the operator stops to set it"
    kubectl("scale", "deployment/many-proxy", "--replicas=5")
    apply("many", replicas=3, autoscaling={"minReplicas": 2, "targetCPUUtilization": 70}, logLevel="debug")
    eventually(lambda: "debug" in _args(kubectl, "many"))
    assert _replicas(kubectl, "many") == 5
    apply("many", replicas=4)
    eventually(lambda: _replicas(kubectl, "many") == 4)
    apply("many")
    kubectl("patch", "mcpp", "many", "--type=merge", "-p", '{"spec": {"logLevel": "error"}}')
    eventually(lambda: "error" in _args(kubectl, "many"))
    assert _replicas(kubectl, "many") == 4, "unset means left alone"


def test_the_scale_subresource(kubectl: Kubectl, apply: Callable[..., None]) -> None:
    apply("scaled", replicas=1)
    kubectl("scale", "mcpp/scaled", "--replicas=2")
    eventually(lambda: _replicas(kubectl, "scaled") == 2)
    path = f"/apis/mcp-operator.dev/v1alpha1/namespaces/{kubectl.namespace}/mcpproxies/scaled/scale"
    scale = json.loads(kubectl("get", "--raw", path))
    assert scale["spec"]["replicas"] == 2
    assert scale["status"]["selector"] == "mcp-operator.dev/proxy=scaled"


def test_a_rollout_restart_and_labels_of_others_stay(kubectl: Kubectl, apply: Callable[..., None]) -> None:
    apply("kept", replicas=1)
    kubectl("rollout", "restart", "deployment/kept-proxy")
    kubectl("label", "deployment", "kept-proxy", "mine=yes")
    kubectl("annotate", "service", "kept-proxy", "example.com/mine=yes")
    apply("kept", replicas=1, logLevel="debug", service={"port": 81})
    eventually(lambda: "debug" in _args(kubectl, "kept"))
    deployment = kubectl.json("get", "deployment", "kept-proxy")
    assert "kubectl.kubernetes.io/restartedAt" in deployment["spec"]["template"]["metadata"]["annotations"]
    assert deployment["metadata"]["labels"]["mine"] == "yes"
    service = kubectl.json("get", "service", "kept-proxy")
    assert service["metadata"]["annotations"]["example.com/mine"] == "yes"
    assert service["spec"]["ports"][0]["port"] == 81


def test_an_api_that_comes_later(kubectl: Kubectl, apply: Callable[..., None]) -> None:
    """A condition while it is missing; made when it is there; watched, so that what somebody deletes comes back."""
    apply("gated", httpRoute={**PARENT, "hostnames": ["tools.example.com"]}, monitoring={"enabled": True})
    assert _condition(kubectl, "gated", "Exposed") == ("False", "ApiMissing")
    assert _condition(kubectl, "gated", "Monitored") == ("False", "ApiMissing")
    assert kubectl.json("get", "deployment", "gated-proxy")
    kubectl("apply", "-f", "-", body=HTTP_ROUTES)
    try:
        eventually(lambda: _condition(kubectl, "gated", "Exposed") == ("Unknown", "Waiting"), timeout=90)
        route = eventually(lambda: kubectl.json("get", "httproute", "gated-proxy"))  # discovery may be later
        assert route["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/mcp"}}]
        kubectl("delete", "httproute", "gated-proxy")
        eventually(
            lambda: kubectl.json("get", "httproute", "gated-proxy")["metadata"]["uid"] != route["metadata"]["uid"]
        )
        _say(kubectl, "gated-proxy", "False", "NotAllowedByListeners")
        eventually(lambda: _condition(kubectl, "gated", "Exposed") == ("False", "NotAccepted"))
        _say(kubectl, "gated-proxy", "True", "Accepted")
        eventually(lambda: _condition(kubectl, "gated", "Exposed") == ("True", "Exposed"))
        apply("gated", monitoring={"enabled": True})
        eventually(lambda: not kubectl.json("get", "httproutes")["items"])
    finally:
        kubectl("delete", "crd", "httproutes.gateway.networking.k8s.io")


def _say(kubectl: Kubectl, route: str, status: str, reason: str) -> None:
    """As the controller of a Gateway."""
    told = {"type": "Accepted", "status": status, "reason": reason, "message": "said so"}
    patch = {"status": {"parents": [{"parentRef": {"name": "edge"}, "conditions": [told]}]}}
    kubectl("patch", "httproute", route, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
