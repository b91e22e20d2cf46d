"""Sessions and credentials: each his own, operators all, and no token or id by which they could be used."""

import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from mcp_operator_proxy.inspector.models import ServerDetail, Sessions
from mcp_operator_proxy.services.credentials.token import Token
from unit.proxy.rest.backends import calculator
from unit.proxy.users.setting import auth, key_of, keys, one_gateway

from .conftest import ALICE, AUTH, BOB, OPS, SECRETS, Inspect, ask


def connect(url: str, who: str) -> "Client[StreamableHttpTransport]":
    return Client(StreamableHttpTransport(url, headers={"authorization": f"Bearer {who}"}), mode="legacy")


async def test_sessions_of_clients(inspecting: Inspect) -> None:
    async with (
        calculator(era="legacy") as served,
        inspecting({"calc": served.url}, SECRETS, **AUTH) as gateway,
        connect(gateway.url, ALICE) as alice,
        connect(gateway.url, BOB),
    ):
        await alice.call_tool("calc_add", {"a": 1})
        all_of_them = Sessions.model_validate(await ask(gateway, "sessions", OPS))
        assert {session.caller for session in all_of_them.client} == {"alice", "bob"}
        (mine,) = Sessions.model_validate(await ask(gateway, "sessions", ALICE)).client
        assert (mine.caller, mine.route, mine.era, mine.transport) == (
            "alice", "/mcp", "handshake", "streamable-http",
        )  # fmt: skip
        assert mine.client
        ids = [session.id for endpoint in gateway.proxy.endpoints.values() for session in endpoint.sessions.all()]
        assert not any(session_id in str(all_of_them) for session_id in ids)
        server = ServerDetail.model_validate(await ask(gateway, "servers/ns/calc", OPS))
        assert [session.id for session in server.client_sessions] == [mine.id]
        assert server.sessions == 1
        assert ServerDetail.model_validate(await ask(gateway, "servers/ns/calc", BOB)).client_sessions == []


@pytest.mark.parametrize("operator", [False, True])
async def test_credentials(operator: bool) -> None:
    inspector = {"operators": ["ann"] if operator else []}
    async with one_gateway(["ann", "ben"], inspector=inspector, publicUrl="http://gateway.example/") as (gateway, _, _):
        await gateway.proxy.services.users.start("key/ben", "corp", Token("tok-ben", "refresh-ben", 1.0), ["ns/p"])
        found = Sessions.model_validate(await ask(gateway, "sessions", key_of("ann")))
        text = found.model_dump_json()
        assert not any(secret in text for secret in ("tok-", "refresh-"))
        seen = {item.user: (item.state, item.issuer, item.servers) for item in found.credentials}
        expected = {"key/ann": ("valid", "corp", ["ns/p"])}
        assert seen == ({**expected, "key/ben": ("expired", "corp", ["ns/p"])} if operator else expected)
        assert [user.user for user in found.users] == (["key/ann", "key/ben"] if operator else ["key/ann"])
        await gateway.proxy.services.credentials.vault.forget("key/ann")
        await gateway.proxy.services.credentials.vault.forget("key/ben")
        (mine,) = Sessions.model_validate(await ask(gateway, "sessions", key_of("ann"))).credentials
        assert (mine.user, mine.state) == ("key/ann", "signInNeeded")
        assert (mine.sign_in_url or "").startswith("http://gateway.example/oauth/start/")


async def test_where_another_user_signs_in_is_told_to_nobody() -> None:
    inspector = {"operators": ["ann"]}
    async with one_gateway(["ann", "ben"], inspector=inspector, publicUrl="http://gateway.example/") as (gateway, _, _):
        vault = gateway.proxy.services.credentials.vault
        stored = await vault.get("key/ben", "corp")
        assert stored is not None
        await vault.failed(stored, retry_after=0, problem="corp does not take it any more")
        found = Sessions.model_validate(await ask(gateway, "sessions", key_of("ann")))
        ben = next(item for item in found.credentials if item.user == "key/ben")
        assert (ben.state, ben.problem, ben.sign_in_url) == ("signInNeeded", "corp does not take it any more", None)
        own = Sessions.model_validate(await ask(gateway, "sessions", key_of("ben")))
        assert own.credentials[0].sign_in_url


async def test_nobody_has_no_sessions_of_others(inspecting: Inspect) -> None:
    names = ["ann"]
    more = {"auth": {**auth(names), "anonymous": True}}
    async with (
        calculator() as served,
        inspecting({"calc": served.url}, keys(names), **more) as gateway,
        connect(gateway.url, key_of("ann")),
    ):
        assert Sessions.model_validate(await ask(gateway, "sessions")) == Sessions(client=[], users=[], credentials=[])
        assert len((await ask(gateway, "sessions", key_of("ann")))["client"]) == 1


async def test_nobody_sees_no_sessions_of_other_nobodies_with_a_server(inspecting: Inspect) -> None:
    more = {**AUTH, "auth": {**AUTH["auth"], "anonymous": True}}
    async with (
        calculator(era="legacy") as served,
        inspecting({"calc": served.url}, SECRETS, **more) as gateway,
        Client(StreamableHttpTransport(gateway.url), mode="legacy") as nobody,
    ):
        await nobody.call_tool("calc_add", {"a": 1})
        assert len((await ask(gateway, "servers/ns/calc", OPS))["clientSessions"]) == 1
        assert (await ask(gateway, "servers/ns/calc"))["clientSessions"] == []
