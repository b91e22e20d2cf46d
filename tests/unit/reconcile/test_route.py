"""An McpRoute: what it is told, and when.

before its proxy has looked at this version of it: nothing · served · missing parent, and its creation
consent of another namespace: given, taken away, by the labels of the namespace · conflicts told on both sides, and their end
names that are too long · two parents · refused servers · names that another server has, told by replicas · a proxy that lags behind
"""

import base64
import json

from mcp_operator.engine.keys import Key
from mcp_operator_proxy.report import Conflict, LongName
from support import resources
from support.bench import Bench

ROUTE = Key("McpRoute", "team-a", "extra")
PROXY = Key("McpProxy", "team-a", "tools")


def _one() -> dict[str, object]:
    return resources.remote("one", "http://one.example.com/mcp")


def _ready(bench: Bench, name: str = "extra") -> tuple[str, str]:
    return bench.condition("McpRoute", name, "Ready")


async def test_nothing_is_said_before_the_proxy_has_looked(bench: Bench) -> None:
    """Else the status would speak of the new generation and mean the old one."""
    bench.apply(_one(), resources.proxy(), resources.route("extra", {"name": "one"}))
    await bench.programmed()
    await bench.until(lambda: _ready(bench) == ("True", "Ready"))
    bench.apply(resources.route("extra", {"name": "one"}, {"name": "nobody"}))
    await bench.reconcile("McpRoute", "extra")
    assert bench.status("McpRoute", "extra")["observedGeneration"] == 1
    await bench.reconcile("McpProxy", "tools")
    assert ROUTE in bench.waiting
    await bench.reconcile("McpRoute", "extra")
    assert bench.status("McpRoute", "extra")["observedGeneration"] == 2
    assert _ready(bench) == ("False", "ServerNotFound")


async def test_ready_only_when_the_replicas_run_it(bench: Bench) -> None:
    bench.apply(_one(), resources.proxy())
    await bench.programmed()
    bench.apply(resources.route("extra", {"name": "one"}, path="/x"))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "Programmed") == ("False", "Swapping")
    assert bench.condition("McpRoute", "extra", "Reconciling") == ("True", "Swapping")
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert _ready(bench) == ("True", "Ready")
    status = bench.status("McpRoute", "extra")
    assert (status["proxies"], status["path"], status["serverCount"]) == ("tools", "/x", 1)
    writes = len(bench.api.writes)
    await bench.reconcile("McpRoute", "extra")
    assert bench.api.writes[writes:] == []


async def test_a_parent_that_comes_and_goes(bench: Bench) -> None:
    bench.apply(_one(), resources.route("extra", {"name": "one"}))
    await bench.drain()
    assert _ready(bench) == ("False", "ParentNotFound")
    assert "McpProxy team-a/tools is not found" in bench.message("McpRoute", "extra")
    bench.apply(resources.proxy())
    await bench.programmed()
    await bench.until(lambda: _ready(bench) == ("True", "Ready"))
    bench.api.edit("McpProxy", "tools", lambda b: b["metadata"].update(finalizers=["example.com/hold"]))
    await bench.drain()
    bench.api.kubectl_delete("McpProxy", "tools")
    await bench.drain()
    assert _ready(bench) == ("False", "ParentNotFound"), "a proxy that is being deleted serves nothing new"


async def test_two_parents(bench: Bench) -> None:
    body = resources.route("extra", {"name": "one"})
    body["spec"]["parentRefs"].append({"name": "second"})
    bench.apply(_one(), resources.proxy(), body)
    await bench.drain()
    assert "team-a/second" in bench.message("McpRoute", "extra")
    bench.apply(resources.proxy("second", path="/other"))
    await bench.programmed("tools")
    bench.run_pods("second-proxy")
    await bench.drain()
    assert "second: " in bench.message("McpRoute", "extra", "Programmed")
    bench.swapped("second", "second-proxy-0")
    await bench.until(lambda: _ready(bench) == ("True", "Ready"))
    assert bench.status("McpRoute", "extra")["proxies"] == "second, tools"


async def test_a_name_that_another_server_has_is_told(bench: Bench) -> None:
    two = resources.remote("two", "http://two.example.com/mcp")
    younger = resources.route("extra", {"name": "two", "prefix": ""})
    bench.apply(_one(), two, resources.proxy(), resources.route("older", {"name": "one", "prefix": ""}), younger)
    await bench.programmed()
    await bench.until(lambda: _ready(bench) == ("True", "Ready"))
    route = "McpProxy/team-a/tools"
    clash = Conflict(route=route, kind="tool", name="add", winner="team-a/one", loser="team-a/two")
    bench.swapped("tools", "tools-proxy-0", conflicts=(clash,))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "Accepted") == ("False", "NameConflict")
    assert "'add'" in bench.message("McpRoute", "extra")
    assert _ready(bench, "older") == ("True", "Ready")
    writes = len(bench.api.writes)
    await bench.restart()
    await bench.drain()
    assert bench.api.writes[writes:] == [], "after a restart that stands until the replicas have said it again"
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert _ready(bench) == ("True", "Ready")


async def test_a_server_that_is_left_out_is_told(bench: Bench) -> None:
    source = {"secretKeyRef": {"name": "token", "key": "header"}}
    header = [{"name": "Authorization", "valueFrom": source}]
    guarded = resources.remote("one", "http://one.example.com/mcp", headers=header)
    bench.apply(guarded, resources.proxy(), resources.route("extra", {"name": "one"}))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "ResolvedRefs") == ("False", "RefNotFound")


async def test_routes_that_match_nothing(bench: Bench) -> None:
    bench.apply(resources.proxy(), resources.route("extra", {"selector": {"matchLabels": {"a": "b"}}}))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "ResolvedRefs") == ("False", "NoServerSelected")


# Other namespaces


def _far(**namespaces: object) -> dict[str, object]:
    spec = {"allowedRoutes": {"namespaces": namespaces}} if namespaces else {}
    body = resources.remote("far", "http://far.example.com/mcp", **spec)
    return {**body, "metadata": {"name": "far", "namespace": "platform"}}


def _servers(bench: Bench) -> list[str]:
    body = json.loads(bench.api.get("ConfigMap", "tools-proxy-config")["data"]["config.json"])
    return [server["id"] for server in body.get("servers", [])]


async def test_consent_is_given_and_taken_away(bench: Bench) -> None:
    bench.apply(_far(), resources.proxy(), resources.route("extra", {"name": "far", "namespace": "platform"}))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "ResolvedRefs") == ("False", "RefNotPermitted")
    assert _servers(bench) == []
    bench.apply(_far(**{"from": "All"}))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "ResolvedRefs") == ("True", "Resolved")
    assert _servers(bench) == ["platform/far"]
    bench.apply(_far(**{"from": "Same"}))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "ResolvedRefs") == ("False", "RefNotPermitted")
    assert _servers(bench) == []


async def test_consent_by_the_labels_of_a_namespace(bench: Bench) -> None:
    trusted = {"matchLabels": {"trust": "high"}}
    bench.apply(_far(**{"from": "Selector", "selector": trusted}), resources.proxy())
    bench.apply(resources.route("extra", {"selector": {}, "namespace": "platform"}))
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "ResolvedRefs") == ("False", "RefNotPermitted")
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"trust": "high"}}}
    bench.apply(team)
    await bench.drain()
    assert bench.condition("McpRoute", "extra", "ResolvedRefs") == ("True", "Resolved")
    assert _servers(bench) == ["platform/far"]
    bench.api.edit("Namespace", "team-a", lambda body: body["metadata"].update(labels={}), None)
    await bench.drain()
    assert _servers(bench) == []


async def test_a_consent_that_can_not_be_decided_is_told_to_its_author(bench: Bench) -> None:
    bench.world.reads_namespaces = False
    bench.apply(_far(**{"from": "Selector", "selector": {"matchLabels": {"trust": "high"}}}))
    await bench.drain()
    assert bench.condition("McpServer", "far", "Accepted", "platform") == ("False", "UnsupportedValue")


async def test_a_secret_of_the_server_s_namespace_is_used(bench: Bench) -> None:
    source = {"secretKeyRef": {"name": "token", "key": "header"}}
    far = _far(**{"from": "All"})
    far["spec"]["remote"]["headers"] = [{"name": "Authorization", "valueFrom": source}]  # type: ignore[index]
    for namespace, value in (("platform", "Bearer theirs"), ("team-a", "Bearer ours")):
        metadata = {"name": "token", "namespace": namespace}
        bench.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"header": value}})
    bench.apply(far, resources.proxy(), resources.route("extra", {"name": "far", "namespace": "platform"}))
    await bench.drain()
    data = bench.api.get("Secret", "tools-proxy-secrets")["data"]
    values = [base64.b64decode(value) for file, value in data.items() if file.startswith("platform.far.")]
    assert values == [b"Bearer theirs"]


# Both sides of a conflict


def _two() -> dict[str, object]:
    return resources.remote("two", "http://two.example.com/mcp")


def _claims(bench: Bench) -> dict[str, tuple[str, str]]:
    about = [("McpRoute", "older"), ("McpRoute", "extra"), ("McpServer", "one"), ("McpServer", "two")]
    about = [(kind, name) for kind, name in about if name in bench.api.names(kind)]
    return {name: bench.condition(kind, name, "Conflicted") for kind, name in about}


async def test_both_sides_of_a_conflict_are_told_and_the_other_takes_over(bench: Bench) -> None:
    bench.apply(_one(), _two(), resources.proxy(), resources.route("older", {"name": "one", "prefix": "x"}))
    bench.apply(resources.route("extra", {"name": "two", "prefix": "x"}))
    for name in ("older", "extra"):
        created = "2026-01-01T00:00:00Z" if name == "older" else "2026-01-02T00:00:00Z"
        bench.api.edit("McpRoute", name, lambda b, created=created: b["metadata"].update(creationTimestamp=created))
    await bench.programmed()
    told = ("True", "PrefixConflict")
    assert _claims(bench) == {"older": told, "extra": ("", ""), "one": told, "two": told}
    assert bench.condition("McpRoute", "extra", "Accepted") == ("False", "PrefixConflict")
    assert "(McpRoute team-a/extra)" in bench.message("McpRoute", "older", "Conflicted")
    assert _ready(bench, "older") == ("True", "Ready"), "the winner is none the worse for it"
    writes = len(bench.api.writes)
    await bench.restart()
    await bench.drain()
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert bench.api.writes[writes:] == [], "an unchanged world, seen by a new process"
    bench.api.kubectl_delete("McpRoute", "older")
    await bench.drain()
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert _claims(bench) == {"extra": ("", ""), "one": ("", ""), "two": ("", "")}
    assert bench.condition("McpRoute", "extra", "Accepted") == ("True", "Accepted")
    assert _servers(bench) == ["team-a/two"]


async def test_a_priority_turns_a_conflict_round(bench: Bench) -> None:
    bench.apply(_one(), _two(), resources.proxy(), resources.route("older", {"name": "one", "prefix": "x"}))
    bench.apply(resources.route("extra", {"name": "two", "prefix": "x"}, priority=1))
    await bench.drain()
    assert _servers(bench) == ["team-a/two"]
    assert bench.condition("McpRoute", "older", "Accepted") == ("False", "PrefixConflict")
    assert bench.condition("McpRoute", "extra", "Conflicted") == ("True", "PrefixConflict")


async def test_the_winner_of_a_name_is_told_and_keeps_that_over_a_restart(bench: Bench) -> None:
    routes = [resources.route(name, {"name": of, "prefix": ""}) for name, of in (("older", "one"), ("extra", "two"))]
    bench.apply(_one(), _two(), resources.proxy(), *routes)
    await bench.programmed()
    clash = Conflict(route="McpProxy/team-a/tools", kind="tool", name="add", winner="team-a/one", loser="team-a/two")
    bench.swapped("tools", "tools-proxy-0", conflicts=(clash,))
    await bench.drain()
    told = ("True", "NameConflict")
    assert _claims(bench) == {"older": told, "extra": ("", ""), "one": told, "two": told}
    writes = len(bench.api.writes)
    await bench.restart()
    await bench.drain()
    assert bench.api.writes[writes:] == [], "that stands until the replicas have said it again"
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert set(_claims(bench).values()) == {("", "")}


async def test_names_that_are_too_long_are_told(bench: Bench) -> None:
    bench.apply(resources.remote("one", "http://one.example.com/mcp", labels={"a": "b"}))
    bench.apply(resources.proxy(selector={"a": "b"}))
    await bench.programmed()
    route = "McpProxy/team-a/tools"
    long = LongName(route=route, kind="tool", name="one_" + "x" * 70, server="team-a/one", shown="one_short")
    bench.swapped("tools", "tools-proxy-0", long_names=(long,))
    await bench.drain()
    for kind, name in (("McpProxy", "tools"), ("McpServer", "one")):
        assert bench.condition(kind, name, "NameTooLong") == ("True", "NameTooLong")
        assert "'one_short'" in bench.message(kind, name, "NameTooLong")
    assert bench.condition("McpProxy", "tools", "Ready") == ("True", "Ready")
    writes = len(bench.api.writes)
    await bench.restart()
    await bench.drain()
    assert bench.api.writes[writes:] == []
    bench.swapped("tools", "tools-proxy-0", long_names=(long,))
    await bench.drain()
    assert bench.api.writes[writes:] == []
    bench.swapped("tools", "tools-proxy-0")
    await bench.drain()
    assert bench.condition("McpServer", "one", "NameTooLong") == ("", "")
    assert bench.condition("McpProxy", "tools", "NameTooLong") == ("", "")


async def test_each_parent_is_told_of_by_itself(bench: Bench) -> None:
    body = resources.route("extra", {"name": "one"}, path="/x")
    body["spec"]["parentRefs"].append({"name": "second"})
    bench.apply(_one(), resources.proxy(), body)
    await bench.drain()
    parents = {parent["name"]: parent for parent in bench.status("McpRoute", "extra")["parents"]}
    reasons = {
        name: {c["type"]: c["reason"] for c in parent["conditions"]}["Accepted"] for name, parent in parents.items()
    }
    assert reasons == {"second": "ParentNotFound", "tools": "Accepted"}
    assert (parents["tools"]["path"], parents["tools"]["serverCount"]) == ("/x", 1)
