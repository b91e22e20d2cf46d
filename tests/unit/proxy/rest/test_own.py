"""Servers of which each user has an instance of its own, over REST: found, called, told apart, signed in."""

import asyncio

from mcp_operator_proxy.config import ProxyConfig
from unit.proxy.users.setting import key_of, one_gateway

from .conftest import call, problem

NAMES = ("ann", "ben", "app")


def key(name: str) -> dict[str, str]:
    return {"x-api-key": key_of(name)}


async def test_each_user_calls_and_sees_its_own() -> None:
    async with one_gateway(NAMES[:2], rest={}) as (gateway, _, _):

        async def of(name: str) -> None:
            for _ in range(5):
                answer = await call(gateway, "p.whoami", headers=key(name))
                assert answer.status_code == 200, answer.text
                assert answer.json()["result"]["structuredContent"]["token"] == f"tok-{name}"
            listed = (await gateway.get("/tools/list", headers=key(name))).json()["tools"]
            ids = {tool["tool_id"] for tool in listed}
            other = "ben" if name == "ann" else "ann"
            assert f"p.only_tok-{name}" in ids
            assert f"p.only_tok-{other}" not in ids
            problem(await call(gateway, f"p.only_tok-{other}", headers=key(name)), "unknown-tool")
            problem(await gateway.get(f"/tools/p.only_tok-{other}", headers=key(name)), "unknown-tool")

        await asyncio.gather(of("ann"), of("ben"))


async def test_an_application_calls_for_its_users() -> None:
    users = {"applications": ["app"]}
    async with one_gateway(["app"], rest={}, users=users) as (gateway, _, _):
        for user in ("carol", "dave"):
            body = {"user_id": user, "oauth_token": f"tok-{user}", "provider": "corp"}
            answer = await gateway.http.post(f"{gateway.base}/sessions/start", json=body, headers=key("app"))
            assert answer.status_code == 200, answer.text
        for user in ("carol", "dave"):
            called = await call(gateway, "p.whoami", headers=key("app"), user_id=user)
            assert called.json()["result"]["structuredContent"]["token"] == f"tok-{user}", called.text
        ended = await gateway.http.delete(f"{gateway.base}/sessions/carol", headers=key("app"))
        assert ended.json()["servers_stopped"] == ["ns/p"]
        problem(await call(gateway, "p.whoami", headers=key("app"), user_id="carol"), "unknown-session")


async def test_who_is_not_signed_in_is_told_how() -> None:
    async with one_gateway(["ann"], rest={}) as (gateway, _, _):
        await gateway.proxy.services.users.end("key/ann")
        listed = (await gateway.get("/tools/list", headers=key("ann"))).json()["tools"]
        assert [tool["tool_id"] for tool in listed] == ["p.sign_in"]
        told = problem(await call(gateway, "p.sign_in", headers=key("ann")), "sign-in-required")
        assert "corp" in told["detail"]
        problem(await call(gateway, "p.whoami", headers=key("ann")), "sign-in-required")


async def test_nobody_has_nothing_of_its_own() -> None:
    async with one_gateway(["ann"], rest={}) as (gateway, _, _):
        data = gateway.proxy.state.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)  # type: ignore[union-attr]
        await gateway.proxy.apply(ProxyConfig.model_validate({**data, "auth": None, "revision": "2"}))
        told = problem(await call(gateway, "p.whoami"), "unknown-tool")
        assert "an instance for each user" in told["detail"]
