"""What happens when the server fails: at start, in a call, with its output, and what everybody is told of it.

Cases: crash in a call · killed · stdout closed · last words · restart and what is restored · crash loop · not startable ·
slow start · refused initialize · another protocol version after a restart · garbage on standard output · secrets.
"""

import asyncio
import json
import logging
from pathlib import Path

import httpx2
import pytest

from mcp_operator_proxy.bridge import process
from mcp_operator_proxy.bridge.jsonrpc import SERVER_EXITED, SERVER_UNAVAILABLE
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.supervisor import State
from unit.proxy.bridge.conftest import Connect, Start
from unit.proxy.bridge.harness import http_client, raw, until


async def get(bridge: Bridge, path: str) -> httpx2.Response:
    async with http_client() as http:
        return await http.get(f"http://127.0.0.1:{bridge.port}{path}")


async def ready(bridge: Bridge) -> None:
    async def is_ready() -> bool:
        return (await get(bridge, "/readyz")).status_code == 200

    await until(is_ready)


async def test_calls_in_flight_fail_at_once_when_the_server_dies(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two = await connect(bridge), await connect(bridge)
    waiting = asyncio.create_task(two.error_of("hold", key="k"))

    async def held() -> bool:
        return any(c["name"] == "hold" for c in await one.heard("tools/call"))

    await until(held)
    error = await one.error_of("crash", code=3, words="first\nno database\n")
    assert error["code"] == SERVER_EXITED
    assert error["message"] == "MCP server test exited with code 3; last standard error: first | no database"
    assert error["data"] == {"reason": "ServerExited", "exitCode": 3}
    assert (await waiting)["code"] == SERVER_EXITED


async def test_the_next_call_finds_a_new_process_in_the_same_session(start: Start, connect: Connect) -> None:
    bridge = await start()
    client = await connect(bridge)
    pid = (await client.call("echo"))["pid"]
    assert "SIGKILL" in (await client.error_of("killed"))["message"]
    assert (await client.call("echo"))["pid"] != pid
    status = (await get(bridge, "/status")).json()
    assert status["server"]["restarts"] == 1
    assert status["server"]["exitCode"] == -9
    metrics = (await get(bridge, "/metrics")).text
    assert "mcp_bridge_restarts_total 1.0" in metrics
    assert 'mcp_bridge_calls_total{outcome="error"} 1.0' in metrics


async def test_a_server_that_closes_its_output_is_restarted(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_LAST_BREATH", 0.05)
    client = await connect(await start())
    pid = (await client.call("echo"))["pid"]
    assert (await client.error_of("close_stdout"))["code"] == SERVER_EXITED
    assert (await client.call("echo"))["pid"] != pid


async def test_how_a_server_ended_is_told_although_its_output_ended_before_it_did(
    start: Start, connect: Connect
) -> None:
    """As a process does that has much to leave, or a busy machine beneath it."""
    client = await connect(await start())
    assert (await client.error_of("close_stdout", code=3))["message"] == "MCP server test exited with code 3"


async def test_what_a_server_wrote_before_its_end_is_delivered(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    assert await client.call("last_words") == {"text": "done"}


async def test_after_a_restart_sessions_hear_it_and_their_wishes_are_restored(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    await client.request("logging/setLevel", {"level": "warning"})
    await client.request("resources/subscribe", {"uri": "a://x"})
    async with client.listening() as stream:
        await client.error_of("crash", code=1)
        methods = [(await anext(stream))["method"] for _ in range(3)]
    assert methods == [
        "notifications/tools/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    ]
    assert await client.heard("logging/setLevel") == [{"level": "warning"}]
    assert await client.heard("resources/subscribe") == [{"uri": "a://x"}]


async def test_a_server_that_fails_at_first_is_started_until_it_works(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    bridge = await start(*raw("--fail-file", str(tmp_path / "n"), "--fail-times", "2"))
    client = await connect(bridge)
    assert await client.call("echo", x=1)
    server = (await get(bridge, "/status")).json()["server"]
    assert (server["state"], server["restarts"], server["exitCode"]) == ("ready", 2, 7)


async def test_a_crash_loop_is_told_to_everyone_who_asks(start: Start, connect: Connect, tmp_path: Path) -> None:
    command = raw("--fail-file", str(tmp_path / "n"), "--fail-times", "1000000")
    bridge = await start(*command, backoff_first=0.01, backoff_max=60.0, wait_timeout=0.3)

    async def looping() -> bool:
        return bool((await get(bridge, "/readyz")).json()["state"] == "crash-loop")

    await until(looping)
    answer = await get(bridge, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["exitCode"] == 7
    assert answer.json()["lastError"].startswith("MCP server test exited with code 7; last standard error: start ")
    alive = await get(bridge, "/healthz")
    assert (alive.status_code, alive.json()["server"]["state"]) == (200, "crash-loop")
    client = await connect(bridge, initialize=False)
    refused = await client.post(
        {"jsonrpc": "2.0", "id": 5, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
    )
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    error = refused.json()["error"]
    assert (refused.json()["id"], error["code"]) == (5, SERVER_UNAVAILABLE)
    assert "exited with code 7" in error["message"]
    assert error["data"]["exitCode"] == 7


async def test_a_request_does_not_wait_for_a_start_that_is_further_off_than_its_patience(
    start: Start, connect: Connect
) -> None:
    bridge = await start(backoff_first=3600.0, backoff_max=3600.0, wait_timeout=100.0)
    client = await connect(bridge)
    await client.error_of("crash", code=1)
    await until(lambda: bridge.hub.health().state is State.BACKOFF)
    async with asyncio.timeout(50):
        error = await client.error_of("echo")
    assert error["code"] == SERVER_UNAVAILABLE
    assert "is down (backoff), next start in" in error["message"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("/nowhere/to-be-found", "command not found: /nowhere/to-be-found"),
        ("/", "command is not executable: /"),
    ],
)
async def test_a_command_that_cannot_be_started_is_an_error_not_a_crash(
    start: Start, connect: Connect, command: str, says: str
) -> None:
    bridge = await start(command, wait_timeout=0.1)
    await until(lambda: bridge.hub.health().last_error is not None)
    assert (await get(bridge, "/healthz")).json()["server"]["lastError"] == says
    client = await connect(bridge, initialize=False)
    assert says in (await client.initialize())["error"]["message"]


async def test_requests_wait_for_a_server_that_is_starting(start: Start, connect: Connect, tmp_path: Path) -> None:
    go = tmp_path / "go"
    bridge = await start(*raw("--wait-for", str(go)))
    client = await connect(bridge, initialize=False)
    opening = asyncio.create_task(client.initialize())
    assert (await get(bridge, "/readyz")).json()["state"] == "starting"
    assert not opening.done()
    go.touch()
    assert "result" in await opening


async def test_a_server_that_never_answers_is_given_up(start: Start, tmp_path: Path) -> None:
    bridge = await start(*raw("--wait-for", str(tmp_path / "never")), startup_timeout=0.3)
    await until(lambda: bridge.hub.health().last_error is not None)
    error = bridge.hub.health().last_error
    assert error == "MCP server test did not answer initialize within 0.3 s; it wrote nothing to standard error"


async def test_a_server_that_refuses_initialize_is_quoted(start: Start) -> None:
    bridge = await start(*raw("--refuse"))
    await until(lambda: bridge.hub.health().last_error is not None)
    assert bridge.hub.health().last_error == "MCP server test refused initialize: this server is modern only (-32602)"


async def test_sessions_end_when_the_server_comes_back_with_another_protocol(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    script = tmp_path / "server.sh"
    server = " ".join(raw())
    script.write_text(f"#!/bin/sh\nexec {server} --protocol-version $(cat {tmp_path}/version)\n")
    script.chmod(0o755)
    (tmp_path / "version").write_text("2025-11-25")
    bridge = await start(str(script))
    client = await connect(bridge)
    (tmp_path / "version").write_text("2025-06-18")
    await client.error_of("crash", code=1)
    await ready(bridge)
    assert (await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 404
    assert (await client.initialize())["result"]["protocolVersion"] == "2025-06-18"


GARBAGE = [
    "Listening on stdio!\n",
    "\n",
    "\xff\xfe broken\n",
    '{"jsonrpc": "2.0", "id"\n',
    "[]\n",
    "1e999\n",
    '"text"\n',
]


async def test_garbage_on_standard_output_is_skipped_and_counted(
    start: Start, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bridge = await start(*raw("--banner", "Welcome to the server v1.0\n"))
    client = await connect(bridge)
    await client.call("garbage", lines=[*GARBAGE, '{"id": 99999, "jsonrpc": "2.0", "result": {}}\n'])
    assert (await client.call("echo", a=1))["a"] == 1
    count = len(GARBAGE)
    text = (await get(bridge, "/metrics")).text
    assert f"mcp_bridge_garbage_lines_total {count}.0" in text, "the blank line doesn't count, the banner does"
    assert "Welcome to the server" in caplog.text


async def test_a_line_over_the_limit_is_skipped(start: Start, connect: Connect) -> None:
    bridge = await start(max_line=100_000)
    client = await connect(bridge)
    waiting = asyncio.create_task(client.stream_of("big", size=1_000_000))
    await until(lambda: bridge.hub.metrics.registry.get_sample_value("mcp_bridge_garbage_lines_total") == 1)
    assert (await client.call("echo", a=1))["a"] == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_secrets_of_the_environment_are_kept_out(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_verysecret")
    bridge = await start()
    client = await connect(bridge)
    error = await client.error_of("crash", code=1, words="cannot log in with ghp_verysecret\n")
    assert error["message"].endswith("cannot log in with [env GITHUB_TOKEN]")
    await ready(bridge)
    said = [capfd.readouterr().err, (await get(bridge, "/status")).text, (await get(bridge, "/healthz")).text]
    assert "[test] cannot log in with [env GITHUB_TOKEN]" in said[0]
    assert not any("ghp_verysecret" in text for text in said)


async def test_a_server_that_does_not_read_slows_its_callers_and_loses_nothing(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    bridge = await start()
    clients = [await connect(bridge) for _ in range(4)]
    go = tmp_path / "go"
    await clients[0].call("deaf", until=str(go))
    payload = "y" * 300_000
    calls = [asyncio.create_task(client.call("echo", n=n, text=payload)) for n, client in enumerate(clients)]
    await until(
        lambda: bridge.hub.metrics.registry.get_sample_value("mcp_bridge_calls_in_flight") == 4
    )  # more than fits
    impatient = asyncio.create_task(clients[0].call("echo", n=99))
    await until(lambda: bridge.hub.metrics.registry.get_sample_value("mcp_bridge_calls_in_flight") == 5)
    impatient.cancel()
    await until(lambda: any(call.done for session in bridge.hub.sessions.values() for call in session._calls.values()))
    go.touch()
    answers = await asyncio.gather(*calls)
    assert [a["n"] for a in answers] == [0, 1, 2, 3]
    received = (await clients[0].call("heard"))["received"]
    assert not [m for m in received if m.get("params", {}).get("arguments", {}).get("n") == 99], (
        "given up before it was sent"
    )
    assert not [m for m in received if m["method"] == "notifications/cancelled"], "so there was nothing to cancel"


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (0o755, "command {} could not be started: the interpreter that its first line names is not there"),
        (0o644, "command is not executable: {}"),
    ],
    ids=["interpreter", "mode"],
)
async def test_a_script_that_cannot_run_is_told(start: Start, tmp_path: Path, mode: int, says: str) -> None:
    script = tmp_path / "run"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(mode)
    bridge = await start(str(script))
    await until(lambda: bridge.hub.health().last_error is not None)
    assert bridge.hub.health().last_error == says.format(script)


async def test_what_a_server_says_before_initialize_counts_for_nothing(start: Start, connect: Connect) -> None:
    early = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
    client = await connect(await start(*raw("--banner", json.dumps(early) + "\n")))
    assert (await client.call("echo", a=2))["a"] == 2
