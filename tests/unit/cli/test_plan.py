"""`mcp-operator plan` against an API server in memory, which the operator's own reconcilers have written to.

nothing there · a world at rest · drift · files over the cluster · Secrets · what is refused · the operator's settings
The same against a real API server: tests/cluster/test_plan.py.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.cli.plan import main
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.events import EventRecorder
from support import resources
from support.apiserver import QUOTA, ApiServer, Refusal
from support.bench import Bench

CORE = {"team": "core"}
IMAGES = ("--proxy-image", "proxy:1", "--runner-image", "runner:1")
NS = ("-n", "team-a")
HEADER = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "header"}}}


def secret(value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"header": value}}


@pytest.fixture
async def bench(api: ApiServer) -> AsyncIterator[Bench]:
    """An operator at work on the API server of the kubeconfig."""
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(KubeClient.connect())
        events = await stack.enter_async_context(EventRecorder(kube, "mcp-operator"))
        bench = Bench(api, kube, events)
        yield bench
        await bench.prober.aclose()


@pytest.fixture
async def at_rest(bench: Bench) -> Bench:
    """A remote and a hosted server on a proxy, with all that the operator made for them."""
    token = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "data": {"header": "aHVudGVyMg=="}}
    bench.apply(
        token,
        resources.remote("far", "https://far.example.com/mcp", labels=CORE, headers=[HEADER]),
        resources.container("near", "near:1", labels=CORE),
        resources.proxy(selector=CORE),
    )
    await bench.drain()
    return bench


def write(folder: Path, *bodies: dict[str, Any]) -> Path:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(bodies))
    return path


def titles(out: str) -> list[str]:
    return [line.partition(" planned/")[2] for line in out.splitlines() if line.startswith("diff ")]


async def test_everything_is_new(api: ApiServer, run: Any, tmp_path: Path) -> None:
    path = write(tmp_path, resources.container("near", "near:1", labels=CORE), resources.proxy(selector=CORE))
    code, out, err = await run("plan", "-f", path, *NS, *IMAGES)
    assert code == 1
    assert titles(out) == [
        "mcp-operator.dev.v1alpha1.McpServer.team-a.near",
        "mcp-operator.dev.v1alpha1.McpProxy.team-a.tools",
        "apps.v1.Deployment.team-a.near-server",
        "v1.Service.team-a.near-server",
        "v1.ServiceAccount.team-a.tools-proxy",
        "networking.k8s.io.v1.NetworkPolicy.team-a.tools-proxy",
        "v1.Secret.team-a.tools-proxy-secrets",
        "v1.ConfigMap.team-a.tools-proxy-config",
        "v1.Service.team-a.tools-proxy",
        "v1.Service.team-a.tools-peers",
        "apps.v1.Deployment.team-a.tools-proxy",
    ]
    assert "+  session-key: '***'" in out
    assert err.endswith("plan: 11 to create, none to change, none to delete\n")
    assert api.objects == {}, "a plan writes nothing"
    assert {asked.query.get("dryRun") for asked in api.asked if asked.method != "GET"} == {"All"}


async def test_before_the_definitions_are_installed(api: ApiServer, run: Any, tmp_path: Path) -> None:
    unknown = Refusal(404, "NotFound", "the server could not find the requested resource")
    for method in ("GET", "PATCH"):
        api.refuse(method, "/apis/mcp-operator.dev/", unknown)
    code, out, err = await run("plan", "-f", write(tmp_path, resources.container("near", "near:1")), *NS, *IMAGES)
    assert code == 1
    assert titles(out) == [
        "mcp-operator.dev.v1alpha1.McpServer.team-a.near",
        "apps.v1.Deployment.team-a.near-server",
        "v1.Service.team-a.near-server",
    ]
    assert "note: the cluster does not know McpServer yet" in err


async def test_a_world_at_rest_needs_no_change(at_rest: Bench, run: Any, tmp_path: Path) -> None:
    before = json.dumps(at_rest.api.objects, sort_keys=True)
    for files in ((), ("-f", write(tmp_path, resources.container("near", "near:1", labels=CORE)))):
        assert await run("plan", *files, *NS, *IMAGES) == (0, "", "plan: nothing would change\n")
    assert json.dumps(at_rest.api.objects, sort_keys=True) == before


async def test_drift_and_what_is_no_longer_wanted(at_rest: Bench, run: Any) -> None:
    at_rest.api.edit("Deployment", "near-server", lambda body: body["spec"].update(replicas=3))
    stray = {**at_rest.api.get("Service", "near-server")}
    stray["metadata"] = {**stray["metadata"], "name": "near-old"}
    at_rest.api.kubectl_apply({**stray, "metadata": {k: v for k, v in stray["metadata"].items() if k != "uid"}})
    code, out, err = await run("plan", *NS, *IMAGES)
    assert (code, titles(out)) == (1, ["apps.v1.Deployment.team-a.near-server", "v1.Service.team-a.near-old"])
    assert "-  replicas: 3\n+  replicas: 1" in out
    assert "--- live/v1.Service.team-a.near-old\n+++ /dev/null" in out
    assert err == "plan: none to create, 1 to change, 1 to delete\n"


async def test_files_over_what_is_in_the_cluster(at_rest: Bench, run: Any, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        resources.container("near", "near:2", labels=CORE),
        resources.remote("more", "https://more/mcp", labels=CORE),
    )
    code, out, _ = await run("plan", "-f", path, *NS, *IMAGES)
    assert code == 1
    assert titles(out) == [
        "mcp-operator.dev.v1alpha1.McpServer.team-a.near",
        "mcp-operator.dev.v1alpha1.McpServer.team-a.more",
        "apps.v1.Deployment.team-a.near-server",
        "networking.k8s.io.v1.NetworkPolicy.team-a.tools-proxy",
        "v1.ConfigMap.team-a.tools-proxy-config",
    ]
    assert '+          "id": "team-a/more",' in out
    assert "image: near:2" in out
    assert '"id": "team-a/far"' not in [line for line in out.splitlines() if line[:1] in "+-"]


async def test_a_field_that_a_file_no_longer_has_goes(bench: Bench, run: Any, tmp_path: Path) -> None:
    body = resources.container("near", "near:1", labels=CORE, env={"A": "b"}, timeouts={"call": "60s"})
    noted = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(body)}
    bench.apply({**body, "metadata": {**body["metadata"], "annotations": noted}})
    await bench.drain()
    path = write(tmp_path, resources.container("near", "near:1"))
    _, out, _ = await run("plan", "-f", path, *NS, *IMAGES)
    removed = [line for line in out.splitlines() if line.startswith("-")]
    assert "-    team: core" in removed
    assert "-  timeouts:" in removed
    assert any("name: A" in line for line in removed)


async def test_a_secret_in_the_files_is_seen_and_never_shown(at_rest: Bench, run: Any, tmp_path: Path) -> None:
    _, out, _ = await run("plan", "-f", write(tmp_path, secret("hunter2")), *NS, *IMAGES)
    assert out == "", "it is what is there already"
    code, out, err = await run("plan", "-f", write(tmp_path, secret("hunter3")), *NS, *IMAGES)
    assert code == 1
    assert titles(out) == ["v1.Secret.team-a.tools-proxy-secrets", "v1.ConfigMap.team-a.tools-proxy-config"]
    assert "+  team-a.far.header-0.planned: '***'" in out
    for value in ("hunter", "aHVudGVy"):
        assert value not in out + err


async def test_names_and_json(at_rest: Bench, run: Any) -> None:
    at_rest.api.edit("Deployment", "near-server", lambda body: body["spec"].update(replicas=3))
    assert (await run("plan", *NS, *IMAGES, "-o", "names"))[:2] == (1, "change Deployment team-a/near-server\n")
    (change,) = json.loads((await run("plan", *NS, *IMAGES, "-o", "json"))[1])
    diff = change.pop("diff")
    assert change == {
        "action": "change",
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "team-a",
        "name": "near-server",
    }
    assert diff.startswith("diff live/apps.v1.Deployment.team-a.near-server ")
    assert "\x1b[32m+  replicas: 1\x1b[0m" in (await run("plan", *NS, *IMAGES, "--color", "always"))[1]


async def test_images_are_those_of_the_operator_in_the_cluster(at_rest: Bench, run: Any) -> None:
    _, out, err = await run("plan", *NS)
    assert "no operator is found in the cluster" in err
    assert "+        image: mcp-operator-proxy:" in out
    container = {
        "name": "operator",
        "command": ["mcp-operator", "run"],
        "args": ["--proxy-image=proxy:1", "--runner-image=runner:1", "--egress=off"],
    }
    labels = {"app.kubernetes.io/name": "mcp-operator"}
    at_rest.api.kubectl_apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "mcp-operator", "namespace": "mcp-system", "labels": labels},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
    )
    assert await run("plan", *NS) == (0, "", "plan: nothing would change\n")
    assert "image: proxy:2" in (await run("plan", *NS, "--proxy-image", "proxy:2"))[1]


async def test_a_paused_one_is_left_alone_and_told(at_rest: Bench, run: Any) -> None:
    at_rest.api.edit("Deployment", "near-server", lambda body: body["spec"].update(replicas=3))
    paused = {"mcp-operator.dev/paused": "true"}
    at_rest.api.edit("McpServer", "near", lambda body: body["metadata"].update(annotations=paused))
    code, out, err = await run("plan", *NS, *IMAGES)
    assert (code, out) == (0, "")
    assert "note: cluster: McpServer team-a/near: paused: the operator leaves its objects as they are" in err


async def test_a_child_of_somebody_else_is_trouble(bench: Bench, run: Any, tmp_path: Path) -> None:
    bench.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "near-server"}, "spec": {}})
    code, out, err = await run("plan", "-f", write(tmp_path, resources.container("near", "near:1")), *NS, *IMAGES)
    assert code == 2
    assert "McpServer team-a/near: Service team-a/near-server exists already and is not the operator's" in err
    assert titles(out) == ["mcp-operator.dev.v1alpha1.McpServer.team-a.near"]


async def test_what_the_api_server_refuses_is_trouble_and_the_rest_is_shown(
    bench: Bench, run: Any, tmp_path: Path
) -> None:
    bench.api.refuse("PATCH", "/deployments/near-server", QUOTA)
    path = write(tmp_path, resources.container("near", "near:1", labels=CORE), resources.proxy(selector=CORE))
    code, out, err = await run("plan", "-f", path, *NS, *IMAGES)
    assert code == 2
    assert f"refused: {path}:1: McpServer team-a/near: exceeded quota: no more of these" in err
    assert "v1.ConfigMap.team-a.tools-proxy-config" in titles(out)


async def test_what_the_operator_would_say_is_said(bench: Bench, run: Any, tmp_path: Path) -> None:
    path = write(tmp_path, resources.remote("far", "https://far/mcp", headers=[HEADER]), resources.proxy(selector={}))
    code, _, err = await run("plan", "-f", path, *NS, *IMAGES)
    assert code == 1
    assert f"{path}:1: McpServer team-a/far: Secret team-a/token is not found; create it with the key header" in err


async def test_a_manifest_that_is_invalid(api: ApiServer, run: Any, tmp_path: Path) -> None:
    path = write(tmp_path, resources.proxy(selector={}), resources.remote("bad", "hunter2"))
    code, out, err = await run("plan", "-f", path, *NS, *IMAGES)
    assert code == 2
    assert "McpServer team-a/bad: spec.remote" in err
    assert "hunter2" not in out + err
    assert "mcp-operator.dev.v1alpha1.McpProxy.team-a.tools" in titles(out)


async def test_a_path_that_is_not_there(api: ApiServer, run: Any) -> None:
    code, _, err = await run("plan", "-f", "/nowhere/x")
    assert (code, err) == (2, "mcp-operator plan: /nowhere/x: there is no such file or folder\n")


@pytest.mark.parametrize("wrong", [["-o", "xml"], ["-n", "A"], ["--image-pull-policy", "Sometimes"]])
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "usage: mcp-operator plan" in capsys.readouterr().err


async def test_consent_for_another_namespace_changes_its_proxies(bench: Bench, run: Any, tmp_path: Path) -> None:
    """By the server, and by the labels of the namespace that stand in the cluster; with the Secret of the server's own."""

    def far(**namespaces: Any) -> dict[str, Any]:
        spec = {"allowedRoutes": {"namespaces": namespaces}} if namespaces else {}
        body = resources.remote("far", "https://far.example.com/mcp", headers=[HEADER], **spec)
        return {**body, "metadata": {"name": "far", "namespace": "platform"}}

    token = {**secret("Bearer theirs"), "metadata": {"name": "token", "namespace": "platform"}}
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"trust": "high"}}}
    route = resources.route("extra", {"name": "far", "namespace": "platform"})
    bench.apply(token, team, far(), resources.proxy(), route)
    await bench.drain()
    assert (await run("plan", *IMAGES))[:2] == (0, "")
    for trust, changed in (("low", False), ("high", True)):
        consent = {"from": "Selector", "selector": {"matchLabels": {"trust": trust}}}
        code, out, _ = await run("plan", "-f", write(tmp_path, far(**consent)), *IMAGES)
        assert code == 1
        assert ("v1.ConfigMap.team-a.tools-proxy-config" in titles(out)) is changed
        assert ("platform.far.header-0" in out) is changed
        assert "theirs" not in out
