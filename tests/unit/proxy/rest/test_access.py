"""Who may use the interface, from where, and where it is: the same rules as for MCP."""

import json
from typing import Any

import pytest

from mcp_operator_proxy.access import AccessLog
from support.gateway import make_config

from .backends import calculator
from .conftest import Rest, call, problem

ALICE, BOB = "a" * 20, "b" * 20
SECRETS = {"alice": ALICE, "bob": BOB}
AUTH: dict[str, Any] = {
    "auth": {"apiKeys": [{"name": name, "secret": {"file": name}} for name in SECRETS]},
    "rest": {"operators": ["bob"]},
}


def key(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


async def test_callers_authenticate_as_over_mcp(serving: Rest) -> None:
    async with calculator() as served, serving({"calc": served.url}, SECRETS, **AUTH) as gateway:
        for headers in ({}, key("wrong" * 5), {"x-api-key": "wrong" * 5}):
            for path in ("/tools/list", "/servers", "/sessions", "/tools/calc.add"):
                answer = await gateway.get(path, headers=headers)
                body = problem(answer, "unauthenticated")
                assert answer.headers["www-authenticate"].startswith("Bearer ")
                assert "wrong" not in str(body)
            problem(await call(gateway, "calc.add", {"a": 1}, headers=headers), "unauthenticated")
            for path in ("/health", "/openapi.json", "/docs", "/docs/swagger-ui.css"):
                assert (await gateway.get(path, headers=headers)).status_code == 200, path
        for headers in (key(ALICE), {"x-api-key": ALICE}):
            assert (await call(gateway, "calc.add", {"a": 1}, headers=headers)).status_code == 200


async def test_only_operators_operate(serving: Rest) -> None:
    async with calculator() as served, serving({"calc": served.url}, SECRETS, **AUTH) as gateway:
        for action in ("start", "stop", "restart"):
            refused = await gateway.http.post(f"{gateway.base}/servers/calc/{action}", headers=key(ALICE))
            assert "rest.operators" in problem(refused, "forbidden")["detail"]
        problem(await gateway.get("/servers/calc/logs", headers=key(ALICE)), "forbidden")
        restarted = await gateway.http.post(f"{gateway.base}/servers/calc/restart", headers=key(BOB))
        assert restarted.status_code == 200


async def test_anonymous_callers_operate_nothing(serving: Rest) -> None:
    more = {"auth": {**AUTH["auth"], "anonymous": True}, "rest": {}}
    async with calculator() as served, serving({"calc": served.url}, SECRETS, **more) as gateway:
        assert (await call(gateway, "calc.add", {"a": 1})).status_code == 200
        problem(await gateway.http.post(f"{gateway.base}/servers/calc/stop"), "forbidden")
        problem(await call(gateway, "calc.add", {"a": 1}, user_id="alice"), "forbidden")


async def test_hosts_and_origins(serving: Rest) -> None:
    rules = {"allowedHosts": ["127.0.0.1:*", "127.0.0.1"], "allowedOrigins": ["https://app.example"]}
    async with serving({}, **rules) as gateway:
        problem(await gateway.get("/tools/list", headers={"host": "evil.example"}), "wrong-host")
        strange = await gateway.get("/tools/list", headers={"origin": "https://evil.example"})
        problem(strange, "forbidden")
        assert "access-control-allow-origin" not in strange.headers
        page = {"origin": "https://app.example"}
        shared = await gateway.get("/tools/list", headers=page)
        assert (shared.status_code, shared.headers["access-control-allow-origin"]) == (200, "https://app.example")
        asked = {**page, "access-control-request-method": "DELETE", "access-control-request-headers": "authorization"}
        preflight = await gateway.http.options(f"{gateway.base}/sessions/alice", headers=asked)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "https://app.example")


async def test_it_comes_moves_and_goes_with_the_configuration(serving: Rest) -> None:
    async with calculator() as served, serving({"calc": served.url}, rest=None) as gateway:
        assert (await gateway.get("/tools/list")).json() == {"error": "no MCP endpoint at /tools/list", "mcp": ["/mcp"]}
        await gateway.proxy.apply(make_config({"calc": served.url}, rest={"prefix": "/api/v1"}))
        assert (await gateway.get("/api/v1/tools/list")).json()["total"] == 5
        assert (await gateway.get("/tools/list")).status_code == 404
        assert (await gateway.get("/api/v1/openapi.json")).json()["servers"] == [{"url": "/api/v1"}]
        assert "/api/v1/docs/swagger-ui.css" in (await gateway.get("/api/v1/docs")).text
        await gateway.proxy.apply(make_config({"calc": served.url}, rest={}))
        assert (await gateway.get("/tools/list")).json()["total"] == 5
        assert (await gateway.get("/api/v1/tools/list")).json()["error"]
        await gateway.proxy.apply(make_config({"calc": served.url}))
        assert (await gateway.get("/tools/list")).json()["error"]


@pytest.mark.parametrize("path", ["/tools", "/health", "/sessions/x"])
def test_no_route_stands_in_its_way(path: str) -> None:
    routes = [{"name": "r", "path": path}]
    with pytest.raises(ValueError, match="give rest a prefix"):
        make_config({}, rest={}, routes=routes)
    make_config({}, rest={"prefix": "/api"}, routes=routes)


async def test_each_call_is_in_the_access_log(serving: Rest) -> None:
    lines: list[bytes] = []
    async with calculator() as served, serving({"calc": served.url}, SECRETS, **AUTH) as gateway:
        gateway.proxy.access = AccessLog(lines.append)
        await call(gateway, "calc.divide", {"a": 1, "b": 0}, headers=key(ALICE))
        await call(gateway, "calc.gone", headers=key(ALICE))
        await gateway.proxy.access.close()
        gateway.proxy.access = None
    first, second = [json.loads(line) for line in b"".join(lines).splitlines()]
    assert (first["method"], first["name"], first["outcome"]) == ("tools/call", "calc.divide", "tool_error")
    assert (first["principal"], first["route"], first["status"]) == ("alice", "/mcp", 200)
    assert (second["outcome"], second["status"]) == ("refused", 404)


POLICIES = "permit (principal, action, resource) when { resource.annotations.readOnlyHint };"


async def test_the_policy_is_that_of_mcp_and_each_decision_is_audited(serving: Rest) -> None:
    more = {**AUTH, "authorization": {"policies": POLICIES}, "audit": {"stdout": True, "arguments": True}}
    lines: list[bytes] = []
    async with calculator() as served, serving({"calc": served.url}, SECRETS, **more) as gateway:
        gateway.proxy.services.audit._lines._write = lines.append  # type: ignore[union-attr]
        shown = (await gateway.get("/tools/list", headers=key(ALICE))).json()["tools"]
        assert "calc.divide" not in [tool["tool_id"] for tool in shown]
        assert shown
        hits = (await gateway.get("/tools/search?q=quotient", headers=key(ALICE))).json()["tools"]
        assert "calc.divide" not in [tool["tool_id"] for tool in hits]
        problem(await gateway.get("/tools/calc.divide", headers=key(ALICE)), "unknown-tool")
        problem(await call(gateway, "calc.divide", {"a": 1, "b": 1}, headers=key(ALICE)), "unknown-tool")
        assert (await call(gateway, "calc.add", {"a": 1}, headers=key(ALICE))).status_code == 200
    records = [record for record in map(json.loads, b"".join(lines).splitlines()) if record["method"] == "tools/call"]
    assert [(r["name"], r["decision"], r["outcome"]) for r in records] == [
        ("calc.divide", "refused", "error"),
        ("calc.add", "allowed", "ok"),
    ]
    assert all(record["principal"] == "alice" for record in records)
    assert (records[1]["server"], records[1]["arguments"]) == ("ns/calc", {"a": 1})


async def test_rate_limits_are_those_of_mcp(serving: Rest) -> None:
    limits = [{"name": "few", "limit": "2/hour", "tools": "add"}]
    async with calculator() as served, serving({"calc": served.url}, rateLimits=limits) as gateway:
        for _ in range(2):
            assert (await call(gateway, "calc.add", {"a": 1})).status_code == 200
        refused = await call(gateway, "calc.add", {"a": 1})
        assert "few" in problem(refused, "rate-limited")["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
        assert (await call(gateway, "calc.divide", {"a": 1, "b": 1})).status_code == 200
