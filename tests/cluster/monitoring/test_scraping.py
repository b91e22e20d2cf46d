"""From our objects to what is scraped: the real Prometheus operator configures a real Prometheus, which finds real programs.

Prometheus is Debian's, whose release the resource names as its version, and which was built without the discovery in clusters:
that is a program beside it, of Prometheus' own code. What a cluster's controllers and kubelets would do is done through the API:
pods and Endpoints, whose addresses lead, through a proxy on loopback, to the programs of these tests.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import resources
from support.backends import free_port
from support.chart import rendered
from support.controlplane import ControlPlane
from support.documents import ROOT
from support.ending import end
from support.forwarding import Forwarded, forwarding
from support.kubectl import eventually
from support.placing import lead_to, place
from support.prometheus import Prometheus, job, program, promtool, running_prometheus
from support.prometheus_operator import discovering, rule_files, running_prometheus_operator, scrape_configuration
from support.tls import issue

from .conftest import SYSTEM, Body, documented, of_the_prometheus_operator, operated, values

MONITORING = "monitoring"
TEAM = "team-scraped"
NAME = "k8s"
SELECTED = {"matchLabels": {"release": "kube-prometheus-stack"}}
"""As the page says."""
KEY = "the-long-api-key-of-alice"
MONITORED: Body = {"enabled": True, "labels": SELECTED["matchLabels"]}
PROXIES: dict[str, Body] = {
    "tools": {"monitoring": MONITORED, "authentication": {"apiKeySecrets": [{"name": "callers"}]}},
    "safe": {"monitoring": {**MONITORED, "kind": "PodMonitor", "interval": "90s"}, "tls": {"secretName": "tls"}},
    "other": {"monitoring": {"enabled": True, "labels": {"release": "other"}}},
}
ADDRESSES = {
    "mcp-operator": {"mcp-operator-0": "10.200.0.1", "mcp-operator-1": "10.200.0.2"},
    "mcp-pods": {"mcp-pods-0": "10.200.0.3"},
    "tools": {"tools-proxy-0": "10.200.1.1", "tools-proxy-1": "10.200.1.2"},
    "safe": {"safe-proxy-0": "10.200.1.3"},
    "local": {"local-server-0": "10.200.2.1"},
}
JOBS = {
    f"serviceMonitor/{SYSTEM}/mcp-operator/0": {
        ("http://10.200.0.1:8081/metrics", "mcp-operator-0"),
        ("http://10.200.0.2:8081/metrics", "mcp-operator-1"),
    },
    f"podMonitor/{SYSTEM}/mcp-pods-mcp-operator/0": {("http://10.200.0.3:8081/metrics", "mcp-pods-0")},
    f"serviceMonitor/{TEAM}/tools-proxy/0": {
        ("http://10.200.1.1:8080/metrics", "tools-proxy-0"),
        ("http://10.200.1.2:8080/metrics", "tools-proxy-1"),
    },
    f"podMonitor/{TEAM}/safe-proxy/0": {("https://10.200.1.3:8080/metrics", "safe-proxy-0")},
    f"podMonitor/{TEAM}/mcp-servers/0": {("http://10.200.2.1:8080/metrics", "local-server-0")},
}
"""Which URLs and pods each job is to scrape; of a proxy with two Services each pod once. `other` has other labels."""
pytestmark = pytest.mark.timeout(300)


@dataclass
class Scene:
    """What the Prometheus operator made of it, and which programs answer in the place of pods."""

    plane: ControlPlane
    folder: Path
    ports: dict[str, int]
    configuration: Body = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)

    @property
    def jobs(self) -> dict[str, Body]:
        return {found["job_name"]: found for found in self.configuration["scrape_configs"]}

    def get(self, namespace: str, kind: str, name: str) -> Body:
        found: Body = json.loads(self.plane.kubectl("-n", namespace, "get", kind, name, "-o", "json"))
        return found


@pytest.fixture(scope="module")
def scene(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scraping")
    prepare(plane)
    with ExitStack() as stack:
        operator = stack.enter_context(operated(plane, folder))
        scene = Scene(plane, folder, {"10.200.0.1:8081": operator.port})
        stack.enter_context(running_prometheus_operator(folder, plane))
        install(scene)
        for name in ("tools", "safe"):
            scene.ports[f"{next(iter(ADDRESSES[name].values()))}:8080"] = stack.enter_context(proxy(scene, name))
        eventually(lambda: understood(scene), why=lambda: (folder / "prometheus-operator.log").read_text()[-4000:])
        yield scene


def prepare(plane: ControlPlane) -> None:
    """Nothing of another test is there; no controller would remove what an owner leaves."""
    plane.kubectl("delete", "mcpproxies,servicemonitors,podmonitors,prometheusrules", "--all", "--all-namespaces")
    for namespace in (MONITORING, TEAM):
        plane.kubectl("create", "namespace", namespace)
        plane.kubectl("-n", namespace, "create", "serviceaccount", "default")
    issued = issue()
    secrets = {
        "callers": {"alice": KEY},
        "tls": {"tls.crt": issued.chain, "tls.key": issued.key},
    }
    for name, data in secrets.items():
        kind = "kubernetes.io/tls" if name == "tls" else "Opaque"
        metadata = {"name": name, "namespace": TEAM}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data}
        plane.kubectl("create", "-f", "-", body=body)


def install(scene: Scene) -> None:
    """The chart as the page says, once more with a PodMonitor, proxies, a hosted server, and a Prometheus."""
    pods = (
        "--set",
        "metrics.monitor.kind=PodMonitor",
        "--set",
        "alerts.enabled=false",
        "--set",
        "metrics.service.enabled=false",
    )
    for release, arguments in (("mcp-operator", ()), ("mcp-pods", pods)):
        bodies = rendered(*values(scene.folder), *arguments, release=release)
        (deployment,) = [body for body in bodies if body["kind"] == "Deployment"]
        template = deployment["spec"]["template"]
        services = [body for body in bodies if body["kind"] == "Service"]
        scene.plane.kubectl("apply", "-f", "-", body=listed(*of_the_prometheus_operator(bodies), *services))
        stand(scene, SYSTEM, release, template, [scene.get(SYSTEM, "service", s["metadata"]["name"]) for s in services])
    local = resources.stdio("local", "uvx", "mcp-server-time")
    proxies = [resources.proxy(name, selector={}, **spec) for name, spec in PROXIES.items()]
    team = listed(local, documented("PodMonitor"), *proxies)
    scene.plane.kubectl("-n", TEAM, "apply", "-f", "-", body=team)
    for name, child in (("tools", "tools-proxy"), ("safe", "safe-proxy"), ("local", "local-server")):
        deployment = eventually(lambda child=child: scene.get(TEAM, "deployment", child))  # type: ignore[misc]
        services = [child, "tools-peers"] if name == "tools" else []
        found = [eventually(lambda s=service: scene.get(TEAM, "service", s)) for service in services]  # type: ignore[misc]
        stand(scene, TEAM, name, deployment["spec"]["template"], found)
    scene.plane.kubectl("create", "-f", "-", body=prometheus_resource())


def stand(scene: Scene, namespace: str, name: str, template: Body, services: list[Body]) -> None:
    place(scene.plane, namespace, template, ADDRESSES[name])
    for service in services:
        lead_to(scene.plane, service, template, ADDRESSES[name])


def listed(*bodies: Body) -> Body:
    return {"apiVersion": "v1", "kind": "List", "items": list(bodies)}


def prometheus_resource() -> Body:
    """It selects by the labels of the page, in all namespaces."""
    words = subprocess.run([program("prometheus"), "--version"], capture_output=True, text=True, check=True)
    release = re.search(r"version (\d+\.\d+\.\d+)", words.stdout + words.stderr)
    assert release is not None
    selectors = {f"{kind}Selector": SELECTED for kind in ("serviceMonitor", "podMonitor", "rule")}
    everywhere: Body = {f"{kind}NamespaceSelector": {} for kind in ("serviceMonitor", "podMonitor", "rule")}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": {"name": NAME, "namespace": MONITORING},
        "spec": {"version": f"v{release[1]}", "serviceAccountName": "default", **selectors, **everywhere},
    }


@contextmanager
def proxy(scene: Scene, name: str) -> Iterator[int]:
    """A pod of the proxy as a kubelet would run it: the Deployment's arguments, the files of ConfigMap and Secret. Its port."""
    files = scene.folder / name
    files.mkdir()
    config = eventually(lambda: scene.get(TEAM, "configmap", f"{name}-proxy-config"))["data"]
    secrets = eventually(lambda: scene.get(TEAM, "secret", f"{name}-proxy-secrets"))["data"]
    for file, text in (*config.items(), *((file, base64.b64decode(text).decode()) for file, text in secrets.items())):
        (files / file).write_text(text)
    (container,) = scene.get(TEAM, "deployment", f"{name}-proxy")["spec"]["template"]["spec"]["containers"]
    port = free_port()
    instead = {"/etc/mcp-proxy": str(files), "0.0.0.0": "127.0.0.1", "8080": str(port)}
    command = [sys.executable, "-m", "mcp_operator_proxy.cli", "serve", *(instead.get(a, a) for a in container["args"])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "proxy_image")}
    with (scene.folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield port
        assert process.poll() is None, (scene.folder / f"{name}.log").read_text()[-4000:]
    finally:
        end(process, 30)


def understood(scene: Scene) -> bool:
    """Whether the Prometheus operator has written what is to be there; what else it wrote is for the tests to see."""
    text = scrape_configuration(scene.plane, MONITORING, NAME)
    scene.configuration = yaml.safe_load(text) or {}
    scene.rules = dict(rule_files(scene.plane, MONITORING, NAME))
    return bool(scene.configuration) and scene.jobs.keys() >= JOBS.keys() and bool(scene.rules)


def test_it_selects_what_has_the_labels_and_nothing_else(scene: Scene) -> None:
    assert scene.jobs.keys() == JOBS.keys()


def test_the_configuration_is_one_that_prometheus_reads(scene: Scene) -> None:
    """The files that it names are in Prometheus' own pod; its discovery is read by the program of the fixture `scraped`."""
    jobs = [{key: found[key] for key in found.keys() - {"kubernetes_sd_configs"}} for found in scene.jobs.values()]
    path = scene.folder / "readable.yml"
    path.write_text(yaml.safe_dump({**scene.configuration, "scrape_configs": jobs}))
    done = promtool("check", "config", "--syntax-only", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", JOBS)
def test_a_job_asks_as_its_monitor_says(scene: Scene, name: str) -> None:
    """Also the jobs of the unit tests (`support.prometheus.job`) are of that form."""
    kind, namespace, monitor, _ = name.split("/")
    body = scene.get(namespace, kind.lower(), monitor)
    (endpoint,) = body["spec"].get("endpoints") or body["spec"]["podMetricsEndpoints"]
    found = scene.jobs[name]
    assert found["metrics_path"] == "/metrics"
    assert (
        found.get("scheme", "http")
        == endpoint.get("scheme", "http")
        == ("https" if monitor == "safe-proxy" else "http")
    )
    assert found.get("scrape_interval") == endpoint.get("interval")
    assert found.get("tls_config", {}) == ({"insecure_skip_verify": True} if monitor == "safe-proxy" else {})
    assert not {"authorization", "basic_auth", "bearer_token", "bearer_token_file", "oauth2"} & found.keys()
    for discovery in found["kubernetes_sd_configs"]:
        assert discovery["namespaces"] == {"names": [namespace]}
        assert discovery["role"] == ("pod" if kind == "podMonitor" else "endpoints")
    if monitor in {"tools-proxy", "safe-proxy"}:
        supposed = job(body, "127.0.0.1:1", {})
        assert {key: supposed[key] for key in ("metrics_path", "scheme")} == {
            key: found[key] for key in ("metrics_path", "scheme")
        }
        assert supposed["tls_config"] == {"insecure_skip_verify": False, **found.get("tls_config", {})}
        assert all(relabeling in found["relabel_configs"] for relabeling in supposed["relabel_configs"])


def charts_rules() -> list[Body]:
    files = sorted((ROOT / "charts" / "mcp-operator" / "alerts").glob("*.yaml"))
    return [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]


def test_the_rules_are_the_charts(scene: Scene) -> None:
    (text,) = scene.rules.values()
    assert yaml.safe_load(text)["groups"] == charts_rules()
    path = scene.folder / "rules.yaml"
    path.write_text(text)
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Scraped:
    prometheus: Prometheus
    asked: list[Forwarded]

    def targets(self) -> list[Body]:
        return list(self.prometheus.get("targets", state="active")["activeTargets"])


@pytest.fixture(scope="module")
def scraped(scene: Scene) -> Iterator[Scraped]:
    """A Prometheus with these jobs, but for how often they ask, through the proxy."""
    rules = scene.folder / "scraped"
    rules.mkdir()
    for name, text in scene.rules.items():
        (rules / name).write_text(text)
    discoveries = {name: found["kubernetes_sd_configs"] for name, found in scene.jobs.items()}
    assert all(len(configs) == 1 for configs in discoveries.values())
    with ExitStack() as stack:
        url, asked = stack.enter_context(forwarding(scene.ports))
        files = stack.enter_context(discovering(scene.folder, scene.plane, {n: c[0] for n, c in discoveries.items()}))
        jobs = [
            {
                **{key: found[key] for key in found.keys() - {"kubernetes_sd_configs"}},
                "file_sd_configs": [{"files": [str(files[name])], "refresh_interval": "2s"}],
                "scrape_interval": "2s",
                "scrape_timeout": "2s",
                "proxy_url": url,
            }
            for name, found in scene.jobs.items()
        ]
        prometheus = stack.enter_context(running_prometheus(rules, jobs, sorted(rules.glob("*.yaml"))))
        found = Scraped(prometheus, asked)
        eventually(lambda: len(found.targets()) >= sum(map(len, JOBS.values())), why=found.targets)
        eventually(lambda: scene.ports.keys() <= up(found), why=found.targets)
        yield found


def up(scraped: Scraped) -> set[str]:
    return {target["labels"]["instance"] for target in scraped.targets() if target["health"] == "up"}


def test_every_pod_is_found_once_where_it_has_its_metrics(scraped: Scraped) -> None:
    found: dict[str, list[tuple[str, str]]] = {}
    for target in scraped.targets():
        found.setdefault(target["scrapePool"], []).append((target["scrapeUrl"], target["labels"]["pod"]))
    assert {pool: sorted(targets) for pool, targets in found.items()} == {
        pool: sorted(targets) for pool, targets in JOBS.items()
    }


def test_series_say_whose_they_are(scraped: Scraped) -> None:
    labels = {target["labels"]["pod"]: target["labels"] for target in scraped.targets()}
    told = {pod: (found["namespace"], found.get("mcp_proxy"), found.get("mcp_server")) for pod, found in labels.items()}
    assert told == {
        "mcp-operator-0": (SYSTEM, None, None),
        "mcp-operator-1": (SYSTEM, None, None),
        "mcp-pods-0": (SYSTEM, None, None),
        "tools-proxy-0": (TEAM, "tools", None),
        "tools-proxy-1": (TEAM, "tools", None),
        "safe-proxy-0": (TEAM, "safe", None),
        "local-server-0": (TEAM, None, "local"),
    }


def test_what_runs_answers_without_credentials(scene: Scene, scraped: Scraped) -> None:
    """The operator; a proxy that asks its callers for keys; one that serves TLS, with a certificate that nobody can check."""
    # A scrape that took too long makes a target down, and its series none, until the next one.
    eventually(lambda: up(scraped) == scene.ports.keys(), why=scraped.targets)
    for name in ("tools", "safe"):
        query = f'mcp_proxy_config_info{{namespace="{TEAM}", mcp_proxy="{name}"}}'
        ((about, _),) = eventually(lambda query=query: scraped.prometheus.query(query))  # type: ignore[misc]
        assert about["pod"] == f"{name}-proxy-0"
    query = f'controller_reconcile_total{{namespace="{SYSTEM}", pod="mcp-operator-0"}}'
    eventually(lambda: scraped.prometheus.query(query))
    methods = {(one.method, one.address) for one in scraped.asked}
    assert ("CONNECT", "10.200.1.3:8080") in methods, "a tunnel: TLS from end to end"
    assert not [one for one in scraped.asked if "authorization" in one.headers or "cookie" in one.headers]


def test_the_rules_are_evaluated(scraped: Scraped) -> None:
    def health() -> dict[str, Any]:
        groups = scraped.prometheus.get("rules")["groups"]
        return {rule["name"]: (rule["health"], rule.get("lastError")) for group in groups for rule in group["rules"]}

    alerts = {rule["alert"] for group in charts_rules() for rule in group["rules"]}
    eventually(lambda: health() == dict.fromkeys(alerts, ("ok", None)), why=health)
