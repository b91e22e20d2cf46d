"""Isolation `session`: a process for each session, and everything passes through.

Cases: own process · own initialize · requests of the server answered by the client · log on the call's stream ·
limit · idle · DELETE · death · cannot start · readiness by preflight.
"""

import asyncio
import json
from pathlib import Path

import psutil

from mcp_operator_proxy.bridge.jsonrpc import SERVER_EXITED, SERVER_UNAVAILABLE, TOO_MANY_SESSIONS
from mcp_operator_proxy.bridge.supervisor import State
from unit.proxy.bridge.conftest import Connect, Start
from unit.proxy.bridge.harness import Client, raw, until

OPENING = {"jsonrpc": "2.0", "id": 9, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}


async def test_each_session_has_its_own_process(start: Start, connect: Connect) -> None:
    bridge = await start(isolation="session")
    one, two = await connect(bridge), await connect(bridge)
    pids = [(await client.call("echo"))["pid"] for client in (one, two)]
    assert pids[0] != pids[1]
    assert (await one.call("echo"))["pid"] == pids[0]


async def test_initialize_passes_through_as_it_is(start: Start, connect: Connect) -> None:
    bridge = await start(isolation="session")
    client = await connect(bridge, initialize=False)
    result = (await client.initialize("2024-11-05"))["result"]
    assert result["protocolVersion"] == "2024-11-05"
    assert result["capabilities"]["tasks"] == {"list": {}}
    (params,) = await client.heard("initialize")
    assert params["clientInfo"] == {"name": "t", "version": "0"}
    assert len(await client.heard("notifications/initialized")) == 1


async def test_the_client_answers_the_servers_request_on_the_stream_of_its_call(start: Start, connect: Connect) -> None:
    client = await connect(await start(isolation="session"))
    body = {
        "jsonrpc": "2.0",
        "id": 5,
        "method": "tools/call",
        "params": {"name": "ask", "arguments": {"method": "roots/list"}},
    }
    headers = {**client.headers, "content-type": "application/json"}
    async with client.http.stream("POST", client.url, content=json.dumps(body), headers=headers) as response:
        lines = response.aiter_lines()
        asked = await _next(lines)
        assert (asked["method"], asked["id"]) == ("roots/list", "question")
        answer = {"jsonrpc": "2.0", "id": "question", "result": {"roots": []}}
        assert (await client.post(answer)).status_code == 202
        assert (await _next(lines))["result"]["structuredContent"]["reply"] == answer


async def test_with_no_call_the_servers_words_go_to_the_sessions_stream(start: Start, connect: Connect) -> None:
    client = await connect(await start(isolation="session"))
    message = {"method": "notifications/tools/list_changed"}
    async with client.listening() as stream:
        *others, _response = await client.stream_of("say", message=message)
        assert others == []
        assert (await anext(stream))["method"] == message["method"]


async def test_log_messages_come_before_the_answer_of_their_call(start: Start, connect: Connect) -> None:
    client = await connect(await start(isolation="session"))
    message = {"method": "notifications/message", "params": {"level": "info", "data": "x"}}
    log, _response = await client.stream_of("say", message=message)
    assert log["params"]["data"] == "x"


async def test_the_limit_of_sessions_is_told_clearly(start: Start, connect: Connect) -> None:
    bridge = await start(isolation="session", max_sessions=2, preflight=False)
    one, _two = await connect(bridge), await connect(bridge)
    third = await connect(bridge, initialize=False)
    refused = await third.post(OPENING)
    assert refused.status_code == 503
    assert refused.json()["id"] == 9
    assert refused.json()["error"]["code"] == TOO_MANY_SESSIONS
    assert "limit of 2 sessions" in refused.json()["error"]["message"]
    assert (await one.call("echo", a=1))["a"] == 1
    await one.delete()
    assert "result" in await third.initialize()


async def test_delete_ends_the_process_and_the_session(start: Start, connect: Connect) -> None:
    bridge = await start(isolation="session")
    client = await connect(bridge)
    pid = (await client.call("echo"))["pid"]
    assert (await client.delete()).status_code == 204
    assert not psutil.pid_exists(pid)
    assert (await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 404
    assert (await client.delete()).status_code == 404


async def test_an_idle_session_ends_and_one_that_listens_does_not(start: Start, connect: Connect) -> None:
    bridge = await start(isolation="session", idle_timeout=4.0, preflight=False)
    listening = await connect(bridge)
    async with listening.listening():
        idle = await connect(bridge)
        pid = (await idle.call("echo"))["pid"]
        for session in bridge.hub.sessions.values():
            session._last_used -= 4.0
        await until(lambda: len(bridge.hub.sessions) == 1)
        await until(lambda: not psutil.pid_exists(pid))
        assert (await listening.call("echo", a=1))["a"] == 1
    await until(lambda: bool(bridge.hub.sessions[listening.headers["mcp-session-id"]].idle_seconds()))
    bridge.hub.sessions[listening.headers["mcp-session-id"]]._last_used -= 4.0
    await until(lambda: not bridge.hub.sessions)


async def test_a_process_that_dies_ends_its_session_and_no_other(start: Start, connect: Connect) -> None:
    bridge = await start(isolation="session")
    one, two = await connect(bridge), await connect(bridge)
    assert (await one.error_of("crash", code=4, words="oh\n"))["code"] == SERVER_EXITED
    response = await one.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert response.status_code == 404
    assert (await two.call("echo", a=1))["a"] == 1
    health = bridge.hub.health()
    assert (health.restarts, health.exit_code) == (1, 4)
    assert health.last_error == "MCP server test exited with code 4; last standard error: oh"


async def test_a_session_whose_process_cannot_start_is_refused(start: Start, connect: Connect, tmp_path: Path) -> None:
    bridge = await start("/nowhere/x", isolation="session")
    client = await connect(bridge, initialize=False)
    refused = await client.post(OPENING)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == SERVER_UNAVAILABLE
    # Ahead of it stands that this is a crash loop, where the bridge has tried that often by now.
    assert refused.json()["error"]["message"].endswith("command not found: /nowhere/x")
    await until(lambda: bridge.hub.health().state is State.CRASH_LOOP)
    assert not bridge.hub.health().ready


async def test_an_initialize_that_dies_or_is_refused_opens_no_session(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    failing = raw("--fail-file", str(tmp_path / "n"), "--fail-times", "1000")
    client = await connect(await start(*failing, isolation="session", preflight=False), initialize=False)
    error = (await client.initialize())["error"]
    assert "exited with code 7" in error["message"]
    refusing = await start(*raw("--refuse"), isolation="session", preflight=False)
    client = await connect(refusing, initialize=False)
    assert (await client.initialize())["error"]["message"] == "this server is modern only"
    assert not refusing.hub.sessions


async def test_readiness_tells_whether_the_server_works(start: Start, tmp_path: Path) -> None:
    bridge = await start(*raw("--fail-file", str(tmp_path / "n"), "--fail-times", "2"), isolation="session")
    await until(lambda: bridge.hub.health().ready)
    health = bridge.hub.health()
    assert health.exit_code == 7
    assert health.details["serverInfo"] == {"name": "raw", "version": "1"}
    assert len((tmp_path / "n").read_text()) == 3
    await until(lambda: bridge.hub.health().details["processes"] == 0)


async def test_a_client_that_leaves_while_its_session_opens_leaves_no_process(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    bridge = await start(*raw("--wait-for", str(tmp_path / "never")), isolation="session", preflight=False)
    client: Client = await connect(bridge, initialize=False)
    opening = asyncio.create_task(client.post(OPENING))
    await until(lambda: bridge.hub.health().details["processes"] == 1)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await until(lambda: bridge.hub.health().details["processes"] == 0)


async def _next(lines: object) -> dict[str, object]:
    async for line in lines:  # type: ignore[attr-defined]
        if line.startswith("data:"):
            return dict(json.loads(line[5:]))
    raise AssertionError("the stream has ended")
