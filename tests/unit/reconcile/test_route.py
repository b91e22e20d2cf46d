"""An McpRoute: what it is told, and when.

before its proxy has looked at this version of it: nothing · served · missing parent, and its creation
two parents · refused servers · names that another server has, told by replicas · a proxy that lags behind
"""

from mcp_operator.engine.keys import Key
from mcp_operator_proxy.report import Conflict
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
