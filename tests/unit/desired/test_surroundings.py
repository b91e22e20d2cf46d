"""What stands around a proxy's pods, beside the golden files.

made or not: HPA, PodDisruptionBudget, Ingress, HTTPRoute, monitor · the number of pods is set, or left alone
ways in lead to the MCP paths and to nothing else · TLS: probes, Service, flag · URLs, a table
"""

from typing import Any

import pytest

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import compile_proxy
from mcp_operator.compile.servers import cluster_url as server_url
from mcp_operator.desired import HostingSettings, proxy_objects
from mcp_operator.desired.names import cluster_url, public_url
from mcp_operator.desired.paths import SIGN_IN, exposed
from mcp_operator.desired.podtemplate import PodTemplateRefused
from mcp_operator_proxy.services.credentials.signin import CALLBACK, START
from support import models, resources

Body = dict[str, Any]
SETTINGS = HostingSettings(proxy_image="proxy:1", runner_image="runner:1")
ALWAYS = {"ServiceAccount", "NetworkPolicy", "Secret", "ConfigMap", "Service", "Deployment"}


def objects(proxy: McpProxy, *paths: str) -> list[Body]:
    """`paths` are those of further routes."""
    server = models.server(resources.remote("far", "https://x/mcp"))
    routes = [models.route(resources.route(f"r{i}", {"name": "far"}, path=path)) for i, path in enumerate(paths)]
    compiled = compile_proxy(proxy, routes=routes, servers=[server], objects={}, url_of=server_url)
    return proxy_objects(proxy, compiled, SETTINGS)


def made(proxy: McpProxy, *paths: str) -> dict[str, Body]:
    """The objects by kind."""
    return {body["kind"]: body for body in objects(proxy, *paths)}


def proxy(**spec: Any) -> McpProxy:
    return models.proxy(resources.proxy(**spec))


PARENT = {"parentRefs": [{"name": "edge"}]}
MADE: list[tuple[Body, set[str]]] = [
    ({}, set()),
    ({"replicas": 1}, set()),
    ({"replicas": 2}, {"PodDisruptionBudget"}),
    ({"replicas": 2, "podDisruptionBudget": {"enabled": False}}, set()),
    ({"autoscaling": {}}, {"HorizontalPodAutoscaler", "PodDisruptionBudget"}),
    ({"autoscaling": {"minReplicas": 1, "maxReplicas": 1}, "replicas": 5}, {"HorizontalPodAutoscaler"}),
    ({"ingress": {}}, {"Ingress"}),
    ({"httpRoute": PARENT}, {"HTTPRoute"}),
    ({"monitoring": {"enabled": True}}, {"ServiceMonitor"}),
    ({"monitoring": {"enabled": True, "kind": "PodMonitor"}}, {"PodMonitor"}),
]


@pytest.mark.parametrize(("spec", "more"), MADE)
def test_what_is_made(spec: Body, more: set[str]) -> None:
    assert made(proxy(**spec)).keys() == ALWAYS | more


def test_off_means_gone() -> None:
    bare = proxy(networkPolicy={"enabled": False}, serviceAccountName="mine")
    assert made(bare).keys() == ALWAYS - {"NetworkPolicy", "ServiceAccount"}
    assert made(bare)["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


@pytest.mark.parametrize(
    ("spec", "replicas"),
    [({}, None), ({"replicas": 0}, 0), ({"replicas": 3}, 3), ({"replicas": 3, "autoscaling": {}}, None)],
)
def test_the_number_of_pods_is_set_or_left_alone(spec: Body, replicas: int | None) -> None:
    assert made(proxy(**spec))["Deployment"]["spec"].get("replicas") == replicas


def test_an_autoscaler_without_targets_goes_by_cpu() -> None:
    spec = made(proxy(autoscaling={}))["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    (metric,) = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}


def test_an_autoscaler_goes_by_sessions() -> None:
    (metric,) = made(proxy(autoscaling={"targetSessions": 50}))["HorizontalPodAutoscaler"]["spec"]["metrics"]
    target = {"type": "AverageValue", "averageValue": "50"}
    assert metric == {"type": "Pods", "pods": {"metric": {"name": "mcp_proxy_sessions"}, "target": target}}


def test_status_and_metrics_are_led_to_by_nobody() -> None:
    """Neither where an endpoint is at the root."""
    assert list(exposed(["/b/mcp", "/a", "/a"])) == [("Prefix", "/a"), ("Prefix", "/b/mcp")]
    assert list(exposed(["/"])) == [("Exact", "/"), ("Exact", "/sse"), ("Exact", "/messages")]


ISSUER = {"name": "a", "issuer": "https://a", "audiences": ["b"]}
SIGNED_IN = {"authorizationCode": {}}
METADATA, PAGES = ["/.well-known/oauth-protected-resource"], ["/oauth/callback", "/oauth/start"]


@pytest.mark.parametrize(
    ("spec", "credential", "more"),
    [
        ({"authentication": {"anonymous": True}}, None, []),
        ({"authentication": {"jwt": [ISSUER]}}, None, METADATA),
        ({"authentication": {"jwt": [ISSUER]}}, SIGNED_IN, METADATA),
        ({"authentication": {"jwt": [ISSUER]}, "publicUrl": "https://a.example.com"}, SIGNED_IN, METADATA + PAGES),
        ({"authentication": {"anonymous": True, "resourceMetadata": {}}}, SIGNED_IN, METADATA),
        (
            {"authentication": {"jwt": [ISSUER], "resourceMetadata": {"resource": "https://a.example.com"}}},
            SIGNED_IN,
            METADATA + PAGES,
        ),
        ({"authentication": {"jwt": [ISSUER]}, "publicUrl": "https://a.example.com"}, None, METADATA),
        ({"authentication": {"anonymous": True}, "inspector": {"enabled": True}}, None, ["/ui"]),
        ({"authentication": {"anonymous": True}, "inspector": {}}, None, []),
        ({"inspector": {"enabled": True}}, None, []),
    ],
)
def test_what_clients_and_browsers_open_beside_the_endpoints(
    spec: Body, credential: Body | None, more: list[str]
) -> None:
    body = resources.remote("far", "https://x/mcp")
    body["spec"] |= {"credential": credential} if credential else {}
    server = models.server(body)
    shown = proxy(**spec, servers={"selector": {}}, ingress={"host": "a.example.com"}, httpRoute=PARENT)
    compiled = compile_proxy(shown, routes=[], servers=[server], objects={}, url_of=server_url)
    bodies = {body["kind"]: body for body in proxy_objects(shown, compiled, SETTINGS)}
    (rule,) = bodies["Ingress"]["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/mcp", *more]
    (rule,) = bodies["HTTPRoute"]["spec"]["rules"]
    assert [match["path"]["value"] for match in rule["matches"]] == ["/mcp", *more]


def test_the_pages_of_the_sign_in_are_where_the_proxy_has_them() -> None:
    assert (("Exact", CALLBACK), ("Prefix", START.rstrip("/"))) == SIGN_IN


def test_every_path_is_led_to() -> None:
    paths = [f"/team-{number:02}/mcp" for number in range(20)]
    bodies = made(proxy(ingress={"host": "a.example.com"}, httpRoute=PARENT), *paths)
    wanted = sorted(["/mcp", *paths])
    (rule,) = bodies["Ingress"]["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == wanted
    assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} == {"tools-proxy"}
    rules = bodies["HTTPRoute"]["spec"]["rules"]
    assert [match["path"]["value"] for rule in rules for match in rule["matches"]] == wanted
    assert [len(rule["matches"]) for rule in rules] == [8, 8, 5]


def test_tls_in_the_pods() -> None:
    bodies = made(proxy(tls={"secretName": "cert"}, monitoring={"enabled": True}))
    (container,) = bodies["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "--tls" in container["args"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    plain = made(proxy())["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert "--tls" not in plain["args"]
    assert "scheme" not in plain["livenessProbe"]["httpGet"]
    (endpoint,) = bodies["ServiceMonitor"]["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["tlsConfig"]) == ("https", {"insecureSkipVerify": True})


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]
)
def test_either_monitor_finds_each_pod_once_and_adds_the_proxys_name(kind: str, endpoints: str) -> None:
    bodies = objects(proxy(monitoring={"enabled": True, "kind": kind, "interval": "15s"}))
    (monitor,) = [body for body in bodies if body["kind"] == kind]
    (endpoint,) = monitor["spec"][endpoints]
    assert endpoint["relabelings"] == [{"action": "replace", "targetLabel": "mcp_proxy", "replacement": "tools"}]
    assert (endpoint["path"], endpoint["interval"], endpoint["scheme"]) == ("/metrics", "15s", "http")
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    matched = [body for body in bodies if body["kind"] == "Service" and chosen <= body["metadata"]["labels"].items()]
    ports = [port["name"] for service in matched for port in service["spec"]["ports"]]
    assert ports.count(endpoint["port"]) == 1, "a pod behind two Services would be scraped twice"
    (template,) = [body["spec"]["template"] for body in bodies if body["kind"] == "Deployment"]
    assert chosen <= template["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}


IN_CLUSTER = "tools-proxy.team-a.svc"
URLS: list[tuple[Body, str, str | None]] = [
    ({}, f"http://{IN_CLUSTER}/mcp", None),
    ({"path": "/all"}, f"http://{IN_CLUSTER}/all", None),
    ({"service": {"port": 81}}, f"http://{IN_CLUSTER}:81/mcp", None),
    ({"tls": {"secretName": "c"}}, f"https://{IN_CLUSTER}/mcp", None),
    ({"tls": {"secretName": "c"}, "service": {"port": 80}}, f"https://{IN_CLUSTER}:80/mcp", None),
    ({"ingress": {}}, f"http://{IN_CLUSTER}/mcp", None),
    ({"ingress": {"host": "a.example.com"}}, f"http://{IN_CLUSTER}/mcp", "http://a.example.com/mcp"),
    ({"ingress": {"host": "*.example.com"}}, f"http://{IN_CLUSTER}/mcp", None),
    ({"ingress": {"host": "a.example.com", "tlsSecretName": "c"}}, f"http://{IN_CLUSTER}/mcp", "https://a.example.com/mcp"),
    ({"httpRoute": PARENT}, f"http://{IN_CLUSTER}/mcp", None),
    ({"httpRoute": {**PARENT, "hostnames": ["b.example.com"]}}, f"http://{IN_CLUSTER}/mcp", "https://b.example.com/mcp"),
    ({"httpRoute": {"parentRefs": [{"name": "e", "port": 8443}], "hostnames": ["*.x.org", "b.x.org"]}},
     f"http://{IN_CLUSTER}/mcp", "https://b.x.org:8443/mcp"),
    ({"httpRoute": {**PARENT, "scheme": "http", "hostnames": ["b.x.org"]}}, f"http://{IN_CLUSTER}/mcp", "http://b.x.org/mcp"),
    ({"ingress": {"host": "a.x.org"}, "httpRoute": {**PARENT, "hostnames": ["b.x.org"]}},
     f"http://{IN_CLUSTER}/mcp", "http://a.x.org/mcp"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "inside", "outside"), URLS)
def test_urls(spec: Body, inside: str, outside: str | None) -> None:
    wanted = proxy(**spec)
    assert (cluster_url(wanted), public_url(wanted)) == (inside, outside)


def test_egress_that_is_still_needed_stays_once() -> None:
    wanted = proxy()
    compiled = compile_proxy(wanted, routes=[], servers=[], objects={}, url_of=server_url)
    old = {"ports": [{"protocol": "TCP", "port": 81}]}
    bodies = proxy_objects(wanted, compiled, SETTINGS)
    before = next(body for body in bodies if body["kind"] == "NetworkPolicy")["spec"]["egress"]
    bodies = proxy_objects(wanted, compiled, SETTINGS, retained_egress=[*before, old])
    assert next(body for body in bodies if body["kind"] == "NetworkPolicy")["spec"]["egress"] == [*before, old]


def test_a_pod_template_is_merged() -> None:
    spec = {"nodeSelector": {"disk": "fast"}, "containers": [{"name": "proxy", "env": [{"name": "A", "value": "b"}]}]}
    template = made(proxy(podTemplate={"spec": spec, "metadata": {"labels": {"team": "core"}}}))["Deployment"]["spec"][
        "template"
    ]
    assert template["spec"]["nodeSelector"] == {"disk": "fast"}
    assert {"name": "A", "value": "b"} in template["spec"]["containers"][0]["env"]
    assert template["metadata"]["labels"]["team"] == "core"
    spread = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    strict = made(proxy(podTemplate={"spec": {"topologySpreadConstraints": [spread]}}))["Deployment"]["spec"][
        "template"
    ]["spec"]
    found = {each["topologyKey"]: each["whenUnsatisfiable"] for each in strict["topologySpreadConstraints"]}
    assert found == {"topology.kubernetes.io/zone": "ScheduleAnyway", "kubernetes.io/hostname": "DoNotSchedule"}


def test_a_pod_template_takes_nothing_away() -> None:
    with pytest.raises(PodTemplateRefused, match="config"):
        made(proxy(podTemplate={"spec": {"volumes": [{"name": "config", "emptyDir": {}}]}}))
