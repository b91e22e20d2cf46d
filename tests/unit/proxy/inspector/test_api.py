"""`/ui/api`: who looks, the servers, the tools; each caller sees what he may."""

from typing import Any

import pytest
from fastmcp import Client

from mcp_operator_proxy.inspector.models import Fleet, Me, ServerDetail, ToolDetail, Tools
from support.gateway import make_config
from support.waiting import Eventually
from unit.proxy.rest.backends import STDIO, calculator
from unit.proxy.rest.conftest import problem

from .conftest import ALICE, AUTH, BOB, OPS, SECRETS, Inspect, ask, key

POLICIES = """
@id("alice-adds")
permit (principal == ApiKey::"alice", action, resource == Tool::"ns/calc/add");
permit (principal == ApiKey::"bob", action, resource in Server::"ns/other");
@id("never-divide")
forbid (principal == ApiKey::"bob", action, resource) when { resource.name == "divide" };
"""


async def test_who_looks(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}, SECRETS, **AUTH) as gateway:
        unknown = await ask(gateway, "me")
        assert (unknown["caller"], unknown["required"], unknown["schemes"]) == (None, True, ["apiKey"])
        assert (unknown["operator"], unknown["routes"]) == (False, [])
        assert (unknown["proxy"]["revision"], unknown["proxy"]["startedAt"]) == (None, None)
        alice = await ask(gateway, "me", ALICE)
        assert alice["caller"] == {"name": "alice", "issuer": None}
        assert alice["routes"] == [{"name": "McpProxy/ns/tools", "path": "/mcp"}]
        assert not alice["operator"]
        assert alice["proxy"]["revision"]
        assert (await ask(gateway, "me", OPS))["operator"]
        assert Me.model_validate(alice).features.traffic
        problem(await gateway.get("/ui/api/me", headers=key("wrong" * 5)), "unauthenticated")
        for path in ("fleet", "servers/ns/calc", "tools", "tool?route=/mcp&name=calc_add", "nothing"):
            problem(await gateway.get(f"/ui/api/{path}"), "unauthenticated")
            problem(await gateway.get(f"/ui/api/{path}", headers=key("wrong" * 5)), "unauthenticated")


async def test_without_authentication_everybody_is_an_operator(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        me = await ask(gateway, "me")
        assert (me["caller"], me["required"], me["operator"], me["schemes"]) == (None, False, True, [])


async def test_anonymous_callers_are_no_operators(inspecting: Inspect) -> None:
    more = {**AUTH, "auth": {**AUTH["auth"], "anonymous": True}}
    async with calculator() as served, inspecting({"calc": served.url}, SECRETS, **more) as gateway:
        me = await ask(gateway, "me")
        assert (me["required"], me["operator"]) == (False, False)
        assert me["routes"]


async def test_the_fleet(inspecting: Inspect, eventually: Eventually) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        before = (await ask(gateway, "fleet"))["servers"][0]
        assert before["latency"] == {"last": None, "p50": None, "p95": None}
        async with Client(gateway.url) as client:
            await client.call_tool("calc_add", {"a": 1})
            await client.call_tool("calc_divide", {"a": 1, "b": 0}, raise_on_error=False)
            found = await ask(gateway, "fleet")
            (server,) = Fleet.model_validate(found).servers
            assert (server.id, server.state, server.phase, server.circuit) == (
                "ns/calc", "ready", "initialized", "closed",
            )  # fmt: skip
            assert (server.healthy, server.kind, server.tools, server.calls, server.errors) == (
                True, "remote", 5, 2, 1,
            )  # fmt: skip
            assert server.era == "stateless"
            assert server.protocol_version
            assert server.latency.p50 is not None
            assert server.latency.p95 is not None
            assert 0 < server.latency.p50 <= server.latency.p95
        await served.stop()
        gateway.proxy.state.backends["ns/calc"].nudge()  # type: ignore[union-attr]

        async def down() -> bool:
            (one,) = (await ask(gateway, "fleet"))["servers"]
            return one["state"] == "error" and not one["healthy"] and one["error"]["errorClass"] == "ConnectionRefused"

        await eventually(down)
        found = ServerDetail.model_validate(await ask(gateway, "servers/ns/calc"))
        connected = next(c for c in found.conditions if c.type == "Connected")
        assert (connected.status, connected.reason) == ("False", "ConnectionRefused")
        assert connected.since is not None
        listed = next(c for c in found.conditions if c.type == "Listed")
        assert (listed.status, listed.reason) == ("True", "LastGood")


async def test_one_server(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        found = ServerDetail.model_validate(await ask(gateway, "servers/ns/calc"))
        assert found.handshake is not None
        assert found.handshake.capabilities["tools"]
        assert found.handshake.protocol_version == found.protocol_version
        assert {(c.type, c.status) for c in found.conditions} == {
            ("Connected", "True"),
            ("Listed", "True"),
            ("CircuitClosed", "True"),
        }
        assert [(r.path, r.prefix) for r in found.routes] == [("/mcp", "calc")]
        assert found.limits.concurrency == 256
        problem(await gateway.get("/ui/api/servers/ns/nothing"), "unknown-server")


async def test_a_process_and_its_logs_which_are_for_operators(inspecting: Inspect, eventually: Eventually) -> None:
    servers = [{"id": "ns/noisy", "stdio": STDIO}]
    routes = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/noisy", "prefix": ""}]}]
    async with inspecting({}, SECRETS, **AUTH, servers=servers, routes=routes) as gateway:

        async def written() -> bool:
            return bool((await ask(gateway, "servers/ns/noisy", OPS))["logs"])

        await eventually(written)
        found = ServerDetail.model_validate(await ask(gateway, "servers/ns/noisy", OPS))
        assert (found.kind, found.process is not None) == ("stdio", True)
        assert next(c for c in found.conditions if c.type == "ProcessRunning").status == "True"
        others = ServerDetail.model_validate(await ask(gateway, "servers/ns/noisy", ALICE))
        assert others.logs == []
        assert others.process is not None
        assert (others.process.stderr, others.process.pid) == ((), None)
        assert next(c for c in others.conditions if c.type == "ProcessRunning").message == ""


async def test_each_sees_what_he_may(inspecting: Inspect) -> None:
    more = {**AUTH, "authorization": {"policies": POLICIES}}
    async with (
        calculator() as served,
        calculator() as other,
        inspecting({"calc": served.url, "other": other.url}, SECRETS, **more) as gateway,
    ):

        async def servers(who: str) -> list[str]:
            return [server["id"] for server in (await ask(gateway, "fleet", who))["servers"]]

        assert await servers(ALICE) == ["ns/calc"]
        assert await servers(BOB) == ["ns/other"]
        assert await servers(OPS) == ["ns/calc", "ns/other"]
        problem(await gateway.get("/ui/api/servers/ns/other", headers=key(ALICE)), "unknown-server")
        problem(await gateway.get("/ui/api/servers/ns/none", headers=key(ALICE)), "unknown-server")
        alice = Tools.model_validate(await ask(gateway, "tools", ALICE))
        assert [tool.name for tool in alice.items] == ["calc_add"]
        bob = Tools.model_validate(await ask(gateway, "tools", BOB))
        assert (bob.total, [tool.name for tool in bob.items]) == (
            4, ["other_add", "other_slow", "other_asks", "other_refuses"],
        )  # fmt: skip
        hidden = await gateway.get("/ui/api/tool", params={"route": "/mcp", "name": "other_add"}, headers=key(ALICE))
        problem(hidden, "unknown-tool")


async def test_the_policy_of_a_tool_as_its_caller_has_it(inspecting: Inspect) -> None:
    limits = [{"name": "calm", "limit": "100/minute", "tools": "a*"}, {"name": "other", "limit": "1/day", "tools": "z"}]
    server = {"tools": [{"name": "add", "callTimeoutSeconds": 7, "cacheSeconds": 3, "category": "sums"}]}
    more = {**AUTH, "authorization": {"policies": POLICIES}, "rateLimits": limits, "server": server}
    async with (
        calculator() as served,
        calculator() as other,
        inspecting({"calc": served.url, "other": other.url}, SECRETS, **more) as gateway,
    ):

        async def tool(who: str, name: str) -> ToolDetail:
            return ToolDetail.model_validate(await ask(gateway, "tool", who, route="/mcp", name=name))

        found = await tool(ALICE, "calc_add")
        assert found.definition["name"] == "calc_add"
        assert found.own is not None
        assert (found.own.name, found.own.definition["name"]) == ("add", "add")
        policy = found.policy
        assert (policy.allowed, policy.decided_by) == (True, ["alice-adds"])
        assert [(limit.name, limit.per) for limit in policy.rate_limits] == [("calm", ["caller"])]
        assert (policy.timeout_seconds, policy.cache_seconds, policy.pinning) == (7, 3, "off")
        assert (await tool(BOB, "other_add")).policy.decided_by == ["policy1"]
        refused = (await tool(OPS, "calc_add")).policy  # an operator sees it, and may not call it
        assert (refused.allowed, refused.decided_by) == (False, [])
        items = Tools.model_validate(await ask(gateway, "tools", ALICE)).items
        assert (items[0].category, items[0].annotations) == ("sums", {"readOnlyHint": True})
        assert items[0].tool_id == "calc.add"


async def test_tools_are_looked_for_in_pages(inspecting: Inspect) -> None:
    async with calculator() as served, calculator() as other:
        entries = [{"server": "ns/b", "prefix": "x"}]
        routes: list[dict[str, Any]] = [
            {"name": "one", "path": "/mcp", "servers": [{"server": "ns/a", "prefix": "a"}, *entries]},
            {"name": "two", "path": "/two", "servers": entries},
        ]
        async with inspecting({"a": served.url, "b": other.url}, routes=routes) as gateway:

            async def names(**query: Any) -> tuple[int, list[str]]:
                found = Tools.model_validate(await ask(gateway, "tools", **query))
                return found.total, [f"{tool.route} {tool.name}" for tool in found.items]

            assert (await names())[0] == 15
            assert await names(route="/two", limit=2, offset=1) == (5, ["/two x_divide", "/two x_slow"])
            assert await names(route="two", q="SUM numbers") == (1, ["/two x_add"])
            assert await names(q="asks", server="ns/a") == (1, ["/mcp a_asks"])
            assert await names(q="quotient", route="/mcp") == (2, ["/mcp a_divide", "/mcp x_divide"])
            problem(await gateway.get("/ui/api/tools?route=/none"), "invalid-request")
            problem(await gateway.get("/ui/api/tools?limit=0"), "invalid-request")


async def test_it_comes_and_goes_with_the_configuration(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}, inspector=None) as gateway:
        for path in ("/ui", "/ui/api/me"):
            assert (await gateway.get(path)).status_code == 404
        await gateway.proxy.apply(make_config({"calc": served.url}, inspector={}))
        assert (await gateway.get("/ui/api/me")).status_code == 200
        await gateway.proxy.apply(make_config({"calc": served.url}))
        assert (await gateway.get("/ui/api/me")).status_code == 404


@pytest.mark.parametrize("path", ["/ui", "/ui/mine", "/ui/api"])
def test_no_route_stands_in_its_way(path: str) -> None:
    routes = [{"name": "r", "path": path}]
    with pytest.raises(ValueError, match="is the inspector's"):
        make_config({}, inspector={}, routes=routes)
    make_config({}, routes=routes)
    with pytest.raises(ValueError, match="is the inspector's"):
        make_config({}, inspector={}, rest={"prefix": path})


async def test_hosts_origins_and_headers(inspecting: Inspect) -> None:
    rules = {"allowedHosts": ["127.0.0.1:*", "127.0.0.1"]}
    async with inspecting({}, **rules) as gateway:
        problem(await gateway.get("/ui/api/fleet", headers={"host": "evil.example"}), "wrong-host")
        strange = await gateway.get("/ui/api/fleet", headers={"origin": "https://evil.example"})
        problem(strange, "forbidden")
        assert "access-control-allow-origin" not in strange.headers
        assert "default-src 'none'" in strange.headers["content-security-policy"]
        for path in ("fleet", "nothing"):
            answer = await gateway.get(f"/ui/api/{path}")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "json" in answer.headers["content-type"]
        problem(await gateway.http.post(f"{gateway.base}/ui/api/fleet", json={}), "method-not-allowed")


async def test_a_page_whose_name_is_made_to_lead_here_reads_nothing(inspecting: Inspect) -> None:
    """DNS rebinding: the page is of the same host, so that its GET has no Origin."""
    rebound, rest = {"host": "evil.example:8080"}, ("fleet", "me", "traffic", "swaps", "servers/ns/calc")
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        for path in rest:
            problem(await gateway.get(f"/ui/api/{path}", headers=rebound), "wrong-host")
            named = await gateway.get(f"/ui/api/{path}", headers={"host": "tools-proxy.ns.svc"})
            assert named.status_code == 200
    async with inspecting({}, SECRETS, **AUTH) as gateway:  # whoever has a key is no foreign page
        assert (await gateway.get("/ui/api/fleet", headers={**rebound, **key(OPS)})).status_code == 200
        assert (await gateway.get("/ui/api/me", headers=rebound)).json()["routes"] == []
    anonymous = {**AUTH, "auth": {**AUTH["auth"], "anonymous": True}}
    async with inspecting({}, SECRETS, **anonymous) as gateway:
        problem(await gateway.get("/ui/api/me", headers=rebound), "wrong-host")
