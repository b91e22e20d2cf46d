"""Where a tool of a server can be called through a proxy, and whether it is time to."""

from typing import Any

import pytest

from mcp_operator.probe.replica import ReplicaState
from mcp_operator.reconcile.showing import Plan, Showing, Shown
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.report import Conflict, RouteReport, ServerReport

R = "McpProxy/ns/tools"


def config(*routes: dict[str, Any]) -> ProxyConfig:
    servers = [{"id": f"ns/{name}", "url": "http://127.0.0.1:1/mcp"} for name in ("time", "other")]
    return ProxyConfig.model_validate({"revision": "1", "servers": servers, "routes": list(routes)})


def route(path: str = "/mcp", *, name: str = R, prefix: str = "time", **more: Any) -> dict[str, Any]:
    tools = {"tools": more.pop("tools")} if "tools" in more else {}
    return {"name": name, "path": path, "servers": [{"server": "ns/time", "prefix": prefix, **tools}], **more}


def replica(*tools: str, path: str = "/mcp", **more: Any) -> ReplicaState:
    routes = (RouteReport(name=R, path=path, tools=tools),)
    return ReplicaState(**{"asked": "1", "state": "running", "revision": "1", "routes": routes, **more})


SHOWS = {"p": replica("time_now", "now", "time_clock", "ns.time.now")}
CASES = {
    "prefixed": (config(route()), SHOWS, Plan(Shown("/mcp", "time_now"))),
    "without a prefix": (config(route(prefix="")), SHOWS, Plan(Shown("/mcp", "now"))),
    "by the template": (config(route(naming="{namespace}.{server}.{tool}")), SHOWS, Plan(Shown("/mcp", "ns.time.now"))),
    "renamed": (config(route(tools={"overrides": [{"name": "now", "rename": "clock"}]})), SHOWS, Plan(Shown("/mcp", "time_clock"))),
    "excluded": (config(route(tools={"exclude": ["n*"]})), SHOWS, Plan()),
    "not included": (config(route(tools={"include": ["x"]})), SHOWS, Plan()),
    "excluded at the first path": (config(route(tools={"exclude": ["now"]}), route("/b", name="McpRoute/ns/b")),
        {"p": replica("time_now", path="/b")}, Plan(Shown("/b", "time_now"))),
    "not on this proxy": (config({"name": R, "path": "/mcp", "servers": [{"server": "ns/other", "prefix": "o"}]}), SHOWS, Plan()),
    "another server has the name": (config(route(prefix="")), {"p": replica("now", conflicts=(
        Conflict(route=R, kind="tool", name="now", winner="ns/other", loser="ns/time"),))}, Plan()),
    "a prompt of that name is none": (config(route(prefix="")), {"p": replica("now", conflicts=(
        Conflict(route=R, kind="prompt", name="now", winner="ns/other", loser="ns/time"),))}, Plan(Shown("/mcp", "now"))),
    "no replica": (config(route()), {}, Plan(waiting=True)),
    "not heard yet": (config(route()), {"p": ReplicaState(asked="1")}, Plan(waiting=True)),
    "one lists it, one swaps": (config(route()), {"p": replica("time_now"), "q": replica(state="pending")},
        Plan(Shown("/mcp", "time_now"))),
    "the swap is under way": (config(route()), {"p": replica(state="pending")}, Plan(waiting=True)),
    "the server has not been listed": (config(route()), {"p": replica(servers=(ServerReport(id="ns/time", state="pending"),))},
        Plan(waiting=True)),
    "all settled, and it is not there": (config(route()), {"p": replica("other")}, Plan(Shown("/mcp", "time_now"))),
    "refused, and it is not there": (config(route()), {"p": replica(state="rejected")}, Plan(Shown("/mcp", "time_now"))),
    "nobody tells": (config(route()), {"p": replica(state="unreachable", routes=())}, Plan(Shown("/mcp", "time_now"))),
}  # fmt: skip


@pytest.mark.parametrize(("compiled", "states", "expected"), CASES.values(), ids=CASES)
def test_table(compiled: ProxyConfig, states: dict[str, ReplicaState], expected: Plan) -> None:
    showing = Showing(compiled, states)
    assert showing.plan("ns/time", "now") == expected
    assert showing.plan("ns/time", "now") == expected, "remembered"
    assert showing.plan("ns/none", "now") == Plan()
