"""The manifests of examples/, applied on the real cluster: as they are, but for what lies outside of it.

Nothing leaves the cluster. So packages come from an index in it, and images and remote servers that are only examples are
replaced by the test backend; every such change stands in the test.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from support.kubectl import Namespace, eventually, kubectl
from support.manifests import example_folders
from support.product import BACKEND_IMAGE, PACKAGES_IMAGE, backend_objects, call, tools

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = example_folders()
INSPECTED = "mcp-operator.dev/proxy=inspected"
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
    # Where it fails before the server is up, it has to pass twice to be believed, and is made once a minute.
    namespace.wait("mcps", "time", "CanaryPassing", timeout=300)
    server["spec"]["canary"]["expect"]["contains"] = "half past never"
    namespace.apply(server)
    namespace.wait("mcps", "time", "CanaryPassing", "False", reason="UnexpectedAnswer", timeout=240)
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


def test_tracing(namespace: Namespace) -> None:
    """Both legs of a call reach the collector, in the trace of the client, and say of which replica they are."""
    bodies = example("tracing")
    with_packages_of_the_cluster(bodies["McpServer/time"], namespace)
    pod = bodies["Deployment/otel-collector"]["spec"]["template"]["spec"]
    pod["containers"] = [{"name": "collector", "image": BACKEND_IMAGE, "command": ["python3", "/srv/collector.py"]}]
    pod["terminationGracePeriodSeconds"] = 1
    namespace.apply(*backend_objects("packages", image=PACKAGES_IMAGE), *bodies.values())
    namespace.run("rollout", "status", "deployment/otel-collector", "--timeout=90s")
    namespace.wait("mcps", "time", "Ready", timeout=120)
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "time_get_current_time" in tools(url))
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    asyncio.run(_traced(url, f"00-{trace}-{parent}-01"))

    def spans() -> dict[str, Any]:
        lines = map(json.loads, namespace.run("logs", "deployment/otel-collector").splitlines())
        return {span["name"]: span for span in lines if span["trace_id"] == trace}

    eventually(lambda: {"tools/call time_get_current_time", "tools/call get_current_time"} <= spans().keys(), why=spans)
    front, back = spans()["tools/call time_get_current_time"], spans()["tools/call get_current_time"]
    assert front["parent_span_id"] == parent
    assert back["parent_span_id"] == front["span_id"]
    (replica,) = namespace.pods("mcp-operator.dev/proxy=tools")
    told = {"service.name": "tools", "service.namespace": namespace.name, "k8s.namespace.name": namespace.name}
    assert {**told, "k8s.pod.name": replica["metadata"]["name"]}.items() <= front["resource"].items()


async def _traced(url: str, parent: str) -> None:
    async with Client(StreamableHttpTransport(url, headers={"traceparent": parent}), timeout=30) as client:
        await client.call_tool("time_get_current_time", {"timezone": "UTC"})


def test_inspector(namespace: Namespace) -> None:
    """The page is there for anybody, what it reads for who has a key, and two replicas tell the same of a call."""
    bodies = example("inspector")
    with_packages_of_the_cluster(bodies["McpServer/watched-time"], namespace)
    bodies["McpProxy/inspected"]["spec"]["replicas"] = 2
    namespace.apply(*backend_objects("packages", image=PACKAGES_IMAGE), *bodies.values())
    namespace.wait("mcps", "watched-time", "Ready", timeout=120)
    namespace.wait("mcpp", "inspected", "Ready")
    base = namespace.service_url("inspected-proxy", "")
    with httpx2.Client(base_url=base, headers={"connection": "close"}, timeout=20) as http:
        page = http.get("/ui/")
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert http.get("/ui/api/fleet").status_code == 401
        http.headers["x-api-key"] = "change-me-key-of-the-ops"
        # Each replica finds the other, and the server, by itself.
        replicas = [f"http://{pod['status']['podIP']}:8080/ui/api" for pod in namespace.pods(INSPECTED)]
        assert len(replicas) == 2
        for url in replicas:
            eventually(lambda url=url: http.get(f"{url}/me").json()["proxy"]["replicas"] == 2)
            eventually(lambda url=url: [s["healthy"] for s in http.get(f"{url}/fleet").json()["servers"]] == [True])
        me = http.get("/ui/api/me").json()
        assert (me["proxy"]["name"], me["operator"]) == (f"{namespace.name}/inspected", True)
        # Whoever is asked begins to record, and has the others do so.
        last = [http.get(f"{url}/traffic").json()["last"] for url in replicas][-1]
        asyncio.run(_with_key(f"{base}/mcp", "change-me-key-of-the-app"))

        def exchanges() -> list[tuple[str, str]]:
            """Each time of another replica, or of the same."""
            found = http.get("/ui/api/traffic", params={"after": last}).json()["exchanges"]
            return [(one["caller"], one["server"]) for one in found if one["method"] == "tools/call"]

        wanted = [("app", f"{namespace.name}/watched-time")]
        for _ in range(8):
            eventually(lambda: exchanges() == wanted, why=exchanges)

        def known() -> list[tuple[int, bool]]:
            """A replica that takes long to answer another is left out of what is told."""
            return [(server["calls"], server["healthy"]) for server in http.get("/ui/api/fleet").json()["servers"]]

        eventually(lambda: known() == [(1, True)], why=known)


async def _with_key(url: str, key: str) -> None:
    async with Client(StreamableHttpTransport(url, headers={"x-api-key": key}), timeout=30) as client:
        await client.call_tool("watched-time_get_current_time", {"timezone": "UTC"})


async def _descriptions(url: str) -> dict[str, str | None]:
    async with Client(url, timeout=20) as client:
        return {tool.name: tool.description for tool in await client.list_tools()}
