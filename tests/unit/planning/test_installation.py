"""The settings of the operator that runs in a cluster, from its Deployment."""

from pathlib import Path
from typing import Any

from mcp_operator.desired import HostingSettings
from mcp_operator.planning.installation import options_of
from mcp_operator_proxy.egress import Egress

ARGS = [
    "--port=8081",
    "--lease-namespace=$(POD_NAMESPACE)",
    "--proxy-image=registry.example.com/proxy:2",
    "--runner-image=registry.example.com/runner:2",
    "--image-pull-policy=Always",
    "--image-pull-secrets=one,two",
    "--of-a-later-version=x",
]


def deployment(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": "mcp-system"}, "spec": {"template": {"spec": {"containers": list(containers)}}}}


def test_from_arguments() -> None:
    sidecar = {"name": "a", "command": ["sleep"]}
    operator = {"name": "operator", "command": ["mcp-operator", "run"], "args": ARGS}
    options = options_of(deployment(sidecar, operator))
    assert options is not None
    assert options.hosting == HostingSettings(
        proxy_image="registry.example.com/proxy:2",
        runner_image="registry.example.com/runner:2",
        image_pull_policy="Always",
        image_pull_secrets=("one", "two"),
        egress=Egress(),
        operator_namespace="mcp-system",
    )


def test_from_the_environment() -> None:
    env = [{"name": "MCP_OPERATOR_PROXY_IMAGE", "value": "proxy:3"}, {"name": "POD_NAMESPACE", "valueFrom": {}}]
    options = options_of(deployment({"args": ["mcp-operator", "run"], "env": env}))
    assert options is not None
    assert options.hosting.proxy_image == "proxy:3"


def test_what_is_no_operator_or_can_not_be_read() -> None:
    assert options_of(deployment({"command": ["mcp-operator", "crds"]})) is None
    assert options_of(deployment({"name": "x"})) is None
    broken = {"command": ["mcp-operator", "run"], "args": ["--image-pull-policy=Sometimes"]}
    assert options_of(deployment(broken)) is None


def test_the_chart_gives_them_as_arguments() -> None:
    template = Path(__file__).parents[3] / "charts" / "mcp-operator" / "templates" / "deployment.yaml"
    text = template.read_text()
    assert "command: [mcp-operator, run]" in text
    assert all(f"- --{name}=" in text for name in ("proxy-image", "runner-image", "image-pull-policy"))
