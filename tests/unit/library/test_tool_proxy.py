# ruff: noqa: SIM117 - nested, in the order in which they start
"""A proxy in Python, before real servers."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp_types import ToolAnnotations

import mcp_operator_proxy
from mcp_operator_proxy import (
    CallRefused,
    CallTimeout,
    ConfigError,
    NotRunning,
    ServerDown,
    ToolFailed,
    ToolProxy,
    UnknownServer,
    UnknownTool,
)
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from support.backends import Ears, HungServer, ServedMCP, client, dead_port, eventually
from unit.library.servers import STDIO, clock

WARM = {"warm_seconds": 20.0}


def servers(served: ServedMCP, **settings: Any) -> dict[str, Any]:
    return {"servers": {"time": {"url": served.url, **settings}}}


async def names(proxy: ToolProxy) -> list[str]:
    return [tool.name for tool in await proxy.list_tools()]


def test_every_export_exists() -> None:
    for name in mcp_operator_proxy.__all__:
        assert getattr(mcp_operator_proxy, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = mcp_operator_proxy.Nothing


# Calls


async def test_calls_by_name_and_by_address() -> None:
    renamed = {"overrides": {"get_current_time": {"rename": "now", "description": "What time is it?"}}}
    tools = {"include": ["get_*", "broken", "slow"], "exclude": ["slow"], **renamed}
    async with clock() as served, ToolProxy.from_config(servers(served, tools=tools), **WARM) as proxy:
        shown = {tool.name: tool.description for tool in await proxy.list_tools()}
        assert shown == {"proxy.time.now": "What time is it?", "proxy.time.broken": None}
        for name in ("proxy.time.now", "proxy.time.get_current_time"):
            result = await proxy.call_tool(name, {"timezone": "Europe/Berlin"})
            assert result.structured == result.data == {"timezone": "Europe/Berlin", "time": "12:00"}
            assert '"timezone"' in result.text
        for name in ("proxy.time.secret", "proxy.time.nothing", "now", "proxy.clock.now"):
            with pytest.raises(UnknownTool):
                await proxy.call_tool(name)
        with pytest.raises(UnknownTool, match=r"did you mean proxy\.time\.now\?"):
            await proxy.call_tool("proxy.time.nov")
        assert served.methods.count("tools/call") == 2


async def test_failures_are_typed() -> None:
    async with clock() as served, HungServer() as hung:
        config = servers(served)
        config["servers"]["hung"] = {"url": hung.url, "connectTimeoutSeconds": 0.2}
        config["servers"]["dead"] = {"url": f"http://127.0.0.1:{dead_port()}/mcp"}
        async with ToolProxy.from_config(config, warm_seconds=20) as proxy:
            with pytest.raises(ToolFailed, match="it broke") as failed:
                await proxy.call_tool("proxy.time.broken")
            assert (failed.value.tool, failed.value.server) == ("proxy.time.broken", "time")
            assert "it broke" in failed.value.result.text
            with pytest.raises(CallTimeout, match=r"no answer within 0\.05 s"):
                await proxy.call_tool("proxy.time.slow", timeout=0.05)
            statuses = {status.name: status for status in proxy.servers()}
            assert (statuses["time"].connected, statuses["time"].initialized) == (True, True)
            assert (statuses["time"].server_name, statuses["time"].server_version) == ("clock", "3")
            for name, kind in (("hung", "Timeout"), ("dead", "ConnectionRefused")):
                error = statuses[name].error
                assert error is not None
                assert error.error_class == kind
                assert (statuses[name].connected, statuses[name].initialized) == (False, False)
            with pytest.raises(
                UnknownTool, match="server dead has not told its tools: nothing listens at the server's"
            ):
                await proxy.call_tool("proxy.dead.any")
            await served.stop()
            with pytest.raises(ServerDown) as down:
                await proxy.call_tool("proxy.time.get_current_time")
            assert down.value.error.error_class in ("ConnectionRefused", "ConnectionReset")
            total = proxy.stats().servers["time"].total
            assert (total.calls, total.errors) == (3, 3)


async def test_arguments_that_are_no_json() -> None:
    async with clock() as served, ToolProxy.from_config(servers(served), **WARM) as proxy:
        with pytest.raises(CallRefused, match="the arguments can't be written as JSON") as refused:
            await proxy.call_tool("proxy.time.get_current_time", {"timezone": object()})
        assert refused.value.code == -32602
        assert "tools/call" not in served.methods
        ago = datetime.now(UTC)
        answer = await proxy.call_tool("proxy.time.get_current_time", {"timezone": ago})
        assert datetime.fromisoformat(answer.data["timezone"]) == ago


async def test_closed_during_a_call() -> None:
    async with clock() as served:
        proxy = ToolProxy.from_config(servers(served), **WARM)
        async with proxy:
            calling = asyncio.create_task(proxy.call_tool("proxy.time.slow"))
            await eventually(lambda: "tools/call" in served.methods)
            starting = asyncio.create_task(proxy.call_tool("proxy.time.slow"))
            await asyncio.sleep(0)
        for call in (calling, starting):
            with pytest.raises(NotRunning, match="closed during the call; the tool may have run"):
                await call


async def test_answers_from_memory_where_it_is_wanted() -> None:
    cached = {"overrides": {"get_*": {"cacheSeconds": 600}}}
    async with clock() as served, ToolProxy.from_config(servers(served, tools=cached), **WARM) as proxy:
        for zone in ("UTC", "UTC", "CET"):
            assert (await proxy.call_tool("proxy.time.get_current_time", {"timezone": zone})).data["timezone"] == zone
        assert served.methods.count("tools/call") == 2
        assert proxy.stats().total.calls == 3


async def test_a_tool_of_a_server_that_is_starting_is_waited_for() -> None:
    async with clock() as served:
        config = servers(served)
        config["servers"]["env"] = {**STDIO, "env": {"TOKEN": "1"}}
        async with ToolProxy.from_config(config, warm_seconds=0.001) as proxy:
            assert (await proxy.call_tool("proxy.env.show")).data["token"] == "1"
            with pytest.raises(UnknownTool):
                await proxy.call_tool("proxy.env.hide")


async def test_the_servers_own_deadline() -> None:
    limited = {"overrides": {"slow": {"timeoutSeconds": 0.05}}}
    async with clock() as served, ToolProxy.from_config(servers(served, tools=limited), **WARM) as proxy:
        with pytest.raises(CallTimeout) as late:
            await proxy.call_tool("proxy.time.slow")
        assert late.value.server == "time"


async def test_calls_from_everywhere_are_counted() -> None:
    async with clock() as served, ToolProxy.from_url(served.url, server="time", **WARM) as proxy:
        await proxy.call_tool("get_current_time")
        async with running(proxy.proxy, "127.0.0.1", 0) as server:
            for mode in ("legacy", "auto"):
                async with client(f"http://127.0.0.1:{server.port}/mcp", mode) as remote:
                    await remote.call_tool_mcp("get_current_time", {})
                    await remote.call_tool_mcp("broken", {})
        stats = proxy.stats()
        time = stats.servers["time"]
        assert (time.tools["get_current_time"].calls, time.tools["get_current_time"].errors) == (3, 0)
        assert (time.tools["broken"].calls, time.tools["broken"].errors) == (2, 2)
        assert (stats.total.calls, stats.total.errors) == (5, 2)
        assert time.total.seconds_max >= time.total.seconds_mean > 0
        assert time.total.last_call_at is not None


async def test_a_stdio_server_with_a_credential() -> None:
    config = {"mcpServers": {"env": {**STDIO, "env": {"TOKEN": "${KEY}"}}}}
    async with ToolProxy.from_config(config, environ={"KEY": "hunter2"}, **WARM) as proxy:
        assert (await proxy.call_tool("env_show")).data["token"] == "hunter2"
        status = proxy.status("env")
        assert (status.kind, status.transport, status.server_name) == ("stdio", "stdio", "tiny")
        assert status.process is not None
        assert status.process.pid is not None
        assert (await proxy.test_connection("env", timeout=20)).ok
        assert proxy.config() == config
        assert "hunter2" not in str(proxy.proxy.state)


# Local tools


async def test_local_tools_beside_proxied_ones() -> None:
    async with clock() as served:
        proxy = ToolProxy.from_config(servers(served), **WARM)

        @proxy.tool
        def add(a: int, b: int) -> int:
            """Add."""
            return a + b

        @proxy.tool("greet", annotations=ToolAnnotations(read_only_hint=True))
        async def hello(name: str) -> str:
            return f"hello {name}"

        ears = Ears()
        async with proxy, running(proxy.proxy, "127.0.0.1", 0) as server:
            async with client(f"http://127.0.0.1:{server.port}/mcp", "legacy", message_handler=ears) as remote:
                assert {"add", "greet", "proxy.time.get_current_time"} <= {t.name for t in await remote.list_tools()}
                assert (await remote.call_tool("add", {"a": 1, "b": 2})).data == 3
                assert (await proxy.call_tool("greet", {"name": "you"})).data == "hello you"
                proxy.remove_tool("greet")
                proxy.add_tool(lambda x: x * 2, name="double", description="Twice as much")
                await proxy.refresh()
                await eventually(lambda: "notifications/tools/list_changed" in ears.heard)
                assert {t.name for t in await remote.list_tools()} >= {"add", "double"}
                with pytest.raises(UnknownTool):
                    await proxy.call_tool("greet", {"name": "you"})
                with pytest.raises(KeyError, match="greet"):
                    proxy.remove_tool("greet")
                proxy.add_tool(lambda x: x * 3, name="double")
                assert (await proxy.call_tool("double", {"x": 2})).text == "6"
                assert proxy.replace_tools([hello]) == ["hello"]
                await proxy.refresh()
                assert {t.name for t in await remote.list_tools() if "." not in t.name} == {"hello"}
        assert proxy.stats().servers["local"].total.calls == 3


async def test_local_tools_alone_and_their_door_is_locked() -> None:
    async with ToolProxy() as proxy:
        assert await names(proxy) == []
        proxy.add_tool(lambda: "yes", name="only")
        assert (await proxy.call_tool("only")).data == "yes"
        assert await names(proxy) == ["only"]
        state = proxy.proxy.state
        assert state is not None
        (backend,) = state.backends.values()
        async with httpx2.AsyncClient() as http:
            answer = await http.post(str(backend.resolved.server.url), json={})
            assert answer.status_code == 401


# Changes


async def test_reload_says_what_it_did_and_leaves_the_rest_alone() -> None:
    async with clock() as one, clock() as two:
        before = {"servers": {"kept": {"url": one.url}, "moved": {"url": one.url}, "gone": {"url": one.url}}}
        after = {"servers": {"kept": {"url": one.url}, "moved": {"url": two.url}, "new": {"url": two.url}}}
        async with ToolProxy.from_config(before, **WARM) as proxy:
            await proxy.call_tool("proxy.kept.get_current_time")
            asked = len(one.requests)
            state = proxy.proxy.state
            assert state is not None
            kept = state.backends["proxy/kept"]
            slow = asyncio.create_task(proxy.call_tool("proxy.gone.slow"))
            await eventually(lambda: one.methods.count("tools/call") == 2)
            report = await proxy.reload(after)
            assert (report.added, report.removed) == (("new",), ("gone",))
            assert (report.changed, report.unchanged) == (("moved",), ("kept",))
            assert report
            assert report.revision == proxy.proxy.status().revision
            assert proxy.proxy.state.backends["proxy/kept"] is kept
            assert len(one.requests) <= asked + 4  # the slow call alone
            assert not slow.done()  # it ends on the server that it began on
            slow.cancel()
            again = await proxy.reload(after)
            assert not again
            assert again.unchanged == ("kept", "moved", "new")
            with pytest.raises(ConfigError, match=r"servers\.kept\.url"):
                await proxy.reload({"servers": {"kept": {"url": 1}}})
            assert [status.name for status in proxy.servers()] == ["kept", "moved", "new"]
            assert proxy.config() == after
            assert (await proxy.add_server("more", {"url": one.url})).added == ("more",)
            assert (await proxy.remove_server("moved")).removed == ("moved",)
            with pytest.raises(UnknownServer):
                await proxy.remove_server("moved")
            assert [status.name for status in proxy.servers()] == ["kept", "new", "more"]


async def test_conflicts_are_told() -> None:
    async with clock() as one, clock() as two:
        config = {"servers": {"a": {"url": one.url}}, "proxy": {"naming": "{tool}"}}
        async with ToolProxy.from_config(config, **WARM) as proxy:
            config["servers"]["b"] = {"url": two.url, "tools": {"include": ["broken"]}}
            report = await proxy.reload(config)
            assert [(c.kind, c.name, c.winner, c.loser) for c in report.conflicts] == [("tool", "broken", "a", "b")]


async def test_switched_off_and_on() -> None:
    async with clock() as served:
        config = {"servers": {"a": {"url": served.url}, "b": {"url": served.url, "disabled": True}}}
        async with ToolProxy.from_config(config, **WARM) as proxy:
            assert {name.split(".")[1] for name in await names(proxy)} == {"a"}
            await proxy.enable("b")
            assert {name.split(".")[1] for name in await names(proxy)} == {"a", "b"}
            await proxy.disable("a")
            assert {name.split(".")[1] for name in await names(proxy)} == {"b"}
            assert [(s.name, s.enabled) for s in proxy.servers()] == [("a", False), ("b", True)]
            assert (await proxy.test_connection("a")).ok
            await proxy.disable()
            assert not proxy.enabled
            assert await names(proxy) == []
            await proxy.enable()
            assert {name.split(".")[1] for name in await names(proxy)} == {"b"}
            # What was switched stays, unless the config says something new about it.
            config["servers"]["a"]["description"] = "still off"
            assert (await proxy.reload(config)).unchanged == ("b",)
            config["servers"]["b"]["disabled"] = False
            await proxy.reload(config)
            assert {name.split(".")[1] for name in await names(proxy)} == {"b"}
            config["servers"]["a"]["disabled"] = True
            await proxy.reload(config)
            config["servers"]["a"]["disabled"] = False
            assert (await proxy.reload(config)).added == ("a",)
            config["proxy"] = {"enabled": False}
            assert (await proxy.reload(config)).removed == ("a", "b")
            with pytest.raises(UnknownServer, match="there is no server c; known: a, b"):
                await proxy.enable("c")


async def test_a_file_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "servers.yaml"
    async with clock() as served:
        text = f"proxy: {{enabled: true, namespace: proxy}}\nservers:\n  time: {{url: '{served.url}'}}\n"
        file.write_text(text)
        async with ToolProxy.from_file(file, **WARM) as proxy:
            assert "proxy.time.get_current_time" in await names(proxy)
            renamed = file.with_suffix(".new")
            renamed.write_text(text.replace("time:", "clock:"))
            renamed.rename(file)  # as editors do
            await eventually(lambda: [s.name for s in proxy.servers()] == ["clock"])
            file.write_text("servers: 1\n")
            wrong = f"{file}: servers: must be an object with one entry for each server, by its name"
            await eventually(lambda: str(proxy.problem) == wrong)
            assert "proxy.clock.get_current_time" in await names(proxy)
            file.write_text(text)
            await eventually(lambda: [s.name for s in proxy.servers()] == ["time"] and proxy.problem is None)
            assert not await proxy.reload()


# Connection tests, life


async def test_connection_tests() -> None:
    async with clock() as served, HungServer() as hung:
        config = servers(served)
        config["servers"]["hung"] = {"url": hung.url}
        async with ToolProxy.from_config(config, warm_seconds=0.1) as proxy:
            good = await proxy.test_connection("time")
            assert (good.ok, good.server_name, good.transport, good.attempts) == (True, "clock", "streamable-http", 1)
            bad = await proxy.test_connection("hung", timeout=0.05, attempts=2)
            assert bad.error is not None
            assert (bad.ok, bad.error.error_class, bad.attempts) == (False, "Timeout", 2)
            with pytest.raises(UnknownServer):
                await proxy.test_connection("nobody")


async def test_life() -> None:
    async with clock() as served:
        proxy = ToolProxy.from_config(servers(served), **WARM)
        with pytest.raises(NotRunning):
            await proxy.call_tool("proxy.time.get_current_time")
        async with proxy:
            async with proxy:
                assert await names(proxy)
            assert await names(proxy)
        for ask in (proxy.list_tools(), proxy.reload({"servers": {}}), proxy.start()):
            with pytest.raises(NotRunning):
                await ask
        await proxy.close()


async def test_what_a_wrong_argument_says() -> None:
    with pytest.raises(ConfigError, match=r"servers\.server\.url: must be an http or https URL"):
        ToolProxy.from_url("nonsense")
    with pytest.raises(ConfigError, match="the key of api-key must be at least 16"):
        ToolProxy(api_key="short")
    with pytest.raises(ConfigError, match=r"naming template needs \{tool\} exactly once"):
        ToolProxy.from_url("http://127.0.0.1:9/mcp", naming="x")
    for arguments, said in (
        ({"path": "mcp"}, "path: must begin with /"),
        ({"path": "/status"}, "path: /status is the proxy's own"),
        ({"api_key": {}}, "api_key: holds no key"),
        ({"api_key": {"a b": "k" * 16}}, "api_key: the name 'a b' must have"),
        (
            {"allowed_origins": "https://a.example"},
            r"allowed_origins: must be a list, for example \['https://a.example'\]",
        ),
        ({"allowed_origins": ["a.example"]}, "allowed_origins: 'a.example' is no origin"),
    ):
        with pytest.raises(ConfigError, match=said):
            ToolProxy(**arguments)
    with pytest.raises(ConfigError, match=r"cors_origins: must be a list"):
        ToolProxy().app(cors_origins="https://a.example")


async def test_a_proxy_that_cannot_start_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(*_: object, **__: object) -> None:
        ProxyConfig.model_validate({"revision": "r", "servers": [{"id": "a/b", "url": "http://hunter2@h/"}]})

    monkeypatch.setattr("mcp_operator_proxy.library.proxy.compile_document", unusable)
    before = asyncio.all_tasks()
    proxy = ToolProxy()
    with pytest.raises(ConfigError, match="has credentials in its url") as refused:
        await proxy.start()
    assert "hunter2" not in str(refused.value)
    assert asyncio.all_tasks() == before


def test_no_second_proxy() -> None:
    """The library stands on the one that pods run."""
    assert isinstance(ToolProxy().proxy, Proxy)
