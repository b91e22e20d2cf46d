"""Local mode end to end: real processes, a real client, no network.

One long story, as starting takes seconds: listed → edited (swapped in on the same session) → broken (said; the old one serves)
→ mended → deleted → stopped, with no process and no file left. Then the ends that are not orderly, and two proxies.
"""

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from fastmcp import FastMCP
from mcp.shared.exceptions import MCPError

from mcp_operator.local.process import free_port
from mcp_operator_proxy.config import shortened
from support.backends import Ears, ServedMCP, client, eventually
from support.fickle import Fickle
from unit.local.harness import PROXY, TINY, Local, local, manifest, tiny

SECRET = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: %s}\n"
ENV = {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]}
CHANGED = "notifications/tools/list_changed"
pytestmark = pytest.mark.timeout(300)  # several processes are started, one after the other


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "manifests"
    found.mkdir()
    return found


async def tools(connected: Any) -> set[str]:
    return {tool.name for tool in await connected.list_tools()}


async def lists(connected: Any, *names: str) -> None:
    """Wait until these are the tools, no more and no fewer."""
    seen: set[str] = set()

    async def are_there() -> bool:
        seen.clear()
        seen.update(await tools(connected))
        return seen == set(names)

    try:
        await eventually(are_there, 90)
    except TimeoutError:
        raise AssertionError(f"{sorted(seen)} instead of {sorted(names)}") from None


async def test_a_life(folder: Path) -> None:
    async with local(folder, a=PROXY + tiny("one", "x", stdio=ENV) + SECRET % "hunter-1") as run:
        url = await run.url()
        await run.said("McpProxy/default/tools ready=True")
        ears = Ears()
        async with client(url, mode="legacy", message_handler=ears) as connected:
            await lists(connected, "one_x")
            first = (await connected.call_tool("one_x")).structured_content
            assert first["token"] == "hunter-1"

            await an_added_file_is_swapped_in(run, connected, ears)
            await an_edit_replaces_a_process_without_a_gap(run, connected, first)
            await a_broken_file_changes_nothing(run, connected)
            await a_deleted_file_takes_its_tools(run, connected)
        assert (await run.status())["swaps"] >= 3
        await it_ends_with_all_its_own(run)
    assert list(folder.parent.iterdir()) == [folder], "the state folder is gone"


async def an_added_file_is_swapped_in(run: Local, connected: Any, ears: Ears) -> None:
    ears.heard.clear()
    run.write("b.yaml", tiny("two", "y"))
    await run.said("McpServer/default/two ready=True kind=Stdio tools=1")
    await eventually(lambda: CHANGED in ears.heard)
    await lists(connected, "one_x", "two_y")
    assert (await connected.call_tool("two_y")).structured_content["name"] == "y"


async def an_edit_replaces_a_process_without_a_gap(run: Local, connected: Any, first: dict[str, str]) -> None:
    calling = asyncio.create_task(_call_until(connected, lambda answer: answer["token"] == "hunter-2"))
    run.write("a.yaml", PROXY + tiny("one", "x", "z", stdio=ENV) + SECRET % "hunter-2")
    answers = await asyncio.wait_for(calling, 90)
    assert {answer["pid"] for answer in answers} >= {first["pid"]}
    await lists(connected, "one_x", "one_z", "two_y")
    await eventually(lambda: not psutil.pid_exists(int(first["pid"])))


async def _call_until(connected: Any, done: Any) -> list[dict[str, str]]:
    """Call without pause; every call must succeed."""
    answers: list[dict[str, str]] = []
    while not answers or not done(answers[-1]):
        answers.append((await connected.call_tool("one_x")).structured_content)
    return answers


async def a_broken_file_changes_nothing(run: Local, connected: Any) -> None:
    since = len(run.lines)
    run.write("b.yaml", tiny("two", "y") + "\n  broken: [\n")
    await run.said(r"b\.yaml:\d+: not YAML", since)
    await run.said(
        r"McpServer/default/two ready=False .* Invalid: .*b\.yaml:\d+: .*the last good version stays in use", since
    )
    assert (await connected.call_tool("two_y")).structured_content["name"] == "y"
    since = len(run.lines)
    run.write("b.yaml", tiny("two", "y"))
    await run.said(r"b\.yaml:\d+: mended or gone", since)
    await run.said("McpServer/default/two ready=True", since)


async def a_deleted_file_takes_its_tools(run: Local, connected: Any) -> None:
    (run.folder / "b.yaml").unlink()
    await run.said("McpServer/default/two is gone")
    await lists(connected, "one_x", "one_z")


async def it_ends_with_all_its_own(run: Local) -> None:
    tree = run.tree()
    assert len(tree) >= 5, "local mode, a proxy, a guard, a bridge and a server"
    assert await run.stop() == 0
    assert not psutil.wait_procs(tree, timeout=0)[1]
    text = "\n".join(run.lines)
    assert "hunter-" not in text
    assert "Traceback" not in text


async def test_two_proxies_a_route_what_can_not_run_and_a_kill(folder: Path) -> None:
    port = free_port()
    # It takes connections and says nothing, until it is ended. One that ended would rarely be seen up.
    mute = f"import signal, socket; s = socket.create_server(('127.0.0.1', {port})); signal.pause()"
    listen = [sys.executable, "-S", "-c", mute]
    route = {"parentRefs": [{"name": "other"}], "path": "/two/mcp", "servers": [{"name": "two", "prefix": ""}]}
    async with local(
        folder,
        a=PROXY
        + manifest("McpProxy", "idle", {"replicas": 0})
        + manifest("McpProxy", "other", {})
        + manifest("McpRoute", "two", route)
        + tiny("two", "y", "z"),
        b=manifest("McpServer", "image", {"container": {"image": "registry.example.com/x:1"}}),
        c=manifest("McpServer", "mute", {"container": {"image": "x", "command": listen, "port": port}}),
        d=manifest("McpServer", "crash", {"stdio": {"command": "/nowhere/server"}}),
        e=tiny("two", "again") + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n",
    ) as run:
        await run.said("McpProxy/default/idle ready=False .*NoReplicas: spec.replicas is 0")
        await run.said("McpServer/default/image ready=False .*UnsupportedValue: .*set spec.container.command")
        await run.said(r"e\.yaml:2: McpServer default/two is defined at .*a\.yaml:\d+ already")
        await run.said("e.yaml:4: note: Service web is not used here: ignored")
        await run.said("McpServer/default/crash ready=False .*Crashing: command not found: /nowhere/server")
        await run.said("McpServer/default/mute ready=Unknown .*NotProbed")
        await run.said("McpRoute/default/two ready=True proxy=other path=/two/mcp servers=1")
        await run.said("McpProxy/default/tools .*replicas=1/1")
        async with client(await run.url("other-two")) as connected:
            await lists(connected, "y", "z")
        async with client(await run.url("tools")) as connected:
            await lists(connected, "two_y", "two_z")
        tree = run.tree()
        assert await run.stop(signal.SIGKILL) == -signal.SIGKILL
        assert not await asyncio.to_thread(lambda: psutil.wait_procs(tree, timeout=60)[1])


SHARED = "McpRoute/default/shared "


async def test_a_server_of_another_namespace_and_a_name_that_is_too_long(folder: Path) -> None:
    long = "y" * 30
    proxy = manifest("McpProxy", "tools", {"naming": {"maxLength": 20}})
    servers = [{"namespace": "platform", "selector": {}}]
    route = manifest("McpRoute", "shared", {"parentRefs": [{"name": "tools"}], "servers": servers})
    spec = {"stdio": {"command": sys.executable, "args": ["-S", str(TINY), "x", long]}}
    trusted = {"from": "Selector", "selector": {"matchLabels": {"trust": "high"}}}
    consenting = {**spec, "allowedRoutes": {"namespaces": trusted}}

    def of_the_platform(spec: dict[str, Any]) -> str:
        return manifest("McpServer", "far", spec).replace('"name": "far"', '"name": "far", "namespace": "platform"')

    async with local(folder, a=proxy + route, b=of_the_platform(spec)) as run:
        await run.said(SHARED + "ready=False .*RefNotPermitted")
        run.write("b.yaml", of_the_platform(consenting))
        run.write("c.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {trust: high}}\n")
        await run.said(SHARED + "ready=True .*servers=1")
        short = shortened(f"far_{long}", 20)
        async with client(await run.url()) as connected:
            await lists(connected, "far_x", short)
            assert (await connected.call_tool(short)).structured_content["name"] == long
        (told,) = (await run.status())["longNames"]
        assert (told["name"], told["shown"]) == (f"far_{long}", short)


async def test_a_header_from_a_secret_that_is_rotated(folder: Path) -> None:
    """And nothing of it stands in the configuration file."""
    async with ServedMCP(FastMCP("far")) as far:
        headers = [{"name": "X-Key", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]
        server = manifest(
            "McpServer", "far", {"remote": {"url": far.url, "headers": headers}, "health": {"interval": "1s"}}
        )

        def sent() -> set[str]:
            return {request["x-key"] for request in far.requests if "x-key" in request}

        async with local(folder, a=PROXY + server, s=SECRET % "hunter-1") as run:
            await run.said("McpServer/default/far ready=True kind=Remote")
            await run.said("McpProxy/default/tools ready=True")
            assert sent() == {"hunter-1"}
            run.write("s.yaml", SECRET % "hunter-2")
            await eventually(lambda: "hunter-2" in sent())

            def nothing_else_is_sent() -> bool:
                """The probes and the proxy learn of it one after the other, and what was under way then still comes."""
                if "hunter-1" in sent():
                    far.requests.clear()
                return len(far.requests) > 5

            await eventually(nothing_else_is_sent, 60)
            configs = list(folder.parent.glob("mcp-operator-local-*/proxies/*/..data/config.json"))
            assert configs
            assert not any("hunter" in config.read_text() for config in configs)


async def test_a_server_without_a_proxy_is_probed_all_the_same(folder: Path) -> None:
    (folder / "only.json").write_text(json.dumps(json.loads(tiny("one", "x").removeprefix("---"))))
    async with local(folder) as run:
        await run.said("there is no McpProxy: servers are run and probed, but nothing serves their tools")
        await run.said("McpServer/default/one ready=True kind=Stdio tools=1")
        since = len(run.lines)
        moved = folder.with_name("moved")
        shutil.move(folder, moved)
        await run.said(r"No such file or directory; what it held stays in use", since)
        assert not run.heard("is gone", since)
        shutil.move(moved, folder)
        await run.said("mended or gone", since)


async def test_pinned_definitions(folder: Path) -> None:
    fickle = Fickle()

    def far(url: str, **spec: Any) -> str:
        return manifest(
            "McpServer", "far", {"remote": {"url": url}, "health": {"interval": "300ms"}, "pinning": "Enforce", **spec}
        )

    async with ServedMCP(fickle.mcp) as served, local(folder, a=PROXY + far(served.url)) as run:
        await run.said("McpProxy/default/tools ready=True")
        async with client(await run.url(), "legacy") as through:

            async def shows(*names: str) -> bool:
                return {tool.name for tool in await through.list_tools()} == {*names}

            await eventually(lambda: shows("far_add", "far_other"))
            fickle.say("Adds. And sends.")
            await eventually(lambda: shows("far_other"))
            with pytest.raises(MCPError, match="far_add is quarantined"):
                await through.session.call_tool("far_add", {})
            (found,) = (await run.status())["servers"][0]["unapproved"]
            approval = {"tools": [{"tool": "add", "digest": found["digest"]}]}
            run.write("a.yaml", PROXY + far(served.url, approvedDefinitions=approval))
            await eventually(lambda: shows("far_add", "far_other"))


async def test_where_the_inspector_is_said_and_served(folder: Path) -> None:
    async with local(folder, "--ui", a=PROXY + tiny("one", "x")) as run, httpx2.AsyncClient(timeout=60) as http:
        url = (await run.said(r"tools: the inspector is at (http://\S+/ui)$"))[1]
        await run.said("McpProxy/default/tools ready=True")
        me = (await http.get(f"{url}/api/me")).json()
        assert (me["operator"], [route["path"] for route in me["routes"]]) == (True, ["/mcp"])

        async def is_there() -> bool:
            """A proxy is ready even where a server is slower to come than it waits for."""
            (server,) = (await http.get(f"{url}/api/fleet")).json()["servers"]
            assert server["id"] == "default/one"
            return bool(server["state"] == "ready")

        await eventually(is_there)
