"""Servers of which each user has an instance: made, shown, asked, renewed, closed."""

import asyncio
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.services.credentials.token import CredentialProblem, Token
from mcp_operator_proxy.services.users import instances as module
from mcp_operator_proxy.services.users.instances import Nobody
from support.backends import Ears, ServedMCP, eventually
from support.gateway import Gateway, running_gateway
from support.personal import Personal

from .setting import configured, connected, key_of, keys, modern, one_gateway, signed_in

BOTH = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


def names(tools: Any) -> set[str]:
    return {tool.name for tool in tools}


COMMON = {f"p_{name}" for name in ("whoami", "tell", "ask", "hold")}


@BOTH
@pytest.mark.parametrize("era", ["legacy", "modern", "both"])
async def test_each_user_sees_and_calls_what_is_its_own(mode: str, era: str) -> None:
    async with (
        one_gateway(["ann", "bob"], era=era) as (gateway, _, _),
        connected(gateway, "ann", mode) as ann,
        connected(gateway, "bob", mode) as bob,
    ):
        assert names(await ann.list_tools()) == COMMON | {"p_only_tok-ann"}
        assert names(await bob.list_tools()) == COMMON | {"p_only_tok-bob"}
        assert (await ann.call_tool("p_whoami", {})).data["token"] == "tok-ann"
        assert (await bob.call_tool("p_only_tok-bob", {})).data["token"] == "tok-bob"
        with pytest.raises(MCPError, match="Unknown tool: p_only_tok-ann"):
            await bob.call_tool("p_only_tok-ann", {})
        assert (await bob.read_resource("note://p/mine"))[0].text == "note of tok-bob"
        assert len(gateway.proxy.services.users.instances) == 2


async def test_a_caller_that_is_nobody_sees_nothing_of_them_and_is_told_why() -> None:
    everybody: FastMCP[Any] = FastMCP("shared")

    @everybody.tool
    def common() -> str:
        return "for all"

    personal = Personal(["tok-ann"])
    async with ServedMCP(personal.mcp) as served, ServedMCP(everybody) as shared:
        config = configured({"p": served.url, "s": shared.url}, ["ann"])
        config = config.model_copy(update={"auth": config.auth.model_copy(update={"anonymous": True})})  # type: ignore[union-attr]
        async with running_gateway(config, keys(["ann"])) as gateway, modern(gateway, None) as nobody:
            await signed_in(gateway, "ann")
            listed = await nobody.request("tools/list", {})
            assert [tool["name"] for tool in (listed.result or {})["tools"]] == ["s_common"]
            assert (await nobody.call("s_common")).text == "for all"
            for answer in (
                await nobody.call("p_whoami"),
                await nobody.request("resources/read", {"uri": "note://p/mine"}),
            ):
                assert answer.error is not None
                assert "this caller is not authenticated" in answer.error["message"]
            async with connected(gateway, "ann", "legacy") as ann:
                assert names(await ann.list_tools()) == COMMON | {"p_only_tok-ann", "s_common"}
            with pytest.raises(Nobody):
                await gateway.proxy.services.users.backend_for("ns/p", None, None)
            assert await gateway.proxy.services.users.backend_for("ns/s", None, None)
        assert not personal.calls


class Signing:
    """A user who was never signed in."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def with_url(self, url: str) -> None:
        """Have the lack of a credential name an address, as sign-ins by authorization codes do."""
        credentials = self.gateway.proxy.services.credentials
        real = credentials.token_for

        async def token_for(*args: Any) -> str:
            try:
                return await real(*args)
            except CredentialProblem as problem:
                raise CredentialProblem(problem.message, url) from None

        credentials.token_for = token_for  # type: ignore[method-assign]


@BOTH
async def test_who_has_not_signed_in_is_told_how_and_finds_a_tool_that_says_it(mode: str) -> None:
    async with one_gateway(["ann"]) as (gateway, personal, _):
        users = gateway.proxy.services.users
        await users.end("key/ann")
        Signing(gateway).with_url("https://login.example/start")
        ears = Ears()
        async with connected(gateway, "ann", mode, message_handler=ears) as ann:
            assert names(await ann.list_tools()) == {"p_sign_in"}
            result = await ann.call_tool("p_sign_in", {}, raise_on_error=False)
            assert result.is_error
            assert "https://login.example/start" in result.content[0].text
            again = await ann.call_tool("p_whoami", {}, raise_on_error=False)
            assert "https://login.example/start" in again.content[0].text
            assert not personal.calls
            await signed_in(gateway, "ann")
            if mode == "legacy":
                await eventually(lambda: "notifications/tools/list_changed" in ears.heard)
            assert "You are signed in" in (await ann.call_tool("p_sign_in", {})).content[0].text
            await eventually(lambda: _sees(ann, COMMON | {"p_only_tok-ann"}))
            assert (await ann.call_tool("p_whoami", {})).data["token"] == "tok-ann"


async def _sees(through: Any, wanted: set[str]) -> bool:
    return names(await through.list_tools()) == wanted


async def test_a_client_that_shows_urls_is_asked_to_and_sends_its_call_again() -> None:
    async with one_gateway(["ann"]) as (gateway, _, _):
        await gateway.proxy.services.users.end("key/ann")
        Signing(gateway).with_url("https://login.example/start")
        async with modern(gateway, "ann", {"elicitation": {"url": {}}}) as ann:
            asked = await ann.call("p_whoami")
            (question,) = asked.questions.values()
            assert question["params"]["url"] == "https://login.example/start"
            await signed_in(gateway, "ann")
            answer = await ann.go_on(asked, "p_whoami", {key: {"action": "accept"} for key in asked.questions})
            assert (answer.result or {})["structuredContent"]["token"] == "tok-ann"
        async with modern(gateway, "ann") as ann:
            read = await ann.request("resources/read", {"uri": "note://p/mine"})
            assert (read.result or {})["contents"][0]["text"] == "note of tok-ann"
            assert (read.result or {}).get("cacheScope") != "public"


@BOTH
async def test_tools_that_were_known_stay_listed_when_the_credential_is_lost(mode: str) -> None:
    async with one_gateway(["ann"]) as (gateway, _, _), connected(gateway, "ann", mode) as ann:
        known = names(await ann.list_tools())
        assert await gateway.proxy.services.users.end("key/ann") == ("ns/p",)
        assert len(gateway.proxy.services.users.instances) == 0
        assert names(await ann.list_tools()) == known
        result = await ann.call_tool("p_whoami", {}, raise_on_error=False)
        assert result.is_error
        assert "start a session" in result.content[0].text
        await signed_in(gateway, "ann")
        assert (await ann.call_tool("p_whoami", {})).data["token"] == "tok-ann"


@BOTH
async def test_a_new_token_is_shown_from_the_next_call_on(mode: str) -> None:
    async with one_gateway(["ann", "eva"]) as (gateway, _, _), connected(gateway, "ann", mode) as ann:
        assert (await ann.call_tool("p_whoami", {})).data["token"] == "tok-ann"
        before = gateway.proxy.services.users.instances.held("ns/p", "key/ann")
        await gateway.proxy.services.users.start("key/ann", "corp", Token("tok-eva"))
        assert (await ann.call_tool("p_whoami", {})).data["token"] == "tok-eva"
        assert gateway.proxy.services.users.instances.held("ns/p", "key/ann") is before, "in place"
        await eventually(lambda: _sees(ann, COMMON | {"p_only_tok-eva"}))


async def test_a_change_of_one_users_list_is_told_to_that_user_alone() -> None:
    options = {"server": {"refreshSeconds": 0.2}}
    async with one_gateway(["ann", "bob"], **options) as (gateway, personal, _):
        heard = {name: Ears() for name in ("ann", "bob")}
        async with (
            connected(gateway, "ann", "legacy", message_handler=heard["ann"]) as ann,
            connected(gateway, "bob", "legacy", message_handler=heard["bob"]) as bob,
        ):
            await asyncio.gather(ann.list_tools(), bob.list_tools())
            for ears in heard.values():
                ears.heard.clear()
            personal.hidden.add("only_tok-ann")
            await eventually(lambda: "notifications/tools/list_changed" in heard["ann"].heard)
            assert names(await ann.list_tools()) == COMMON
            assert names(await bob.list_tools()) == COMMON | {"p_only_tok-bob"}
            assert heard["bob"].heard == []
            personal.hidden.update({"only_tok-bob", "ask"})
            await eventually(lambda: "notifications/tools/list_changed" in heard["bob"].heard)


async def test_idle_instances_close_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.02)
    async with one_gateway(["ann"]) as (gateway, personal, _):
        instances = gateway.proxy.services.users.instances
        async with modern(gateway, "ann") as ann:
            await ann.call("p_whoami")
            first = instances.held("ns/p", "key/ann")
            holding = asyncio.create_task(ann.call("p_hold", {"key": "a"}))
            await eventually(lambda: "a" in personal.held)
            instances.sweep(0)
            assert instances.held("ns/p", "key/ann") is first, "a call is in flight"
            personal.held["a"].set()
            assert (await holding).text == "tok-ann"
            instances._held["ns/p", "key/ann"].used_at -= 3600
            await eventually(lambda: len(instances) == 0)
            assert (await ann.call("p_whoami")).result
            assert instances.held("ns/p", "key/ann") is not first


async def test_the_most_instances_of_a_server() -> None:
    people = ["ann", "bob", "eva"]
    async with one_gateway(people, users={"maxSessions": 3}) as (gateway, personal, _):
        state = gateway.proxy.state
        assert state is not None
        users = state.config.users.model_copy(update={"max_sessions": 2})
        await gateway.proxy.apply(state.config.model_copy(update={"users": users, "revision": "2"}), keys(people))
        async with modern(gateway, "ann") as ann, modern(gateway, "bob") as bob, modern(gateway, "eva") as eva:
            held = [asyncio.create_task(one.call("p_hold", {"key": "a"})) for one in (ann, bob)]
            await eventually(
                lambda: gateway.proxy.services.users.instances.of("ns/p").__len__() == 2 and "a" in personal.held
            )
            await eventually(lambda: all(b.busy for b in gateway.proxy.services.users.instances.of("ns/p")))
            refused = await eva.call("p_whoami")
            assert refused.error is not None
            assert refused.error["data"]["errorClass"] == "Overloaded"
            personal.held["a"].set()
            await asyncio.gather(*held)
            assert (await eva.call("p_whoami")).result, "the idlest made room"
            assert len(gateway.proxy.services.users.instances) == 2


async def test_a_swap_keeps_an_instance_of_the_same_endpoint_and_replaces_another() -> None:
    async with one_gateway(["ann", "bob"]) as (gateway, personal, _), connected(gateway, "ann", "legacy") as ann:
        instances, state = gateway.proxy.services.users.instances, gateway.proxy.state
        assert state is not None
        await ann.call_tool("p_whoami", {})
        first = instances.held("ns/p", "key/ann")
        data = state.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)

        async def swap(revision: str, **changes: Any) -> None:
            (server,) = data["servers"]
            changed = {**data, "revision": revision, "servers": [{**server, **changes}]}
            await gateway.proxy.apply(type(state.config).model_validate(changed), keys(["ann", "bob"]))

        await swap("a", callTimeoutSeconds=70)
        assert instances.held("ns/p", "key/ann") is first
        assert first is not None
        assert first.call_timeout == 70
        holding = asyncio.create_task(ann.call_tool("p_hold", {"key": "a"}))
        await eventually(lambda: "a" in personal.held)
        async with ServedMCP(Personal(["tok-ann"]).mcp) as other:
            await swap("b", url=other.url)
            assert names(await ann.list_tools()) == COMMON | {"p_only_tok-ann"}
            assert (await ann.call_tool("p_whoami", {})).data["token"] == "tok-ann"
            assert instances.held("ns/p", "key/ann") is not first
            personal.held["a"].set()
            assert (await holding).data == "tok-ann", "it ended where it began"
        data["servers"], data["routes"] = [], []
        await gateway.proxy.apply(type(state.config).model_validate({**data, "revision": "c"}), keys(["ann", "bob"]))
        assert len(instances) == 0


async def test_another_route_of_the_same_server_is_the_same_instance() -> None:
    routes = [
        {"name": f"r{n}", "path": path, "servers": [{"server": "ns/p", "prefix": prefix}]}
        for n, (path, prefix) in enumerate([("/mcp", "p"), ("/other", "q")])
    ]
    async with one_gateway(["ann"], routes=routes) as (gateway, _, _), connected(gateway, "ann", "legacy") as ann:
        await ann.call_tool("p_whoami", {})
        other = Gateway(gateway.proxy, gateway.base, gateway.http)
        async with modern(other, "ann") as through:
            through.url = f"{gateway.base}/other"
            assert (await through.call("q_whoami")).result
        assert len(gateway.proxy.services.users.instances) == 1


async def test_status_tells_no_names_of_a_users_tools() -> None:
    async with one_gateway(["ann"]) as (gateway, _, _), modern(gateway, "ann") as ann:
        assert (await gateway.get("/readyz")).status_code == 200
        await ann.request("tools/list", {})
        text = (await gateway.get("/status")).text
        assert "only_tok-ann" not in text
        assert '"id":"ns/p"' in text.replace(" ", "")
        assert key_of("ann") not in text
