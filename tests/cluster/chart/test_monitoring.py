"""What the chart brings for Prometheus and Grafana, as helm renders it. That it works there: tests/unit/chart."""

import json
from typing import Any

import pytest
import yaml

from .conftest import CHART, Body, Helm, HelmError

FILES = sorted((CHART / "dashboards").glob("*.json"))


def rules(helm: Helm, *settings: str) -> dict[str, dict[str, Any]]:
    arguments = [word for setting in ("alerts.enabled=true", *settings) for word in ("--set", setting)]
    (found,) = [body for body in helm.objects(*arguments) if body["kind"] == "PrometheusRule"]
    return {rule["alert"]: rule for group in found["spec"]["groups"] for rule in group["rules"]}


def named(helm: Helm, kind: str, *settings: str) -> list[Body]:
    arguments = [word for setting in settings for word in ("--set", setting)]
    return [body for body in helm.objects(*arguments) if body["kind"] == kind]


def test_the_rules_are_those_of_the_files(helm: Helm) -> None:
    files = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "alerts").glob("*.yaml"))]
    assert rules(helm) == {rule["alert"]: rule for file in files for group in file["groups"] for rule in group["rules"]}


def test_alerts_are_left_out_and_labelled(helm: Helm) -> None:
    all_of_them = rules(helm)
    settings = ("alerts.disabled={SlowSwap,MCPProxySlow}", "alerts.alertLabels.team=a", "alerts.alertLabels.severity=x")
    fewer = rules(helm, *settings, "alerts.runbookUrl=https://wiki.example.com/mcp")
    assert fewer.keys() == all_of_them.keys() - {"SlowSwap", "MCPProxySlow"}
    found = fewer["MCPServerDown"]
    assert found["labels"] == {"severity": "critical", "team": "a"}, "a rule's own labels stay"
    assert found["annotations"]["runbook_url"] == "https://wiki.example.com/mcp#mcpserverdown"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("alerts.enabled=true,alerts.disabled={Slow}", "alerts.disabled names Slow, and there is no such alert"),
        ("alerts.runbookUrl=wiki", "'wiki' does not match pattern"),
        (
            "metrics.monitor.enabled=true,metrics.service.enabled=false",
            "metrics.monitor.kind ServiceMonitor needs metrics.service.enabled",
        ),
        ("metrics.monitor.kind=Probe", "value must be one of 'ServiceMonitor', 'PodMonitor'"),
        ("metrics.monitor.interval=30", "got number, want string"),
    ],
)
def test_refuses_what_would_not_work(helm: Helm, settings: str, says: str) -> None:
    with pytest.raises(HelmError) as error:
        helm.template("--set", settings)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]
)
def test_the_operators_monitor_finds_its_pods(helm: Helm, kind: str, endpoints: str) -> None:
    settings = ("--set", "metrics.monitor.enabled=true", "--set", f"metrics.monitor.kind={kind}")
    bodies = {body["kind"]: body for body in helm.objects(*settings)}
    chosen = bodies[kind]["spec"]["selector"]["matchLabels"].items()
    pods, service = bodies["Deployment"]["spec"]["template"], bodies["Service"]
    (endpoint,) = bodies[kind]["spec"][endpoints]
    if kind == "ServiceMonitor":
        assert chosen <= service["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    else:
        assert chosen <= pods["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in pods["spec"]["containers"][0]["ports"]}


def test_each_dashboard_is_a_config_map_that_grafana_finds(helm: Helm) -> None:
    settings = ("dashboards.enabled=true", "dashboards.labels.tier=ui", "dashboards.annotations.grafana_folder=MCP")
    found = named(helm, "ConfigMap", *settings)
    assert len(found) == len(FILES) > 0
    for body, path in zip(sorted(found, key=lambda body: str(body["data"].keys())), FILES, strict=True):
        assert {"grafana_dashboard": "1", "tier": "ui"}.items() <= body["metadata"]["labels"].items()
        assert body["metadata"]["annotations"] == {"grafana_folder": "MCP"}
        assert {name: json.loads(text) for name, text in body["data"].items()} == {
            path.name: json.loads(path.read_text())
        }


def test_nothing_of_it_is_there_unless_it_is_wanted(helm: Helm) -> None:
    kinds = {body["kind"] for body in helm.objects()}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}
