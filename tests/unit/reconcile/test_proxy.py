"""An McpProxy, from its manifest to children, swaps, probe and status.

children in order · an unchanged world · a swap: ConfigMap, then pods, then nudges while one lags, until all run it
a rotated Secret: new file first, old file last · what fails and what does not: Invalid, pods that cannot be patched
paused · a rollout that is stuck · deletion · an operator that starts anew
"""

import base64
import json
import random
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.compile import Compiled
from mcp_operator.engine.keys import Key
from mcp_operator.reconcile import compilation
from mcp_operator.reconcile.pace import FIRST_SECONDS, Pace
from mcp_operator.reconcile.swaps import NUDGE_SECONDS
from mcp_operator_proxy import configfiles
from mcp_operator_proxy.report import ErrorReport, RejectedConfig, RouteReport, ServerReport
from support import resources
from support.apiserver import AWAY, INVALID, QUOTA, Body
from support.bench import FACTS, NOW, Bench

CORE = {"team": "core"}
PROXY = Key("McpProxy", "team-a", "tools")
CHILDREN = [
    "ServiceAccount/tools-proxy",
    "NetworkPolicy/tools-proxy",
    "Secret/tools-proxy-secrets",
    "ConfigMap/tools-proxy-config",
    "Service/tools-proxy",
    "Service/tools-peers",
    "Deployment/tools-proxy",
]


def _remote(name: str, **more: Any) -> Body:
    return resources.remote(name, f"http://{name}.example.com/mcp", labels=CORE, **more)


def _token(value: str) -> Body:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"header": value}}


def _guarded() -> Body:
    source = {"secretKeyRef": {"name": "token", "key": "header"}}
    return _remote("guarded", headers=[{"name": "Authorization", "valueFrom": source}])


def _headers(bench: Bench) -> list[str]:
    """Secret files with the values of headers."""
    return [file for file in bench.api.get("Secret", "tools-proxy-secrets")["data"] if ".header-" in file]


def _config(bench: Bench) -> Any:
    return json.loads(bench.api.get("ConfigMap", "tools-proxy-config")["data"]["config.json"])


def _annotation(bench: Bench, pod: str) -> str | None:
    return (bench.api.get("Pod", pod)["metadata"].get("annotations") or {}).get(meta.ANNOTATION_REVISION)


async def test_children_come_in_order(bench: Bench) -> None:
    bench.apply(resources.proxy(selector=CORE))
    await bench.drain()
    assert bench.api.writes == [*CHILDREN, "McpProxy/tools/status"]
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "Deploying")
    assert bench.condition("McpProxy", "tools", "Reconciling") == ("True", "Deploying")


async def test_the_key_of_session_ids_is_made_once(bench: Bench) -> None:
    """A second key would end every session: not a swap, nor an operator that starts anew, makes one."""

    def session_key() -> str:
        data: dict[str, str] = bench.api.get("Secret", "tools-proxy-secrets")["data"]
        return data["session-key"]

    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    await bench.programmed()
    first = session_key()
    assert len(base64.b64decode(first)) == 64
    assert _config(bench)["sessions"]["signingKeys"] == [{"file": "session-key"}]
    bench.apply(_remote("two"))
    await bench.drain()
    assert session_key() == first
    bench.api.kubectl_delete("Secret", "tools-proxy-secrets")
    await bench.drain()
    assert session_key() == first, "somebody deleted it: the sessions go on"
    bench.store.remove("Secret", PROXY.namespace, "tools-proxy-secrets")
    await bench.reconcile("McpProxy", "tools")
    assert session_key() == first
    bench.apply(resources.proxy("other", selector=CORE))
    await bench.drain()
    assert bench.api.get("Secret", "other-proxy-secrets")["data"]["session-key"] != first


async def test_ready_and_then_nothing_more_to_write(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE, replicas=2))
    revision = await bench.programmed()
    status = bench.status("McpProxy", "tools")
    assert status["url"] == "http://tools-proxy.team-a.svc/mcp"
    assert (status["revision"], status["programmedRevision"], status["replicaSummary"]) == (revision, revision, "2/2")
    assert (status["swapSeconds"], bench.swaps) == (0.25, [0.25])
    asked = len(bench.api.asked)
    results = [await bench.reconcile("McpProxy", "tools") for _ in range(2)]
    await bench.probe(PROXY, FACTS, times=2)
    assert [request for request in bench.api.asked[asked:] if "/events" not in request.path] == []
    assert [result.requeue_after for result in results] == [None, None]


async def test_it_is_compiled_when_something_it_follows_from_has_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    original = compilation.compile_proxy

    def counting(*args: Any, **more: Any) -> Compiled:
        made.append(args[0].metadata.name)
        return original(*args, **more)

    monkeypatch.setattr(compilation, "compile_proxy", counting)
    bench.apply(_token("one"), _guarded(), _remote("two"), resources.proxy(selector=CORE))
    revision = await bench.programmed()
    made.clear()
    await bench.reconcile("McpProxy", "tools")
    await bench.probe(PROXY, FACTS)
    bench.apply(resources.remote("elsewhere", "https://elsewhere/mcp"))
    await bench.drain()
    assert made == []

    route = resources.route("extra", {"name": "two"}, path="/extra")
    for edit in (
        _token("two"),
        _remote("two", timeouts={"call": "5s"}),
        route,
        resources.proxy(selector=CORE, path="/x"),
    ):
        bench.apply(edit)
        await bench.drain()
        assert made, edit
        assert _config(bench)["revision"] != revision, edit
        revision = _config(bench)["revision"]
        made.clear()
    bench.api.kubectl_delete("McpServer", "two")
    await bench.drain()
    assert made
    assert "two" not in str(_config(bench)["servers"])


async def test_what_replicas_tell_is_counted(bench: Bench) -> None:
    bench.apply(_remote("one"), _remote("two"), _remote("three"), resources.proxy(selector=CORE))
    await bench.programmed()
    refused = ErrorReport(error_class="ConnectionRefused", message="nobody listens")
    servers = (
        ServerReport(id="team-a/one", state="ready"),
        ServerReport(id="team-a/two", state="error", error=refused),
        ServerReport(id="team-a/three", state="pending"),
    )
    routes = (RouteReport(name="McpProxy/team-a/tools", path="/mcp", tools=("one_add", "one_hello")),)
    bench.swapped("tools", "tools-proxy-0", servers=servers, routes=routes)
    await bench.drain()
    status = bench.status("McpProxy", "tools")
    assert (status["serverCount"], status["readyServers"], status["toolCount"]) == (3, 1, 2)
    assert "1 of 3 servers not: team-a/two (ConnectionRefused)" in bench.message("McpProxy", "tools", "Healthy")


async def test_a_swap_writes_the_config_and_then_hurries_the_pods(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE, replicas=2))
    before = await bench.programmed()
    writes = len(bench.api.writes)
    bench.apply(_remote("two"))
    del bench.waiting[Key("McpServer", "team-a", "two")]
    results = await bench.drain()
    written = bench.api.writes[writes:]
    assert written[0] == "ConfigMap/tools-proxy-config"
    assert sorted(written[1:3]) == ["Pod/tools-proxy-0", "Pod/tools-proxy-1"]
    assert written[3:] == ["McpProxy/tools/status"]
    revision = _config(bench)["revision"]
    assert revision != before
    assert _annotation(bench, "tools-proxy-0") == _annotation(bench, "tools-proxy-1") == revision
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "Swapping")
    assert bench.status("McpProxy", "tools")["programmedRevision"] == before
    assert results[PROXY].requeue_after == NUDGE_SECONDS


async def test_a_pod_that_lags_is_nudged_again_and_not_for_ever(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE, replicas=2))
    await bench.programmed()
    bench.apply(_remote("two"))
    await bench.drain()
    revision = bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert _annotation(bench, "tools-proxy-1") == revision, "a look within the second changes nothing"
    seen = []
    for _ in range(40):
        bench.clock += NUDGE_SECONDS
        result = (await bench.drain()).get(PROXY) or await bench.reconcile("McpProxy", "tools")
        seen.append((_annotation(bench, "tools-proxy-1"), result.requeue_after))
    assert seen[:2] == [(f"{revision}+1", NUDGE_SECONDS), (f"{revision}+2", NUDGE_SECONDS)]
    assert seen[-2:] == [(f"{revision}+29", None)] * 2
    assert _annotation(bench, "tools-proxy-0") == revision
    bench.swapped("tools", "tools-proxy-1")
    await bench.until(lambda: bench.condition("McpProxy", "tools", "Ready")[0] == "True")


async def test_pods_that_cannot_be_patched_stop_nothing(bench: Bench) -> None:
    """The kubelet comes by in a minute all the same."""
    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    await bench.programmed()
    bench.api.refuse("PATCH", "/pods/", QUOTA)
    bench.apply(_remote("two"))
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "Swapping")
    attempts = [asked for asked in bench.api.asked if "/pods/" in asked.path]
    await bench.reconcile("McpProxy", "tools")
    assert [asked for asked in bench.api.asked if "/pods/" in asked.path] == attempts
    bench.swapped("tools", "tools-proxy-0")
    await bench.until(lambda: bench.condition("McpProxy", "tools", "Ready")[0] == "True")


async def test_a_rotated_secret_never_leaves_a_config_without_its_files(bench: Bench) -> None:
    """New file, new config, and only then the old file goes: in the cluster every config finds the files that it names."""
    bench.apply(_token("Bearer one"), _guarded(), resources.proxy(selector=CORE))
    await bench.programmed()
    writes = len(bench.api.writes)
    whole: list[bool] = []
    observed = bench.api.changed

    def check(event: str, body: Body) -> None:
        files = bench.api.get("Secret", "tools-proxy-secrets")["data"]
        named = [h["secret"]["file"] for server in _config(bench)["servers"] for h in server["headers"]]
        whole.append(bool(named) and set(named) <= files.keys())
        observed(event, body)

    bench.api.changed = check
    bench.apply(_token("Bearer two"))
    results = await bench.drain()
    assert results[PROXY].requeue_after == NUDGE_SECONDS
    for _ in range(3):
        await bench.reconcile("McpProxy", "tools")
        assert len(_headers(bench)) == 2, "a pod may still see the old config"
    bench.swapped("tools", "tools-proxy-0")
    await bench.until(lambda: bench.condition("McpProxy", "tools", "Ready")[0] == "True")
    assert len(_headers(bench)) == 1
    assert whole
    assert all(whole)
    order = [w for w in bench.api.writes[writes:] if w.startswith(("Secret", "ConfigMap"))]
    assert order == ["Secret/tools-proxy-secrets", "ConfigMap/tools-proxy-config", "Secret/tools-proxy-secrets"]
    shown = [b for b in bench.api.objects.values() if b["kind"] != "Secret"]
    assert "Bearer" not in str(shown)


async def test_a_config_that_is_refused_keeps_the_old_one_whole(bench: Bench) -> None:
    """A ConfigMap too large: the Secret that was written before it still has what the old config names."""
    bench.apply(_token("Bearer one"), _guarded(), resources.proxy(selector=CORE))
    await bench.programmed()
    bench.api.refuse("PATCH", "/configmaps/", INVALID)
    patched = [request for request in bench.api.asked if "/pods/" in request.path]
    bench.apply(_token("Bearer two"))
    results = await bench.drain()
    named = _config(bench)["servers"][0]["headers"][0]["secret"]["file"]
    assert named in bench.api.get("Secret", "tools-proxy-secrets")["data"]
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "ApplyRefused")
    assert results[PROXY].requeue_after is None
    hurried = [request for request in bench.api.asked if "/pods/" in request.path]
    assert hurried == patched, "there is nothing new for them"


async def test_a_server_that_is_refused_is_left_out_alone(bench: Bench) -> None:
    bench.apply(_guarded(), _remote("good"), resources.proxy(selector=CORE))
    await bench.drain()
    assert [server["id"] for server in _config(bench)["servers"]] == ["team-a/good"]
    assert bench.condition("McpProxy", "tools", "ResolvedRefs") == ("False", "RefNotFound")
    bench.apply(_token("Bearer one"))
    await bench.drain()
    assert len(_config(bench)["servers"]) == 2
    assert bench.condition("McpProxy", "tools", "ResolvedRefs") == ("True", "Resolved")


async def test_a_config_that_a_replica_rejects_is_told(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    before = await bench.programmed()
    bench.apply(_remote("two"))
    await bench.drain()
    rejected = RejectedConfig(revision=_config(bench)["revision"], message="servers[0]: wrong", at=NOW)
    bench.replicas.tell(PROXY, "tools-proxy-0", before, rejected=rejected)
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "ConfigRejected")
    told = bench.message("McpProxy", "tools")
    assert before in told
    assert "servers[0]: wrong" in told


async def test_paused(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    await bench.programmed()
    bench.api.edit("McpProxy", "tools", lambda b: b["metadata"].update(annotations={meta.ANNOTATION_PAUSED: "true"}))
    await bench.drain()
    writes = len(bench.api.writes)
    bench.apply(_remote("two"))
    bench.api.kubectl_delete("Service", "tools-proxy")
    await bench.drain()
    assert set(bench.api.writes[writes:]) == {"McpServer/two/status", "McpProxy/tools/status"}
    assert bench.condition("McpProxy", "tools", "Programmed") == ("Unknown", "Paused")
    bench.api.edit("McpProxy", "tools", lambda b: b["metadata"].pop("annotations"))
    await bench.drain()
    assert len(_config(bench)["servers"]) == 2
    assert bench.api.names("Service") == {"tools-proxy", "tools-peers"}


@pytest.mark.parametrize("child", [child for child in CHILDREN if not child.startswith("NetworkPolicy/")])
async def test_a_foreign_object_is_not_taken_over(bench: Bench, child: str) -> None:
    kind, _, name = child.partition("/")
    foreign: Body = {"apiVersion": "apps/v1" if kind == "Deployment" else "v1", "kind": kind}
    foreign |= {"metadata": {"name": name}, "data": {"mine": "bWluZQ=="}}
    foreign |= {"spec": {"template": {"spec": {"containers": []}}}} if kind == "Deployment" else {}
    bench.apply(foreign, resources.proxy(selector=CORE))
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "ChildNameTaken")
    assert bench.api.writes == ["McpProxy/tools/status"]
    assert f"{kind} team-a/{name} exists already" in bench.message("McpProxy", "tools")


async def test_a_rollout_that_is_stuck_is_told_while_the_old_pods_serve(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    revision = await bench.programmed()
    bench.apply(resources.proxy(selector=CORE, image="example.com/none:1"))
    await bench.drain()
    generation = bench.api.get("Deployment", "tools-proxy")["metadata"]["generation"]
    status = {"observedGeneration": generation, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}
    bench.api.edit("Deployment", "tools-proxy", lambda b: b.update(status=status))
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    new = {"name": "proxy", "image": "example.com/none:1", "state": {"waiting": waiting}}
    labels = bench.api.get("Pod", "tools-proxy-0")["metadata"]["labels"]
    bench.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tools-proxy-new", "labels": labels}})
    bench.api.edit(
        "Pod", "tools-proxy-new", lambda b: b.update(status={"phase": "Pending", "containerStatuses": [new]})
    )
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "ImagePullFailed")
    assert "example.com/none:1" in bench.message("McpProxy", "tools")
    assert bench.status("McpProxy", "tools")["programmedRevision"] == revision


async def test_a_pod_that_is_being_started_is_told_which_revision_to_be_ready_with(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    revision = await bench.programmed()
    labels = bench.api.get("Pod", "tools-proxy-0")["metadata"]["labels"]
    bench.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tools-proxy-new", "labels": labels}})
    bench.api.edit("Pod", "tools-proxy-new", lambda b: b.update(status={"phase": "Pending"}))
    await bench.drain()
    assert _annotation(bench, "tools-proxy-new") == revision
    writes = len(bench.api.writes)
    await bench.reconcile("McpProxy", "tools")
    assert bench.api.writes[writes:] == []


def _described(number: int, draw: random.Random) -> Body:
    """A route with 8 kB of text that compresses to the half."""
    overrides = [{"name": f"t{n}", "description": draw.randbytes(32).hex()} for n in range(128)]
    server = {"name": "one", "tools": {"overrides": overrides}}
    return resources.route(f"r{number}", server, path=f"/r{number}/mcp")


async def test_a_configuration_outgrows_its_configmap_and_shrinks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces before the index, pruned after it; too large at last, which changes nothing of what is there."""
    monkeypatch.setattr(configfiles, "PART_BYTES", 20_000)
    draw = random.Random(0)
    bench.apply(_remote("one"), resources.proxy(), *(_described(number, draw) for number in range(5)))
    await bench.drain()
    written = [name for name in bench.api.writes if name.startswith("ConfigMap/")]
    assert written == ["ConfigMap/tools-proxy-config-1", "ConfigMap/tools-proxy-config"]
    deployment = bench.api.get("Deployment", "tools-proxy")
    writes = len(bench.api.writes)
    for number in (1, 2, 3, 4):
        bench.api.kubectl_delete("McpRoute", f"r{number}")
    await bench.drain()
    shrunk = [name for name in bench.api.writes[writes:] if name.startswith("ConfigMap/")]
    assert shrunk == ["ConfigMap/tools-proxy-config", "ConfigMap/tools-proxy-config-1"], (
        "the index first, then the piece"
    )
    assert bench.api.names("ConfigMap") == {"tools-proxy-config"}
    assert [route["path"] for route in _config(bench)["routes"]] == ["/mcp", "/r0/mcp"]
    assert bench.api.get("Deployment", "tools-proxy") == deployment, "its pods go on"
    writes = len(bench.api.writes)
    bench.apply(*(_described(number, draw) for number in range(1, 26)))
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "ConfigTooLarge")
    assert bench.condition("McpProxy", "tools", "Stalled") == ("True", "ConfigTooLarge")
    assert "the limit is 0.1 MiB compressed; give the proxy fewer" in bench.message("McpProxy", "tools")
    assert not [name for name in bench.api.writes[writes:] if "Config" in name]


async def test_pods_are_asked_by_address_and_evicted_ones_are_not(bench: Bench) -> None:
    bench.apply(resources.proxy(replicas=3))
    await bench.drain()
    bench.run_pods("tools-proxy")
    bench.api.edit("Pod", "tools-proxy-0", lambda b: b["status"].update(podIP="fd00::7"))
    bench.api.edit("Pod", "tools-proxy-1", lambda b: b["status"].update(phase="Failed"))
    bench.api.edit("Pod", "tools-proxy-2", lambda b: b["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    await bench.drain()
    assert bench.replicas.addresses[PROXY] == {"tools-proxy-0": "http://[fd00::7]:8080"}


async def test_deletion_forgets_and_tells_the_routes(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(), resources.route("extra", {"name": "one"}))
    await bench.programmed()
    bench.api.kubectl_delete("McpProxy", "tools")
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "Accepted") == ("False", "ParentNotFound")
    assert bench.prober.health(PROXY) is None
    assert PROXY not in bench.replicas.addresses
    assert PROXY not in bench.context.compiled
    assert not any(bench.api.names(kind) for kind in ("Deployment", "Service", "ConfigMap", "Secret"))


async def test_an_operator_that_starts_anew_changes_nothing(bench: Bench) -> None:
    """Before its first answers, and when they say what was known."""
    bench.apply(_token("Bearer one"), _guarded(), resources.proxy(selector=CORE))
    bench.apply(resources.route("extra", {"name": "guarded", "prefix": "x"}, path="/x"))
    await bench.programmed()
    bench.probes.say("http://guarded.example.com/mcp", FACTS)
    await bench.until(lambda: bench.condition("McpServer", "guarded", "Ready")[0] == "True")
    writes = len(bench.api.writes)
    bench.probes.answers.clear()
    await bench.restart()
    await bench.drain()
    assert bench.api.writes[writes:] == []
    bench.probes.say("http://tools-proxy.team-a.svc/mcp", FACTS)
    bench.probes.say("http://guarded.example.com/mcp", FACTS)
    await bench.until(lambda: (health := bench.prober.health(PROXY)) and health.healthy)
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert bench.api.writes[writes:] == []
    assert bench.swaps == [0.25]


async def test_an_operator_that_starts_anew_finds_what_has_changed(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    before = await bench.programmed()
    bench.api.changed = lambda *_: None
    bench.apply(_remote("two"))
    await bench.restart()
    await bench.drain()
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "Swapping")
    revision = bench.swapped("tools", "tools-proxy-0")
    assert revision != before
    await bench.until(lambda: bench.condition("McpProxy", "tools", "Ready")[0] == "True")


async def test_a_status_that_cannot_be_written_is_tried_again(bench: Bench) -> None:
    bench.apply(_remote("one"), resources.proxy(selector=CORE))
    bench.api.refuse("PATCH", "/mcpproxies/", AWAY, times=1)
    with pytest.raises(Exception, match="away"):
        await bench.drain()
    await bench.reconcile("McpProxy", "tools")
    assert bench.condition("McpProxy", "tools", "Programmed") == ("False", "Deploying")


async def test_a_flood_of_servers_is_a_few_configurations(bench: Bench) -> None:
    """The first is served at once; the others together when its time is over. A hand is not held up by a flood elsewhere."""
    now = 0.0
    bench.context.pace = Pace(lambda: now)
    bench.apply(resources.proxy(selector=CORE), resources.proxy("other", selector={"team": "data"}))
    await bench.drain()
    bench.api.asked.clear()
    for number in range(30):
        bench.apply(_remote(f"server-{number}"))
        results = await bench.drain()
    assert bench.api.writes.count("ConfigMap/tools-proxy-config") == 0, (
        "the empty configuration was written just before"
    )
    waits = results[PROXY].requeue_after
    assert waits == pytest.approx(FIRST_SECONDS)

    now += FIRST_SECONDS
    await bench.reconcile("McpProxy", "tools")
    assert len(_config(bench)["servers"]) == 30
    assert bench.api.writes.count("ConfigMap/tools-proxy-config") == 1
    assert bench.api.writes.count("ConfigMap/other-proxy-config") == 0
