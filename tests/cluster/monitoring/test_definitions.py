"""What the chart and the operator make for a Prometheus fits the real definitions: nothing is refused, nothing is dropped.

The definitions are those of a release of the Prometheus operator; the API server validates strictly.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.desired.monitoring import monitor
from support import models, resources
from support.chart import rendered
from support.controlplane import ControlPlane
from support.kubectl import eventually

from .conftest import SYSTEM, TEAM, Body, documented, of_the_prometheus_operator, operated, values

EVERYTHING = (
    "metrics.monitor.interval=15s",
    "metrics.monitor.annotations.team=platform",
    "alerts.annotations.team=platform",
    "alerts.alertLabels.team=platform",
    "alerts.disabled={SlowSwap}",
    "alerts.runbookUrl=https://wiki.example.com/mcp",
    "dashboards.labels.tier=ui",
    "dashboards.annotations.grafana_folder=MCP",
    "defaultProxy.enabled=true",
    "defaultProxy.spec.monitoring.enabled=true",
)
PROXIES: dict[str, Body] = {
    "plain": {"monitoring": {"enabled": True}},
    "labelled": {"monitoring": {"enabled": True, "interval": "90s", "labels": {"release": "kube-prometheus-stack"}}},
    "pods": {"monitoring": {"enabled": True, "kind": "PodMonitor", "interval": "1m30s"}},
    "encrypted": {"monitoring": {"enabled": True}, "tls": {"secretName": "tls"}},
    "encrypted-pods": {"monitoring": {"enabled": True, "kind": "PodMonitor"}, "tls": {"secretName": "tls"}},
}


def apply(plane: ControlPlane, *bodies: Body, namespace: str = SYSTEM) -> None:
    """As a user does, with strict validation: an unknown or doubled field is an error."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    plane.kubectl("-n", namespace, "apply", "--validate=strict", "-f", "-", body=items)


def live(plane: ControlPlane, body: Body, namespace: str) -> Body:
    group = body["apiVersion"].rpartition("/")[0]
    kind = f"{body['kind']}.{body['apiVersion'].rpartition('/')[2]}.{group}" if group else body["kind"]
    arguments = ("-n", body["metadata"].get("namespace", namespace), "get", kind, body["metadata"]["name"])
    found: Body = json.loads(plane.kubectl(*arguments, "-o", "json"))
    return found


def dropped(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where `found` lacks something of `wanted`, or has something else."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key not in found:
                yield f"{path}.{key} is gone"
            else:
                yield from dropped(value, found[key], f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from dropped(one, other, f"{path}[{number}]")
    elif wanted != found:
        yield f"{path} is {found!r}, not {wanted!r}"


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_what_the_chart_makes(plane: ControlPlane, tmp_path: Path, kind: str) -> None:
    settings = [word for value in (*EVERYTHING, f"metrics.monitor.kind={kind}") for word in ("--set", value)]
    bodies = rendered(*values(tmp_path), *settings)
    ours = of_the_prometheus_operator(bodies)
    assert {body["kind"] for body in ours} == {kind, "PrometheusRule"}
    dashboards = [body for body in bodies if body["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert len(dashboards) == 4
    apply(plane, *bodies)
    for body in (*ours, *dashboards):
        found = live(plane, body, SYSTEM)
        assert list(dropped(body["metadata"]["labels"], found["metadata"]["labels"])) == []
        assert list(dropped(body["metadata"]["annotations"], found["metadata"]["annotations"])) == []
        for part in ("spec", "data"):
            assert list(dropped(body.get(part, {}), found.get(part, {}))) == []


def test_what_the_page_shows(plane: ControlPlane) -> None:
    body = documented("PodMonitor")
    apply(plane, body, namespace=TEAM)
    assert list(dropped(body["spec"], live(plane, body, TEAM)["spec"])) == []
    apply(plane, documented("McpProxy"), namespace=TEAM)


def test_what_the_operator_makes(plane: ControlPlane, tmp_path: Path) -> None:
    """As it stands there it is what was wanted; a pass that changes something else leaves it alone."""

    def told(name: str) -> bool:
        body = live(plane, resources.proxy(name), TEAM)
        status = body.get("status") or {}
        held = [c["status"] for c in status.get("conditions") or () if c["type"] == "Monitored"]
        return bool(held == ["True"] and status.get("observedGeneration") == body["metadata"]["generation"])

    def monitors() -> dict[str, Body]:
        return {name: live(plane, wanted, TEAM) for name, wanted in wanted_monitors().items()}

    with operated(plane, tmp_path):
        for name, spec in PROXIES.items():
            apply(plane, resources.proxy(name, selector={"team": "none"}, **spec), namespace=TEAM)
        for name in PROXIES:
            eventually(lambda name=name: told(name), why=lambda: plane.kubectl("-n", TEAM, "get", "mcpp", "-o", "yaml"))  # type: ignore[misc]
        before = monitors()
        for name, wanted in wanted_monitors().items():
            assert list(dropped(wanted["spec"], before[name]["spec"])) == []
            assert list(dropped(wanted["metadata"]["labels"], before[name]["metadata"]["labels"])) == []
            plane.kubectl(
                "-n", TEAM, "patch", "mcpp", name, "--type=merge", "-p", '{"spec": {"sessions": {"max": 77}}}'
            )
        for name in PROXIES:
            eventually(lambda name=name: told(name))  # type: ignore[misc]
        versions = {name: body["metadata"]["resourceVersion"] for name, body in before.items()}
        assert {name: body["metadata"]["resourceVersion"] for name, body in monitors().items()} == versions


def wanted_monitors() -> dict[str, Body]:
    made = {
        name: monitor(models.proxy(resources.proxy(name, selector={}, **spec), namespace=TEAM))
        for name, spec in PROXIES.items()
    }
    return {name: body for name, body in made.items() if body is not None}


def misspelt(body: Body) -> None:
    (endpoint,) = body["spec"].get("endpoints") or body["spec"]["podMetricsEndpoints"]
    endpoint["intervall"] = endpoint.pop("interval")


def unknown_scheme(body: Body) -> None:
    (endpoint,) = body["spec"].get("endpoints") or body["spec"]["podMetricsEndpoints"]
    endpoint["scheme"] = "ftp"


def no_duration(body: Body) -> None:
    (endpoint,) = body["spec"].get("endpoints") or body["spec"]["podMetricsEndpoints"]
    endpoint["interval"] = "soon"


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [(misspelt, "unknown field"), (unknown_scheme, "Unsupported value"), (no_duration, "should match")],
)
def test_what_would_not_fit_is_refused(
    plane: ControlPlane, kind: str, spoil: Callable[[Body], None], says: str
) -> None:
    """So that the tests above can fail."""
    arguments = ("--set", "metrics.monitor.enabled=true", "--set", f"metrics.monitor.kind={kind}")
    (body,) = of_the_prometheus_operator(rendered(*arguments))
    wrong = copy.deepcopy(body)
    wrong["metadata"]["name"] = "wrong"
    spoil(wrong)
    with pytest.raises(AssertionError, match=says):
        apply(plane, wrong)
