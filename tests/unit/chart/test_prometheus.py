"""A real Prometheus scrapes real proxies and the operator's endpoint, as the monitors say: every query of every dashboard returns
data, every rule is evaluated, and either monitor says which proxy a series is of.
"""

import asyncio
import itertools
import json
import math
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dashboards.__main__ import FOLDER
from mcp_operator.desired.monitoring import monitor
from support import models, resources
from support.prometheus import Prometheus, job, promtool, running_prometheus

from .monitored import Operating, Proxies, operating, proxies
from .test_alerts import ALL, RULES

ROUNDS = 2
WINDOW = "5m"
TARGETS = 3
FILES = sorted(FOLDER.glob("*.json"))
CHOSEN = {
    "all": {"namespace": ".*", "proxy": ".*", "server": ".*"},
    "some": {"namespace": "(team-a|mcp-system)", "proxy": "(tools|safe)", "server": "(time|dead|files|cmd)"},
}
"""As Grafana fills in variables: all, or the chosen values as alternatives."""
pytestmark = pytest.mark.timeout(240)


@dataclass(frozen=True)
class Observed:
    """A Prometheus that has seen all this for a while, and what the targets said last."""

    prometheus: Prometheus
    texts: dict[str, bytes]


def _jobs(served: Proxies, operator: Operating) -> list[dict[str, Any]]:
    """A proxy with a key by its ServiceMonitor, one with TLS by its PodMonitor, the operator."""
    plain = resources.proxy("tools", selector={}, monitoring={"enabled": True})
    tls: dict[str, Any] = {"monitoring": {"enabled": True, "kind": "PodMonitor"}, "tls": {"secretName": "tls"}}
    safe = resources.proxy("safe", selector={}, **tls)
    found = [
        (monitor(models.proxy(plain)), served.port, {"service": "tools-proxy", "pod": "tools-proxy-0"}),
        (monitor(models.proxy(safe)), served.encrypted_port, {"pod": "safe-proxy-0"}),
    ]
    jobs = [job(body, f"127.0.0.1:{port}", labels) for body, port, labels in found if body is not None]
    about = {"namespace": "mcp-system", "pod": "mcp-operator-0"}
    target = {"targets": [f"127.0.0.1:{operator.port}"], "labels": about}
    return [*jobs, {"job_name": "mcp-operator-metrics", "static_configs": [target]}]


async def _observe(folder: Path, stack: ExitStack) -> Observed:
    async with proxies() as served, operating(folder, served.url_of("time")) as operator:
        prometheus = stack.enter_context(running_prometheus(folder, _jobs(served, operator), RULES))
        await operator.operator.resync.synced.wait()
        for _ in range(ROUNDS):
            await asyncio.gather(served.busy(), operator.busy())
            await _scraped(prometheus)
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        async with httpx2.AsyncClient(verify=trusting, trust_env=False) as http:
            urls = {
                "proxy": f"{served.gateway.base}/metrics",
                "tls": f"https://127.0.0.1:{served.encrypted_port}/metrics",
                "operator": f"http://127.0.0.1:{operator.port}/metrics",
            }
            return Observed(prometheus, {name: (await http.get(url)).content for name, url in urls.items()})


async def _scraped(prometheus: Prometheus, more: int = 3) -> None:
    """Wait until each target has been scraped so many times again, the last time for `prometheus.at`.

    The first one may have begun before, and a rate needs two that know a new series. A busy machine may let a scrape fail in
    between, which ends the series until the next one.
    """

    def scrapes() -> dict[str, float]:
        return {about["instance"]: value for about, value in prometheus.query(f"sum_over_time(up[{WINDOW}])")}

    def up() -> int:
        prometheus.at = time.time()
        return len(prometheus.query("up == 1"))

    prometheus.at = None
    before = await asyncio.to_thread(scrapes)
    async with asyncio.timeout(60):
        while True:
            prometheus.at = None
            now = await asyncio.to_thread(scrapes)
            enough = len(now) == TARGETS and all(value >= before.get(name, 0) + more for name, value in now.items())
            if enough and await asyncio.to_thread(up) == TARGETS:
                return
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with ExitStack() as stack:
        yield asyncio.run(_observe(tmp_path_factory.mktemp("prometheus"), stack))


def filled(expr: str, chosen: dict[str, str]) -> str:
    expr = expr.replace("$__rate_interval", WINDOW).replace("$__range", WINDOW)
    for name, value in chosen.items():
        expr = expr.replace(f"${name}", value)
    return expr


@pytest.mark.parametrize("choice", CHOSEN)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_of_every_dashboard_returns_data(observed: Observed, path: Path, choice: str) -> None:
    empty = []
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expr = filled(target["expr"], CHOSEN[choice])
            values = [value for _, value in observed.prometheus.query(expr)]
            if not any(math.isfinite(value) for value in values):
                empty.append(f"{panel['title']}: {expr}: {values}")
    assert not empty, "\n".join(empty)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_variable_has_values(observed: Observed, path: Path) -> None:
    for variable in json.loads(path.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            asked = filled(variable["query"]["query"], CHOSEN["all"])
            series, _, label = asked.removeprefix("label_values(").removesuffix(")").rpartition(", ")
            values = observed.prometheus.get(f"label/{label}/values", **{"match[]": series})
            assert values, asked


def test_every_legend_names_labels_that_are_there(observed: Observed) -> None:
    wrong = []
    for target in itertools.chain.from_iterable(
        panel.get("targets", ()) for path in FILES for panel in json.loads(path.read_text())["panels"]
    ):
        named = {part.partition("}}")[0] for part in target["legendFormat"].split("{{")[1:]} - {"le"}
        for labels, _ in observed.prometheus.query(filled(target["expr"], CHOSEN["all"])):
            if not named <= labels.keys():
                wrong.append((target["expr"], named, labels))
    assert wrong == []


def test_every_rule_is_evaluated(observed: Observed) -> None:
    """What is wrong in this world for some seconds is found by the expressions; what would be wrong for long fires."""
    groups = observed.prometheus.get("rules")["groups"]
    states = {rule["name"]: (rule["health"], rule.get("lastError")) for group in groups for rule in group["rules"]}
    assert states == dict.fromkeys(ALL, ("ok", None))
    found = {name: observed.prometheus.query(rule["expr"]) for name, rule in ALL.items()}
    wrong = {name for name, series in found.items() if series}
    assert {"MCPServerDown", "ProxyNotProgrammed", "MCPConfigRejected", "MCPDefinitionsUnapproved"} <= wrong
    assert not wrong & {"MCPProxyDown", "MCPOperatorLeaderMissing", "OperatorStuck", "MCPReplicasDiffer"}
    down = {(labels["namespace"], labels["mcp_proxy"], labels["server_id"]) for labels, _ in found["MCPServerDown"]}
    assert ("team-a", "tools", "ns/dead") in down


@pytest.mark.parametrize("proxy", ["tools", "safe"])
def test_either_monitor_says_which_proxy_a_series_is_of(observed: Observed, proxy: str) -> None:
    """The one asks its callers for keys, the other one serves TLS."""
    ((up, value),) = observed.prometheus.query(f'up{{namespace="team-a", mcp_proxy="{proxy}"}}')
    assert value == 1
    assert up["pod"] == f"{proxy}-proxy-0"
    ((info, _),) = observed.prometheus.query(f'mcp_proxy_config_info{{namespace="team-a", mcp_proxy="{proxy}"}}')
    assert info["instance"] == up["instance"]
    assert not any(label.startswith("exported_") for label in info)


def test_no_label_of_ours_is_one_that_a_scrape_adds(observed: Observed) -> None:
    """Prometheus would rename it."""
    labels = observed.prometheus.get("labels")
    assert not [label for label in labels if label.startswith("exported_")]


@pytest.mark.parametrize("name", ["proxy", "tls", "operator"])
def test_the_exposition_is_as_prometheus_wants_it(observed: Observed, name: str) -> None:
    done = promtool("check", "metrics", stdin=observed.texts[name])
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
