"""The manifests of examples/, applied on the real cluster: as they are, but for what lies outside of it.

Nothing leaves the cluster. So packages come from an index in it, and images and remote servers that are only examples are
replaced by the test backend; every such change stands in the test.
"""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastmcp import Client

from support.kubectl import Namespace, eventually, kubectl
from support.manifests import example_folders
from support.product import BACKEND_IMAGE, PACKAGES_IMAGE, backend_objects, call, tools

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = example_folders()
Body = dict[str, Any]


def example(folder: str, *names: str) -> dict[str, Body]:
    """Objects of a folder (or of some of its files) by `Kind/name`."""
    files = [EXAMPLES / folder / f"{name}.yaml" for name in names] or sorted((EXAMPLES / folder).glob("*.yaml"))
    bodies = [body for file in files for body in yaml.safe_load_all(file.read_text()) if body]
    return {f"{body['kind']}/{body['metadata']['name']}": body for body in bodies}


def with_packages_of_the_cluster(server: Body, namespace: Namespace) -> None:
    """Let uvx take its package from the index that runs as `packages` in the namespace."""
    index = {"name": "UV_DEFAULT_INDEX", "value": f"http://packages.{namespace.name}.svc:8080/simple"}
    server["spec"]["stdio"].setdefault("env", []).append(index)


@pytest.mark.parametrize("folder", FOLDERS)
def test_admitted_as_it_is(namespace: Namespace, folder: str) -> None:
    """`kubectl apply -f examples/FOLDER` says nothing but that it made everything in it."""
    named = {body["metadata"].get("namespace") for body in example(folder).values()} - {None}
    for name in sorted(named):
        kubectl("create", "namespace", name, check=False)
    home = [] if named else ["-n", namespace.name]
    said = kubectl(*home, "apply", "--dry-run=server", "-f", str(EXAMPLES / folder)).splitlines()
    assert len(said) == len(example(folder))
    assert all(line.endswith(" created (server dry run)") for line in said), said


def test_quickstart(namespace: Namespace) -> None:
    """One `kubectl apply` of a proxy and a server; the tool answers under its server's name."""
    bodies = example("quickstart", "proxy", "time")
    with_packages_of_the_cluster(bodies["McpServer/time"], namespace)
    namespace.apply(*backend_objects("packages", image=PACKAGES_IMAGE), *bodies.values())
    namespace.wait("mcps", "time", "Ready", timeout=120)
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: tools(url) == {"time_convert_time", "time_get_current_time"}, why=lambda: tools(url))
    assert "UTC" in call(url, "time_get_current_time", timezone="UTC")


def test_canary(namespace: Namespace) -> None:
    """The call passes through the proxy; another expectation is found wrong, and the server stays Ready."""
    bodies = example("canary")
    server = bodies["McpServer/time"]
    with_packages_of_the_cluster(server, namespace)
    namespace.apply(*backend_objects("packages", image=PACKAGES_IMAGE), *bodies.values())
    namespace.wait("mcps", "time", "CanaryPassing", timeout=120)
    server["spec"]["canary"]["expect"]["contains"] = "half past never"
    namespace.apply(server)
    namespace.wait("mcps", "time", "CanaryPassing", "False", reason="UnexpectedAnswer")
    namespace.wait("mcps", "time", "Ready")


def test_container(namespace: Namespace) -> None:
    bodies = example("container")
    container = bodies["McpServer/search"]["spec"]["container"]
    container["image"] = BACKEND_IMAGE
    container["env"].append({"name": "NAME", "valueFrom": container["env"][1]["valueFrom"]})
    namespace.apply(*bodies.values())
    namespace.wait("mcps", "search", "Ready", timeout=120)
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "search_hello" in tools(url))
    assert call(url, "search_hello") == "20/hello", "its NAME is PAGE_SIZE's value, from the ConfigMap"


def test_remote(namespace: Namespace, backend: Callable[..., str]) -> None:
    """The header comes from the Secret, and from the changed Secret after it was changed."""
    bodies = example("remote")
    bodies["McpServer/docs"]["spec"]["remote"]["url"] = backend("elsewhere")
    namespace.apply(*bodies.values())
    namespace.wait("mcps", "docs", "Ready")
    namespace.wait("mcpp", "tools", "Ready")
    assert namespace.get("mcpp", "tools")["status"]["replicaSummary"] == "2/2"
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(url, "docs_authorization") == "Bearer replace-me")
    changed = base64.b64encode(b"Bearer mine").decode()
    namespace.run("patch", "secret", "docs-token", "-p", f'{{"data": {{"header": "{changed}"}}}}')
    eventually(lambda: call(url, "docs_authorization") == "Bearer mine")


def test_routes(namespace: Namespace) -> None:
    """The route's path shows the chosen tools under their new names; the proxy's own path shows nothing."""
    bodies = example("routes")
    with_packages_of_the_cluster(bodies["McpServer/time"], namespace)
    names = "get-sum,get-env,get-tiny-image,echo,other"
    env = [{"name": "NAME", "value": "everything"}, {"name": "TOOLS", "value": names}]
    bodies["McpServer/everything"]["spec"] = {"container": {"image": BACKEND_IMAGE, "env": env}}
    namespace.apply(*backend_objects("packages", image=PACKAGES_IMAGE), *bodies.values())
    namespace.wait("mcps", "time", "Ready", timeout=120)
    namespace.wait("mcps", "everything", "Ready", timeout=120)
    namespace.wait("mcpr", "research", "Ready")
    url = namespace.service_url("tools-proxy", "/research/mcp")
    wanted = {"demo_sum", "demo_get-tiny-image", "demo_echo", "convert_time", "get_current_time"}
    eventually(lambda: tools(url) == wanted, why=lambda: tools(url))
    assert call(url, "demo_sum") == "everything/get-sum"
    assert asyncio.run(_descriptions(url))["demo_sum"] == "Add two numbers."
    assert tools(namespace.service_url("tools-proxy", "/mcp")) == set()


async def _descriptions(url: str) -> dict[str, str | None]:
    async with Client(url, timeout=20) as client:
        return {tool.name: tool.description for tool in await client.list_tools()}
