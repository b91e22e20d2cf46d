"""Servers of which each user has an instance of its own: nobody sees what another one's has, says or does."""

import asyncio
import json
from typing import Any

from mcp_operator_proxy.inspector.models import Fleet, ServerDetail, ToolDetail, Tools, Traffic
from mcp_operator_proxy.services.credentials.token import Token
from support.gateway import Gateway
from unit.proxy.rest.conftest import problem
from unit.proxy.users.setting import connected, key_of, one_gateway

from .conftest import ask, key

OTHER = {"ann": "ben", "ben": "ann"}


async def test_each_user_sees_his_own() -> None:
    async with one_gateway(list(OTHER), inspector={}) as (gateway, _, _):
        for name in OTHER:
            await ask(gateway, "traffic", key_of(name))
        for name in OTHER:
            async with connected(gateway, name, "auto") as client:
                called = await client.call_tool("p_whoami")
                assert called.structured_content["token"] == f"tok-{name}"
        for name, other in OTHER.items():
            await _sees_its_own(gateway, name, other)


async def _sees_its_own(gateway: Gateway, name: str, other: str) -> None:
    def of(path: str, **query: Any) -> Any:
        return ask(gateway, path, key_of(name), **query)

    tools = Tools.model_validate(await of("tools"))
    names = {tool.name for tool in tools.items}
    assert f"p_only_tok-{name}" in names
    assert f"p_only_tok-{other}" not in names
    assert all(tool.tool_id for tool in tools.items)
    own = ToolDetail.model_validate(await of("tool", route="/mcp", name=f"p_only_tok-{name}"))
    assert own.own is not None
    assert own.own.name == f"only_tok-{name}"
    hidden = {"route": "/mcp", "name": f"p_only_tok-{other}"}
    problem(await gateway.get("/ui/api/tool", params=hidden, headers=key(key_of(name))), "unknown-tool")
    (server,) = Fleet.model_validate(await of("fleet")).servers
    assert (server.id, server.tools) == ("ns/p", 0)  # its lists are the users' own
    detail = ServerDetail.model_validate(await of("servers/ns/p"))
    assert {c.type: c.reason for c in detail.conditions if c.reason == "EachUser"} == {
        "Connected": "EachUser", "Listed": "EachUser", "CredentialReady": "EachUser",
    }  # fmt: skip
    found = Traffic.model_validate(await of("traffic")).exchanges
    assert {one.caller for one in found} == {name}
    text = json.dumps([one.model_dump(mode="json") for one in found])
    assert f"tok-{other}" not in text
    for path in ("sessions", "swaps", "definitions", "fleet", "servers/ns/p", "tools"):
        assert f"tok-{other}" not in json.dumps(await of(path)), path


async def test_a_users_token_is_not_seen_where_the_server_repeats_it_to_an_application() -> None:
    more = {"inspector": {"operators": ["app"]}, "users": {"applications": ["app"]}, "rest": {"prefix": "/api"}}
    async with one_gateway(["app"], **more) as (gateway, personal, _):
        personal.held.setdefault("now", asyncio.Event()).set()
        await gateway.proxy.services.users.start("zoe", "corp", Token("tok-of-zoe"), ["ns/p"])
        await ask(gateway, "traffic", key_of("app"))
        body = {"tool_id": "p.hold", "user_id": "zoe", "parameters": {"key": "now"}}
        called = await gateway.http.post(f"{gateway.base}/api/tools/call", json=body, headers=key(key_of("app")))
        assert "tok-of-zoe" in called.text, called.text
        text = json.dumps(await ask(gateway, "traffic", key_of("app")))
        assert "p.hold" in text
        assert "tok-of-zoe" not in text
