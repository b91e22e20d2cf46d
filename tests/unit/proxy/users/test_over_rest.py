"""Servers of users over REST: an application acts for many, and each gets what is its own."""

import asyncio
from typing import Any

import httpx2

from support.backends import ServedMCP
from support.gateway import Gateway, running_gateway
from support.personal import Personal

from .setting import configured, key_of, keys, signed_in


async def post(gateway: Gateway, path: str, who: str, **body: Any) -> httpx2.Response:
    return await gateway.http.post(gateway.base + path, json=body, headers={"x-api-key": key_of(who)})


async def call(gateway: Gateway, who: str, tool: str, **more: Any) -> dict[str, Any]:
    answer = await post(gateway, "/tools/call", who, tool_id=tool, parameters={}, **more)
    found: dict[str, Any] = answer.json()
    return {**found, "status": answer.status_code}


async def test_an_application_acts_for_many_users_and_mixes_up_none() -> None:
    people = [f"u{number}" for number in range(8)]
    personal = Personal([f"tok-{name}" for name in people])
    tools = [{"name": "whoami", "cacheSeconds": 60}]
    async with ServedMCP(personal.mcp) as served:
        config = configured(
            {"p": served.url}, ["app", "ann"], rest={}, users={"applications": ["app"]}, server={"tools": tools}
        )
        async with running_gateway(config, keys(["app", "ann"])) as gateway:
            for name in people:
                begun = await post(
                    gateway, "/sessions/start", "app",
                    user_id=name, provider="corp", oauth_token=f"tok-{name}", mcp_servers=["ns/p"],
                )  # fmt: skip
                assert begun.status_code in (200, 201), begun.text

            async def check(name: str) -> None:
                for tool in ("p.whoami", f"p.only_tok-{name}", "p.whoami"):
                    found = await call(gateway, "app", tool, user_id=name)
                    assert f"tok-{name}" in str(found["result"]), found
                other = people[people.index(name) - 1]
                assert (await call(gateway, "app", f"p.only_tok-{other}", user_id=name))["status"] == 404

            await asyncio.gather(*(check(name) for name in people for _ in range(2)))
            assert len(gateway.proxy.services.users.instances) == len(people)
            ended = await gateway.http.delete(f"{gateway.base}/sessions/u0", headers={"x-api-key": key_of("app")})
            assert ended.json()["servers_stopped"], ended.text
            assert len(gateway.proxy.services.users.instances) == len(people) - 1
            refused = await call(gateway, "app", "p.whoami", user_id="u0")
            assert (refused["status"], refused["type"].rpartition("/")[2]) == (404, "unknown-session")
            await check("u1")


async def test_lists_over_rest_are_the_callers_own() -> None:
    personal = Personal(["tok-ann", "tok-bob"])
    people = ["ann", "bob"]
    async with ServedMCP(personal.mcp) as served:
        config = configured({"p": served.url}, [*people, "eva"], rest={})
        async with running_gateway(config, keys([*people, "eva"])) as gateway:
            await signed_in(gateway, *people)
            for name in people:
                listed = await gateway.get("/tools/list", headers={"x-api-key": key_of(name)})
                found = {tool["tool_id"] for tool in listed.json()["tools"]}
                assert {tool for tool in found if "only" in tool} == {f"p.only_tok-{name}"}
                assert (await call(gateway, name, f"p.only_tok-{name}"))["success"]
            other = await gateway.get("/tools/p.only_tok-ann", headers={"x-api-key": key_of("bob")})
            assert other.status_code == 404
            stranger = await gateway.get("/tools/list", headers={"x-api-key": key_of("eva")})
            assert [tool["tool_id"] for tool in stranger.json()["tools"]] == ["p.sign_in"]
            refused = await call(gateway, "eva", "p.whoami")
            assert (refused["status"], refused["type"].rpartition("/")[2]) == (403, "sign-in-required")
            assert not any(token not in ("tok-ann", "tok-bob") for token in personal.calls)
