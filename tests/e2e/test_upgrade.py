"""From the chart and the images of the previous version to those of this checkout, while clients call without pause."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from images import previous
from localcluster.errors import ClusterError
from localcluster.paths import from_environment
from support.kubectl import Namespace, eventually, kubectl
from support.previous import CHART as CHART_BEFORE
from support.product import BACKEND_IMAGE, RELEASE, SYSTEM, call, tools
from support.resources import container, proxy, remote
from support.visitors import Visitors

CORE = {"team": "core"}
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "mcp-operator"
VALUES = ["--values", str(ROOT / "tests" / "e2e" / "values.yaml")]
OPERATORS = "app.kubernetes.io/name=mcp-operator"
PROXIES = "mcp-operator.dev/proxy=tools"


def helm(*arguments: str) -> None:
    command = ["helm", *arguments, "--namespace", SYSTEM, "--timeout", "3m"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr + kubectl("-n", SYSTEM, "get", "pods,jobs,events", check=False)[-4000:]


@pytest.fixture
def history() -> None:
    """Images of the previous version can be had."""
    try:
        previous.sources(from_environment(os.environ).cache)
    except ClusterError as error:
        pytest.skip(str(error))


@pytest.fixture
def before(history: None) -> Iterator[Namespace]:
    """The previous version, installed in the place of this one. Whatever happens, this one is there afterwards."""
    helm("uninstall", RELEASE, "--ignore-not-found", "--wait")
    try:
        helm("install", RELEASE, str(CHART_BEFORE), "--set", f"image.tag={previous.TAG}", "--wait")
        yield Namespace(SYSTEM)
    finally:
        helm("upgrade", "--install", RELEASE, str(CHART), *VALUES, "--wait")


def images_of(namespace: Namespace, selector: str) -> set[str]:
    """Of the pods that are not ending and are ready."""
    return {pod["spec"]["containers"][0]["image"] for pod in namespace.pods(selector) if is_ready(pod)}


def pods_of(namespace: Namespace) -> str:
    return namespace.run("get", "pods,mcp", "-o", "wide")


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def definitions() -> list[dict[str, Any]]:
    names = ("mcpservers", "mcpproxies", "mcproutes")
    return [Namespace("default").get("crd", f"{name}.mcp-operator.dev") for name in names]


@contextmanager
def conditions_of(namespace: Namespace, kind: str, name: str) -> Iterator[set[str]]:
    """Every condition that the object has meanwhile, as `Type=Status=Reason`; complete at the end."""
    template = '{range .status.conditions[*]}{.type}={.status}={.reason}{"\\n"}{end}'
    command = ["kubectl", "-n", namespace.name, "get", kind, name, "--watch", "-o", f"jsonpath={template}"]
    seen: set[str] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        try:
            yield seen
        finally:
            watch.terminate()
            seen.update(watch.communicate(timeout=30)[0].split())


@pytest.mark.timeout(600)
def test_from_the_previous_version_under_traffic(
    before: Namespace, namespace: Namespace, backend: Callable[..., str]
) -> None:
    """No call fails; definitions, operator and proxies are this checkout's; everything stored under the old ones is served,
    and no proxy is given what it can't read. (Calls go to a server that is not hosted: pods of hosted ones had no pause before
    their end in the previous version, so what is on its way to one may be lost.)"""
    hosted = container("near", BACKEND_IMAGE, labels=CORE, env={"NAME": "near"})
    namespace.apply(remote("far", backend("far"), labels=CORE), hosted, proxy(selector=CORE, replicas=2))
    namespace.wait("mcpp", "tools", "Ready", timeout=120)
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: {"far_add", "near_add"} <= tools(url))
    assert images_of(namespace, PROXIES) == {"mcp-operator/proxy:previous"}
    generations = {name: namespace.get("mcps", name)["metadata"]["generation"] for name in ("far", "near")}
    revision = namespace.get("mcpp", "tools")["status"]["revision"]

    def upgraded() -> bool:
        return images_of(namespace, PROXIES) == {"mcp-operator/proxy:dev"} and len(namespace.pods(PROXIES)) == 2

    async def scenario() -> list[str]:
        async with Visitors(url, "far_add", {"a": 20, "b": 22}, "42") as visitors:
            await visitors.more_calls(20)
            await asyncio.to_thread(helm, "upgrade", RELEASE, str(CHART), *VALUES, "--wait")
            await asyncio.to_thread(eventually, upgraded, timeout=180, why=lambda: pods_of(namespace))
            await visitors.more_calls(40)
        return visitors.failures

    with conditions_of(namespace, "mcpp", "tools") as seen:
        assert asyncio.run(scenario()) == []
    assert "Programmed=True=Programmed" in seen
    assert {found for found in seen if "Rejected" in found or "Stalled" in found} == set()
    assert images_of(before, OPERATORS) == {"mcp-operator/operator:dev"}
    assert {name: namespace.get("mcps", name)["metadata"]["generation"] for name in generations} == generations
    assert namespace.get("mcpp", "tools")["status"]["revision"] == revision, (
        "what says nothing new is written as before"
    )
    for crd in definitions():
        assert crd["status"]["storedVersions"] == ["v1alpha1"]
    namespace.wait("mcpp", "tools", "Ready", timeout=120)
    namespace.wait("mcps", "far", "Ready")
    namespace.wait("mcps", "near", "Ready", timeout=120)
    eventually(lambda: call(url, "near_hello") == "near/hello")

    namespace.apply(container("new", BACKEND_IMAGE, labels=CORE, env={"NAME": "new"}))
    namespace.wait("mcps", "new", "Ready")
    eventually(lambda: call(url, "new_hello") == "new/hello")


def test_an_older_proxy_keeps_what_it_has(history: None, namespace: Namespace, backend: Callable[..., str]) -> None:
    """A field that it does not know is told of, and harms nobody; when its pod is replaced, all is well."""
    body = proxy(selector=CORE, image=f"mcp-operator/proxy:{previous.TAG}")
    namespace.apply(remote("far", backend("far"), labels=CORE), body)
    namespace.wait("mcpp", "tools", "Ready", timeout=120)
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "far_hello" in tools(url))

    body["spec"]["naming"] = {"maxLength": 128}
    namespace.apply(body)
    found = namespace.wait("mcpp", "tools", "Programmed", "False", reason="ConfigRejected")
    assert "nameBudget" in found["message"]
    assert call(url, "far_hello") == "far/hello"

    body["spec"] |= {"image": "registry.invalid/proxy:none", "imagePullPolicy": "Always"}
    namespace.apply(body)
    found = namespace.wait("mcpp", "tools", "Programmed", "False", reason="ImagePullFailed")
    assert "is of another version, can't read its configuration" in found["message"]
    assert call(url, "far_hello") == "far/hello"

    del body["spec"]["image"], body["spec"]["imagePullPolicy"]
    namespace.apply(body)
    namespace.wait("mcpp", "tools", "Ready", timeout=120)
    assert images_of(namespace, PROXIES) == {"mcp-operator/proxy:dev"}
    assert call(url, "far_hello") == "far/hello"
