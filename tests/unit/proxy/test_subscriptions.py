# ruff: noqa: SIM117 - nested, in the order in which they start
"""Updates of resources reach exactly those that subscribed, in all four combinations of protocol eras."""

import asyncio
import contextlib
import dataclasses
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from mcp.client.subscriptions import Subscription, listen
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import METHOD_NOT_FOUND, ResourceUpdatedNotification

from mcp_operator_proxy.backends.watching import ResourceWatch
from support.backends import ServedMCP, client, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.subscribable import Subscribable

# Subscribing went out of the protocol with its older eras, and so of the library.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
FRONTS = ["legacy", "auto"]
BACKS = ["legacy", "both"]


def watched_server(name: str = "watched") -> tuple[FastMCP[Any], Subscribable]:
    mcp: FastMCP[Any] = FastMCP(name)

    @mcp.resource("data://one")
    def one() -> str:
        return "1"

    @mcp.resource("data://two")
    def two() -> str:
        return "2"

    @mcp.resource("data://folder/{name}")
    def folder(name: str) -> str:
        return name

    return mcp, Subscribable(mcp)


class Listener:
    """A client of either era that subscribes, and keeps the URIs that it was told of."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.honored: list[str] = []
        self.session: Client[Any]

    async def _on_message(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.heard.append(str(message.params.uri))

    async def _follow(self, updates: Subscription) -> None:
        async for event in updates:
            if isinstance(event, ResourceUpdated):
                self.heard.append(event.uri)

    @contextlib.asynccontextmanager
    async def at(self, url: str, front: str, *uris: str) -> AsyncIterator["Listener"]:
        options = {"message_handler": self._on_message} if front == "legacy" else {}
        async with client(url, front, **options) as self.session:
            if front == "legacy":
                for uri in uris:
                    await self.session.session.subscribe_resource(uri)
                self.honored = list(uris)
                yield self
                return
            async with listen(self.session.session, resource_subscriptions=uris) as updates:
                self.honored = [str(uri) for uri in updates.honored.resource_subscriptions or ()]
                following = asyncio.create_task(self._follow(updates))
                try:
                    yield self
                finally:
                    following.cancel()


def subscriptions(running: Gateway) -> int:
    return len(running.proxy.endpoints["/mcp"].listening.subscriptions)


def watch(running: Gateway, server: str = "ns/e") -> ResourceWatch:
    assert running.proxy.state is not None
    return running.proxy.state.backends[server].watch(None)


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
async def test_updates_reach_those_that_subscribed(front: str, back: str) -> None:
    mcp, source = watched_server()
    async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"e": served.url})) as running:
        async with contextlib.AsyncExitStack() as stack:
            one = await stack.enter_async_context(Listener().at(running.url, front, "data://e/one"))
            both = await stack.enter_async_context(Listener().at(running.url, front, "data://e/one", "data://e/two"))
            none = await stack.enter_async_context(Listener().at(running.url, front))
            await source.updated("data://one")
            await eventually(lambda: one.heard and both.heard)
            await source.updated("data://two")
            await eventually(lambda: len(both.heard) == 2)
            assert (one.heard, both.heard, none.heard) == (
                ["data://e/one"],
                ["data://e/one", "data://e/two"],
                [],
            )
            # However many clients listen, the server has one session that listens.
            assert source.watchers == (2 if back == "legacy" else 0)
        await eventually(lambda: subscriptions(running) == 0 and watch(running).idle)
        await eventually(lambda: source.watchers == 0)


async def test_the_two_eras_listen_to_one_server_together() -> None:
    mcp, source = watched_server()
    async with ServedMCP(mcp) as served, running_gateway(make_config({"e": served.url})) as running:
        async with Listener().at(running.url, "legacy", "data://e/one") as old:
            async with Listener().at(running.url, "auto", "data://e/one") as new:
                await source.updated("data://one")
                await eventually(lambda: old.heard and new.heard)
                assert old.heard == new.heard == ["data://e/one"]


@pytest.mark.parametrize("back", BACKS)
async def test_unsubscribing_ends_it(back: str) -> None:
    mcp, source = watched_server()
    async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"e": served.url})) as running:
        async with Listener().at(running.url, "legacy", "data://e/one", "data://e/two") as listener:
            await listener.session.session.subscribe_resource("data://e/one")  # once more is as good as once
            await listener.session.session.unsubscribe_resource("data://e/one")
            await listener.session.session.unsubscribe_resource("data://e/never")
            await eventually(lambda: back == "both" or source.watched == {"data://two"})
            await source.updated("data://one")
            await source.updated("data://two")
            await eventually(lambda: listener.heard)
            assert listener.heard == ["data://e/two"]


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_restart_of_the_server_is_outlived(front: str, back: str) -> None:
    mcp, source = watched_server()
    async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"e": served.url})) as running:
        async with Listener().at(running.url, front, "data://e/one") as listener:
            source.asked.clear()
            await served.stop()
            await served.start()
            await eventually(lambda: "data://one" in source.asked)
            # What happened in between nobody knows, so the client is told once.
            await eventually(lambda: listener.heard == ["data://e/one"])
            await source.updated("data://one")
            await eventually(lambda: listener.heard == ["data://e/one"] * 2)


@pytest.mark.parametrize("front", FRONTS)
async def test_a_swap_ties_subscriptions_to_what_has_the_resource_now(front: str) -> None:
    (old, before), (new, after) = watched_server("old"), watched_server("new")
    async with ServedMCP(old) as first, ServedMCP(new) as second:
        async with running_gateway(make_config({"e": first.url})) as running:
            async with Listener().at(running.url, front, "data://e/one") as listener:
                await running.proxy.apply(make_config({"e": first.url, "more": second.url}))
                await before.updated("data://one")
                await eventually(lambda: listener.heard == ["data://e/one"])

                await running.proxy.apply(make_config({"e": second.url}))  # another server has it
                await eventually(lambda: listener.heard == ["data://e/one"] * 2)
                await after.updated("data://one")
                await eventually(lambda: listener.heard == ["data://e/one"] * 3)

                await running.proxy.apply(make_config({"x": second.url}))  # nobody has it
                await running.proxy.apply(make_config({"e": second.url}))
                await eventually(lambda: listener.heard == ["data://e/one"] * 4)
                await after.updated("data://one")
                await eventually(lambda: listener.heard == ["data://e/one"] * 5)


async def test_an_update_of_a_part_is_told_as_such() -> None:
    mcp, source = watched_server()
    async with ServedMCP(mcp, era="legacy") as served, running_gateway(make_config({"e": served.url})) as running:
        async with Listener().at(running.url, "legacy", "data://e/folder/") as listener:
            for connection in source._watching["data://folder/"]:
                await connection.notify("notifications/resources/updated", {"uri": "data://folder/a.txt"})
            await eventually(lambda: listener.heard)
            assert listener.heard == ["data://e/folder/a.txt"]


@pytest.mark.parametrize("back", BACKS)
async def test_what_cannot_be_subscribed_to_is_refused(back: str) -> None:
    mcp, source = watched_server()
    plain: FastMCP[Any] = FastMCP("plain")
    plain.resource("data://one")(lambda: "1")
    source.refused.add("data://two")
    async with ServedMCP(mcp, era=back) as served, ServedMCP(plain, era=back) as other:
        async with running_gateway(make_config({"e": served.url, "p": other.url})) as running:
            async with client(running.url, "legacy") as through:
                with pytest.raises(MCPError, match="not found"):
                    await through.session.subscribe_resource("data://nobody/one")
                with pytest.raises(MCPError) as caught:
                    await through.session.subscribe_resource("data://p/one")
                assert caught.value.code == METHOD_NOT_FOUND
                if back == "legacy":
                    with pytest.raises(MCPError, match="not found"):
                        await through.session.subscribe_resource("data://e/two")
                await through.session.subscribe_resource("data://e/one")
                assert subscriptions(running) == 1
            wanted = ("data://e/one", "data://p/one", "data://nobody/one")
            async with Listener().at(running.url, "auto", *wanted) as listener:
                assert listener.honored == ["data://e/one"]  # the acknowledgement says which


async def test_a_server_that_is_down_is_waited_for_by_streams_and_refused_to_sessions() -> None:
    mcp, source = watched_server()
    async with ServedMCP(mcp) as served, running_gateway(make_config({"e": served.url})) as running:
        await served.stop()
        async with client(running.url, "legacy") as through:
            with pytest.raises(MCPError, match="ns/e"):
                await through.session.subscribe_resource("data://e/one")
        assert subscriptions(running) == 0
        async with Listener().at(running.url, "auto", "data://e/one") as listener:
            assert listener.honored == ["data://e/one"]
            await served.start()
            await eventually(lambda: "data://one" in source.asked)
            await source.updated("data://one")
            await eventually(lambda: listener.heard)


async def test_a_client_without_a_stream_is_told_when_it_opens_one() -> None:
    mcp, source = watched_server()
    async with ServedMCP(mcp) as served, running_gateway(make_config({"e": served.url})) as running:
        audience = running.proxy.endpoints["/mcp"].audience
        async with Listener().at(running.url, "legacy", "data://e/one") as listener:
            (connection,) = audience.connections()
            has_stream, audience._has_stream = audience._has_stream, lambda _: False
            await source.updated("data://one")
            await eventually(lambda: audience._missed)
            audience._has_stream = has_stream
            assert connection.session_id is not None
            audience.stream_opened(connection.session_id)
            await eventually(lambda: listener.heard == ["data://e/one"])


async def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    mcp, source = watched_server()
    silent = asyncio.Event()

    async def silence(*_: Any) -> None:
        await silent.wait()

    source.listen = silence  # type: ignore[assignment]
    async with ServedMCP(mcp) as served:
        config = make_config({"e": served.url}, server={"callTimeoutSeconds": 0.3})
        async with running_gateway(config) as running, client(running.url, "legacy") as through:
            with pytest.raises(MCPError, match="did not answer in time"):
                await through.session.subscribe_resource("data://e/one")
            silent.set()


async def test_what_a_caller_may_not_use_cannot_be_watched() -> None:
    class Refuse:
        def refusal(self, principal: Any, route: str, kind: str, name: str, _: Any) -> str | None:
            asked = (principal, route, kind, name)
            return "not yours" if asked == (None, "/mcp", "resource", "data://e/one") else None

    mcp, _ = watched_server()
    async with ServedMCP(mcp) as served, running_gateway(make_config({"e": served.url})) as running:
        assert running.proxy.state is not None
        running.proxy.state = dataclasses.replace(running.proxy.state, policy=Refuse())
        async with client(running.url, "legacy") as through:
            with pytest.raises(MCPError, match="Resource not found: data://e/one"):
                await through.session.subscribe_resource("data://e/one")
        with pytest.raises(MCPError, match="Resource not found: data://e/one"):
            async with Listener().at(running.url, "auto", "data://e/one"):
                pass
        assert subscriptions(running) == 0


@pytest.mark.parametrize("front", FRONTS)
async def test_updates_end_with_the_permission_to_read(front: str) -> None:
    mcp, source = watched_server()
    everything = "permit(principal, action, resource);"
    without_one = everything + 'forbid(principal, action, resource == Resource::"ns/e/data://one");'
    async with ServedMCP(mcp) as served:
        made = [make_config({"e": served.url}, authorization={"policies": p}) for p in (everything, without_one)]
        async with running_gateway(made[0]) as running:
            async with Listener().at(running.url, front, "data://e/one", "data://e/two") as listener:
                await source.updated("data://one")
                await eventually(lambda: listener.heard == ["data://e/one"])
                assert await running.proxy.apply(made[1])
                await source.updated("data://one")
                await source.updated("data://two")
                await eventually(lambda: "data://e/two" in listener.heard)
                assert listener.heard == ["data://e/one", "data://e/two"]


def test_what_the_library_is_relied_on_for() -> None:
    """A session's subscriptions hang on the object behind it, and end with its exit stack."""
    connection = Connection.from_envelope("2026-07-28", None, None)
    assert isinstance(connection.state, dict)
    assert callable(connection.exit_stack.callback)
    assert callable(connection.notify)
    assert "connection" in inspect.signature(ServerSession.__init__).parameters


async def test_capabilities_are_those_of_the_servers() -> None:
    mcp, _ = watched_server()
    async with ServedMCP(mcp) as served, ServedMCP(FastMCP("plain")) as other:
        for urls, can in (
            ({"e": served.url}, True),
            ({"p": other.url}, False),
            ({"e": served.url, "p": other.url}, True),
        ):
            async with running_gateway(make_config(urls)) as running:
                for front in FRONTS:
                    async with client(running.url, front) as through:
                        declared = through.session.server_capabilities
                        assert declared is not None
                        assert declared.resources is not None
                        assert (declared.resources.subscribe, declared.resources.list_changed) == (can, True)
                        assert declared.completions is None
                        assert set(declared.extensions or ()) <= {"io.modelcontextprotocol/ui"}
