"""A server that has a process for each user behind a bridge, reached over TCP: the user's token gets into that user's process.

each user sees the own token, with its own lists, in both eras of clients · nothing of a token is readable on the wire
another token: another process, for clients that stay · who has not signed in is told so, and there is no process
a bridge that wants tokens from a proxy that sends none: its words reach the caller
the end of a session ends the process of that user, and no other
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.services.credentials.token import Token
from support.gateway import Gateway, running_gateway
from support.waiting import Eventually
from unit.proxy.bridge.harness import running, settings
from unit.proxy.users.setting import PATIENT, PROVIDER, USER_TOKEN, auth, connected, keys, modern, signed_in

KEY = "k" * 32
PEOPLE = ["ann", "bob"]


@contextlib.asynccontextmanager
async def tapped(port: int, heard: bytearray) -> AsyncIterator[int]:
    """A port that leads to another one; what is sent there is heard."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, log: bytearray | None) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if log is not None:
                    log += data
                sink.write(data)
                await sink.drain()
        sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back, heard), pump(there, writer, None))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def bridged(
    *, heard: bytearray | None = None, variable: str | None = "TOKEN", **server: Any
) -> AsyncIterator[tuple[Gateway, Bridge]]:
    """The bridge, and a proxy before it."""
    own = settings(isolation="user", identity_key=KEY, credential_env=variable, max_processes=8, wait_timeout=100.0)
    async with contextlib.AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(running(own))
        heard = bytearray() if heard is None else heard
        port = await stack.enter_async_context(tapped(bridge.port, heard))
        one = {"id": "ns/p", "url": f"http://127.0.0.1:{port}/mcp", "identity": {"file": "identity"}, **PATIENT}
        config = ProxyConfig.model_validate(
            {
                "revision": "1",
                "auth": auth(PEOPLE),
                "providers": [PROVIDER],
                "servers": [{**one, **server}],
                "routes": [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/p", "prefix": "p"}]}],
            }
        )
        gateway = await stack.enter_async_context(running_gateway(config, {**keys(PEOPLE), "identity": KEY}))
        yield gateway, bridge


SEALED = {"credential": USER_TOKEN, "credentialSealed": True}


async def told(client: Any) -> Any:
    """The token of the process that answers, and its id."""
    found = (await client.call_tool("p_environment", {"name": "TOKEN"})).structured_content
    return found["value"], (await client.call_tool("p_echo", {})).structured_content["pid"]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_each_users_process_has_that_users_token(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="mcp_operator_proxy")
    heard = bytearray()
    async with bridged(heard=heard, **SEALED) as (gateway, bridge):
        await signed_in(gateway, *PEOPLE)
        async with connected(gateway, "ann", mode) as ann, connected(gateway, "bob", mode) as bob:
            for who in (ann, bob):
                assert "p_environment" in {tool.name for tool in await who.list_tools()}
            first, his = await told(ann), await told(bob)
            assert (first[0], his[0]) == ("tok-ann", "tok-bob")
            assert first[1] != his[1]
            assert bridge.hub.health().processes == 2, "lists were asked of each user's own"
            await gateway.proxy.services.users.start("key/ann", "corp", Token("tok-new"))
            second = await told(ann)
            assert second[0] == "tok-new"
            assert second[1] != first[1]
            assert await told(bob) == his
        shown = (await gateway.get("/status")).text + caplog.text + repr(gateway.proxy.state)
        assert b"mcp-operator-credential" in heard.lower()
        for token in ("tok-ann", "tok-bob", "tok-new"):  # whole: what is sealed may well have "tok-" in it
            assert token not in shown
            assert token.encode() not in heard


async def test_at_once_many_calls_of_two_users_are_never_mixed() -> None:
    async with bridged(**SEALED) as (gateway, _):
        await signed_in(gateway, *PEOPLE)
        async with modern(gateway, "ann") as ann, modern(gateway, "bob") as bob:
            for who in (ann, bob):
                await who.request("tools/list", {})
            calls = [(name, who) for _ in range(20) for name, who in (("ann", ann), ("bob", bob))]
            answers = await asyncio.gather(*(who.call("p_environment", {"name": "TOKEN"}) for _, who in calls))
            seen = [(answer.result or {})["structuredContent"]["value"] for answer in answers]
            assert seen == [f"tok-{name}" for name, _ in calls]


async def test_who_has_not_signed_in_has_no_process(eventually: Eventually) -> None:
    async with bridged(**SEALED) as (gateway, bridge), modern(gateway, "ann") as ann:
        listed = await ann.request("tools/list", {})
        assert [tool["name"] for tool in (listed.result or {})["tools"]] == ["p_sign_in"]
        assert "tok-" not in str((await ann.call("p_sign_in")).text)
        assert bridge.hub.health().processes == 0
        await signed_in(gateway, "ann")

        async def lists_more() -> bool:
            found = await ann.request("tools/list", {})
            return "p_environment" in {tool["name"] for tool in (found.result or {})["tools"]}

        await eventually(lists_more)


async def test_a_bridge_that_wants_tokens_says_so_to_a_proxy_without() -> None:
    async with bridged(perUser=True) as (gateway, bridge), modern(gateway, "ann") as ann:
        refused = await ann.call("p_environment", {"name": "TOKEN"})
        assert refused.error or (refused.result or {}).get("isError")
        assert bridge.hub.health().processes == 0
        reached = gateway.proxy.services.users.instances.of("ns/p")
        assert any("none came with this request" in str(backend.status.error) for backend in reached)


async def test_without_a_token_each_user_of_an_instance_has_the_own_process_too() -> None:
    """What such an instance lists is asked of the user's process, not of the one for all."""
    async with bridged(variable=None, perUser=True) as (gateway, bridge), connected(gateway, "ann", "legacy") as ann:
        assert "p_echo" in {tool.name for tool in await ann.list_tools()}
        assert (await told(ann))[0] is None
        assert bridge.hub.health().processes == 2


@pytest.mark.parametrize("sealed", [True, False], ids=["with a token", "without one"])
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_process_of_a_user_ends_with_the_users_session(
    mode: str, sealed: bool, eventually: Eventually
) -> None:
    """Not with what idles for long; another user's goes on, and who comes back has a new one."""
    async with bridged(variable="TOKEN" if sealed else None, **(SEALED if sealed else {})) as (gateway, _):
        await signed_in(gateway, *PEOPLE)
        async with connected(gateway, "ann", mode) as ann, connected(gateway, "bob", mode) as bob:
            for who in (ann, bob):
                await who.list_tools()
            before, his = await told(ann), await told(bob)
            assert "ns/p" in await gateway.proxy.services.users.end("key/ann")
            await eventually(lambda: not psutil.pid_exists(before[1]))
            assert await told(bob) == his
            await signed_in(gateway, "ann")
            after = await told(ann)
            assert after[0] == before[0]
            assert after[1] != before[1]
            await gateway.proxy.services.users.end("key/bob")
            await gateway.proxy.services.users.end("key/bob")
            assert (await told(ann))[1] == after[1]


async def test_a_bridge_that_is_away_holds_up_no_end() -> None:
    async with bridged(variable=None) as (gateway, bridge):
        await signed_in(gateway, "ann")
        async with modern(gateway, "ann") as ann:
            await ann.call("p_echo")
        bridge.stop()
        await bridge.hub.quiet()
        await gateway.proxy.services.users.end("key/ann")
        assert await gateway.proxy.services.users.find("key/ann") is None
