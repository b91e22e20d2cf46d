"""From the chart and the images of the previous version to those of this checkout, while clients call without pause."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from images import previous
from localcluster.errors import ClusterError
from localcluster.paths import from_environment
from support.kubectl import Namespace, eventually, kubectl
from support.product import RELEASE, SYSTEM, call, tools
from support.resources import container, proxy, remote
from support.visitors import Visitors

CORE = {"team": "core"}
ROOT = Path(__file__).parents[2]
(CHART_BEFORE,) = (ROOT / "tests" / "e2e" / "previous").glob("*.tgz")
CHART = ROOT / "charts" / "mcp-operator"
VALUES = ["--values", str(ROOT / "tests" / "e2e" / "values.yaml")]
OPERATORS = "app.kubernetes.io/name=mcp-operator"
PROXIES = "mcp-operator.dev/proxy=tools"


def helm(*arguments: str) -> None:
    command = ["helm", *arguments, "--namespace", SYSTEM, "--timeout", "3m"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr + kubectl("-n", SYSTEM, "get", "pods,jobs,events", check=False)[-4000:]


@pytest.fixture
def before() -> Iterator[Namespace]:
    """The previous version, installed in the place of this one. Whatever happens, this one is there afterwards."""
    try:
        previous.sources(from_environment(os.environ).cache)
    except ClusterError as error:
        pytest.skip(str(error))
    helm("uninstall", RELEASE, "--ignore-not-found", "--wait")
    try:
        helm("install", RELEASE, str(CHART_BEFORE), "--set", f"image.tag={previous.TAG}", "--wait")
        yield Namespace(SYSTEM)
    finally:
        helm("upgrade", "--install", RELEASE, str(CHART), *VALUES, "--wait")


def images_of(namespace: Namespace, selector: str) -> set[str]:
    """Of the pods that are not ending and are ready."""
    return {pod["spec"]["containers"][0]["image"] for pod in namespace.pods(selector) if is_ready(pod)}


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def definitions() -> list[dict[str, Any]]:
    names = ("mcpservers", "mcpproxies", "mcproutes")
    return [Namespace("default").get("crd", f"{name}.mcp-operator.dev") for name in names]


@pytest.mark.timeout(600)
def test_from_the_previous_version_under_traffic(
    before: Namespace, namespace: Namespace, backend: Callable[..., str]
) -> None:
    """No call fails; definitions, operator and proxies are this checkout's; everything stored under the old ones is served."""
    namespace.apply(remote("far", backend("far"), labels=CORE), proxy(selector=CORE, replicas=2))
    namespace.wait("mcpp", "tools", "Ready", timeout=120)
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "far_add" in tools(url))
    assert images_of(namespace, PROXIES) == {"mcp-operator/proxy:previous"}
    generations = {name: namespace.get("mcps", name)["metadata"]["generation"] for name in ("far",)}

    def upgraded() -> bool:
        return images_of(namespace, PROXIES) == {"mcp-operator/proxy:dev"} and len(namespace.pods(PROXIES)) == 2

    async def scenario() -> Visitors:
        async with Visitors(url, "far_add", {"a": 20, "b": 22}, "42") as visitors:
            await visitors.more_calls(20)
            await asyncio.to_thread(helm, "upgrade", RELEASE, str(CHART), *VALUES, "--wait")
            await asyncio.to_thread(eventually, upgraded, timeout=180)
            await visitors.more_calls(40)
        return visitors

    visitors = asyncio.run(scenario())
    assert visitors.failures == []
    assert images_of(before, OPERATORS) == {"mcp-operator/operator:dev"}
    assert {name: namespace.get("mcps", name)["metadata"]["generation"] for name in generations} == generations
    for crd in definitions():
        assert crd["status"]["storedVersions"] == ["v1alpha1"]
    namespace.wait("mcpp", "tools", "Ready", timeout=120)
    namespace.wait("mcps", "far", "Ready")

    namespace.apply(container("near", "mcp-operator-test/backend:dev", labels=CORE))
    namespace.wait("mcps", "near", "Ready")
    eventually(lambda: call(url, "near_hello") == "near/hello")
