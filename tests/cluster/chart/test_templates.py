"""What the chart renders: golden files, the values that it refuses, and the words in which it does."""

import os
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.app.options import parse
from mcp_operator_proxy.egress import Egress

from .conftest import CASES, CHART, Helm, HelmError, values_of

GOLDEN = Path(__file__).parent / "golden"
RENEW = "MCP_OPERATOR_RENEW_GOLDEN"


def test_lint_has_no_complaint(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize("case", [*CASES, "upgrade"])
def test_renders_as_before(helm: Helm, case: str) -> None:
    """With MCP_OPERATOR_RENEW_GOLDEN=1 the golden files are written instead: look at the difference before you commit it."""
    rendered = helm.template(*(["--is-upgrade"] if case == "upgrade" else values_of(case)))
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get(RENEW):
        path.write_text(rendered)
    assert rendered == path.read_text(), f"{RENEW}=1 renews the golden files"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("replicas=two", "got string, want integer"),
        ("replicas=-1", "minimum: got -1, want 0"),
        ("workers=0", "minimum: got 0, want 1"),
        ("leaseSeconds=2", "minimum: got 2, want 3"),
        ("watchPatienceSeconds=5m", "got string, want integer"),
        ("logLevel=verbose", "value must be one of 'debug', 'info', 'warning', 'error'"),
        ("logFormat=xml", "value must be one of 'json', 'text'"),
        ("image.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("image.operator.digest=abc", "does not match pattern '^(sha256:"),
        ("image.operator.repository=", "minLength: got 0, want 1"),
        ("image.operator.version=1", "additional properties 'version' not allowed"),
        ("watchNamespaces={Team_A}", "'Team_A' does not match pattern"),
        ("watchNamespaces={a,a}", "items at 0 and 1 are equal"),
        ("defaultProxy.name=My.Proxy", "'My.Proxy' does not match pattern"),
        ("defaultProxy.spec=all", "got string, want object"),
        ("rbac.create=1", "got number, want boolean"),
        ("metrics.service.port=70000", "maximum: got 70,000, want 65,535"),
        ("extraEnv[0].value=x", "missing property 'name'"),
        ("egress.allow={intranet}", "'intranet' does not match pattern"),
        ("egress.enforce=no", "got string, want boolean"),
        ("podLabels.tier=1", "got number, want string"),
    ],
)
def test_refuses_wrong_values_and_says_which(helm: Helm, setting: str, says: str) -> None:
    with pytest.raises(HelmError) as error:
        helm.template("--set", setting)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("serviceAccount.create=false", "serviceAccount.name is needed where serviceAccount.create is false"),
        (
            "watchNamespaces={team-a},defaultProxy.enabled=true",
            "the default proxy would be in namespace mcp-system, which watchNamespaces does not list",
        ),
    ],
)
def test_refuses_values_that_do_not_go_together(helm: Helm, settings: str, says: str) -> None:
    with pytest.raises(HelmError) as error:
        helm.template("--set", settings)
    assert says in str(error.value)


def test_refuses_a_cluster_that_is_too_old(helm: Helm) -> None:
    with pytest.raises(HelmError) as error:
        helm("template", "mcp", str(CHART), "--kube-version", "1.29.9")
    assert "chart requires kubeVersion: >=1.30.0-0" in str(error.value)


@pytest.mark.parametrize("case", CASES)
def test_the_operator_understands_its_command_line(helm: Helm, case: str) -> None:
    deployment = operator(helm, *values_of(case))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["mcp-operator", "run"]
    options = parse([argument.replace("$(POD_NAMESPACE)", "mcp-system") for argument in container["args"]])
    assert options.lease_namespace == "mcp-system"
    assert options.lease_name == f"{deployment['metadata']['name']}-leader"
    assert options.port == container["ports"][0]["containerPort"]


def test_values_reach_the_operator(helm: Helm) -> None:
    deployment = operator(helm, *values_of("available"), "--set", "watchNamespaces={team-a,team-b}")
    options = parse(deployment["spec"]["template"]["spec"]["containers"][0]["args"])
    zeros = "0" * 64
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == (
        f"registry.example.com/tools/mcp-operator/operator@sha256:{zeros}"
    )
    assert options.hosting.proxy_image == "registry.example.com/tools/mcp-operator/proxy:1.2"
    assert options.hosting.runner_image == "registry.example.com/tools/mcp-operator/runner:1.3"
    assert options.hosting.image_pull_policy == "IfNotPresent"
    assert options.hosting.image_pull_secrets == ("registry-login", "mirror-login")
    assert options.namespaces == ("team-a", "team-b")
    assert (options.workers, options.probe_concurrency, options.resync_seconds) == (4, 8, 300.0)
    assert (options.lease_seconds, options.watch_patience_seconds) == (20.0, 300.0)
    assert (options.log_level, options.log_format) == ("debug", "text")
    assert options.hosting.egress == Egress.of(["10.20.0.0/16"], loopback=True, cluster_domain="cluster.example")


def test_egress_is_enforced_unless_it_is_off(helm: Helm) -> None:
    found = {
        setting: parse(operator(helm, "--set", setting)["spec"]["template"]["spec"]["containers"][0]["args"])
        for setting in ("egress.enforce=true", "egress.enforce=false", "egress=null")
    }
    assert [options.hosting.egress for options in found.values()] == [Egress(), None, Egress()]


def test_values_of_a_chart_without_them_do_no_harm(helm: Helm) -> None:
    """As `helm upgrade --reuse-values` leaves them."""
    absent = ("--set", "leaseSeconds=null", "--set", "watchPatienceSeconds=null")
    options = parse(operator(helm, *absent)["spec"]["template"]["spec"]["containers"][0]["args"])
    assert (options.lease_seconds, options.watch_patience_seconds) == (10.0, 120.0)


@pytest.mark.parametrize(
    ("replicas", "strategy", "ready"), [(1, "Recreate", "/readyz"), (2, "RollingUpdate", "/healthz")]
)
def test_a_rollout_can_end(helm: Helm, replicas: int, strategy: str, ready: str) -> None:
    """A standby's /readyz says no: pods that wait for each other's readiness would wait for ever."""
    spec = operator(helm, "--set", f"replicas={replicas}")["spec"]
    assert spec["strategy"]["type"] == strategy
    assert spec["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == ready


def operator(helm: Helm, *arguments: str) -> dict[str, Any]:
    (found,) = [body for body in helm.objects(*arguments) if body["kind"] == "Deployment"]
    return found
