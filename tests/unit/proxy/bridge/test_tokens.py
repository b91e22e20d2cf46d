"""Isolation `user` with a token for each process: straight to the bridge, with real processes.

two users: each process has its own user's token, whatever the bridge's own environment says · both eras
another token: another process, for sessions that stay too; calls in flight end on the old one, which then ends
an older token of another replica changes nothing · no token, an unsigned, forged, replayed or overheard request: no process
nothing is listed for all · tokens stand in no log, status or error · a folder of each user's own
who is gone, as the proxy says: the process ends after its calls, the folder goes
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy import callers, callertoken
from mcp_operator_proxy.bridge.jsonrpc import INVALID_REQUEST
from mcp_operator_proxy.bridge.modern import DISCOVER, envelope
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.callertoken import CallerToken
from unit.proxy.bridge.harness import SERVERS, Client, http_client, messages_of, running, settings, until

KEY = "k" * 32
VARIABLE = "NOTES_TOKEN"
NOW = time.time()
JSON = dict[str, Any]


@asynccontextmanager
async def bridged(**changes: Any) -> AsyncIterator[tuple[Bridge, httpx2.AsyncClient]]:
    configured = settings(isolation="user", identity_key=KEY, credential_env=VARIABLE, max_processes=8, **changes)
    async with running(configured) as bridge, http_client() as http:
        yield bridge, http


def said(user: str, token: str | None, *, since: float = NOW, key: str = KEY) -> dict[str, str]:
    """The headers of a proxy's request."""
    caller = callers.signed(key, f"user={user}", time.time())
    shown = {} if token is None else {callertoken.HEADER: callertoken.sealed(key, caller, CallerToken(token, since))}
    return {callers.HEADER: caller, **shown}


class As(Client):
    """A proxy's session for a user; `says` are the headers of its next requests."""

    def __init__(self, bridge: Bridge, http: httpx2.AsyncClient, user: str, token: str | None) -> None:
        super().__init__(bridge.url, http)
        self.user = user
        self.shows(token)

    def shows(self, token: str | None, *, since: float = NOW) -> None:
        self.headers.pop(callertoken.HEADER, None)
        self.headers.update(said(self.user, token, since=since))

    async def token(self) -> Any:
        return (await self.call("environment", name=VARIABLE))["value"]

    async def pid(self) -> int:
        return int((await self.call("echo"))["pid"])


def processes(bridge: Bridge) -> int:
    return bridge.hub.health().processes


async def test_each_process_has_the_token_of_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "the-bridges-own")
    async with bridged() as (bridge, http):
        assert bridge.hub.health().ready
        assert processes(bridge) == 0, "none without a token, not even for lists"
        alice, bob = As(bridge, http, "alice", "tok-alice"), As(bridge, http, "bob", "tok-bob")
        again = As(bridge, http, "alice", "tok-alice")
        for who in (alice, bob, again):
            assert "result" in await who.initialize()
            assert (await who.request("tools/list"))[-1]["result"]["tools"]
        assert [await who.token() for who in (alice, bob, again)] == ["tok-alice", "tok-bob", "tok-alice"]
        assert await alice.pid() == await again.pid() != await bob.pid()
        assert processes(bridge) == 2


async def test_each_user_has_a_folder_of_the_own_which_goes_with_the_user() -> None:
    async with bridged(environment={**os.environ, "NOTES": "$(MCP_OWN_DIR)/notes"}) as (bridge, http):
        alice, bob = As(bridge, http, "alice", "tok-alice"), As(bridge, http, "bob", "tok-bob")
        found = {}
        for who in (alice, bob):
            await who.initialize()
            own = Path((await who.call("environment", name="MCP_OWN_DIR"))["value"])
            assert (await who.call("environment", name="NOTES"))["value"] == f"{own}/notes"
            assert _mode(own) == 0o700
            (own / "notes").write_text(who.user)
            found[who.user] = own
        assert found["alice"] != found["bob"]
        alice.shows("tok-2", since=NOW + 1)
        assert Path((await alice.call("environment", name="MCP_OWN_DIR"))["value"]) == found["alice"]
        assert (await http.delete(bridge.url, headers=gone("alice"))).status_code == 204
        again = As(bridge, http, "alice", "tok-3")
        await again.initialize()
        anew = Path((await again.call("environment", name="MCP_OWN_DIR"))["value"])
        assert anew != found["alice"]
        assert os.listdir(anew) == []  # noqa: PTH208 - of a moment
        await until(lambda: not found["alice"].exists())
        assert (found["bob"] / "notes").read_text() == "bob"
    assert not any(map(os.path.exists, (found["bob"], anew)))


async def test_folders_stay_where_there_is_a_place_for_them(tmp_path: Path) -> None:
    for _ in range(2):
        async with bridged(own_dirs=str(tmp_path), own_dirs_stay=True) as (bridge, http):
            alice = As(bridge, http, "alice", "tok-alice")
            await alice.initialize()
            own = Path((await alice.call("environment", name="MCP_OWN_DIR"))["value"])
            assert own == tmp_path / "alice"
            with (own / "notes").open("a") as notes:
                notes.write("+")
            await http.delete(bridge.url, headers=gone("alice"))
    assert (tmp_path / "alice" / "notes").read_text() == "++"


async def test_of_many_users_the_folders_of_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_operator_proxy.bridge.users._OWN_DIRS", 2)
    async with bridged(process_idle=0.01) as (bridge, http):
        found = []
        for name in "abcd":
            user = As(bridge, http, name, f"tok-{name}")
            await user.initialize()
            found.append((await user.call("environment", name="MCP_OWN_DIR"))["value"])
            await bridge.hub.end(next(iter(bridge.hub.sessions.values())), "over")
            await until(lambda: processes(bridge) == 0)
            await bridge.hub._forget(name)  # type: ignore[attr-defined]
        assert list(map(os.path.exists, found)) == [False, False, True, True]


def _mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def gone(user: str) -> dict[str, str]:
    return {callers.HEADER: callers.signed(KEY, f"gone={user}", time.time())}


async def test_a_user_who_is_gone_has_no_process(tmp_path: Path) -> None:
    """Its calls end on it. Only who has the key may say so, and a request that was overheard says nothing of the kind."""
    async with bridged() as (bridge, http):
        alice, idle, bob = (As(bridge, http, who, f"tok-{who}") for who in ("alice", "alice", "bob"))
        for who in (alice, idle, bob):
            await who.initialize()
        first = await alice.pid()
        working = asyncio.create_task(alice.call("work", until=str(tmp_path / "go")))
        await until(lambda: bridge.hub.busy)

        async def gone(value: str) -> int:
            return (await http.delete(bridge.url, headers={callers.HEADER: value})).status_code

        now = time.time()
        assert await gone(callers.signed("x" * 32, "gone=alice", now)) == 403
        assert await gone(callers.signed(KEY, "gone=alice", now - 600)) == 403
        assert await gone(callers.signed(KEY, "user=alice", now)) == 400
        assert await gone(callers.signed(KEY, "gone=nobody", now)) == 404
        assert processes(bridge) == 2
        assert await gone(callers.signed(KEY, "gone=nobody&gone=alice", now)) == 204
        assert _runs(first)
        (tmp_path / "go").touch()
        assert (await working)["pid"] == first
        await until(lambda: not _runs(first))
        assert processes(bridge) == 1
        assert (await idle.post({"jsonrpc": "2.0", "id": 9, "method": "tools/list"})).status_code == 404
        again = As(bridge, http, "alice", "tok-again")
        await again.initialize()
        assert (await again.token(), await bob.token()) == ("tok-again", "tok-bob")


async def test_another_token_is_another_process_once_the_calls_of_the_first_have_ended(tmp_path: Path) -> None:
    async with bridged() as (bridge, http):
        alice, bob = As(bridge, http, "alice", "tok-1"), As(bridge, http, "bob", "tok-bob")
        await alice.initialize()
        await bob.initialize()
        first, his = await alice.pid(), await bob.pid()
        stays = As(bridge, http, "alice", "tok-1")
        await stays.initialize()
        working = asyncio.create_task(stays.call("work", until=str(tmp_path / "go")))
        await until(lambda: bridge.hub.busy)
        alice.shows("tok-2", since=NOW + 1)
        assert await alice.token() == "tok-2"
        second = await alice.pid()
        assert second != first
        assert not working.done()
        os.kill(first, 0)
        (tmp_path / "go").touch()
        assert (await working)["pid"] == first
        await until(lambda: not _runs(first))
        stays.headers.pop(callertoken.HEADER)
        assert await stays.pid() == second, "a session goes on, with the newest token"
        stays.shows("tok-1", since=NOW)
        assert (await stays.token(), await stays.pid()) == ("tok-2", second), "what another replica showed before"
        assert (await bob.pid(), await bob.token()) == (his, "tok-bob")
        assert bridge.hub.health().restarts == 0


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_process_that_failed_by_its_token_starts_at_once_with_another() -> None:
    refusing = f'if [ "${VARIABLE}" = tok-1 ]; then echo "this token is refused" >&2; exit 7; fi; exec "$@"'
    command = ("sh", "-c", refusing, "sh", *settings().command)
    async with bridged(command=command, backoff_first=60.0, backoff_max=60.0, wait_timeout=20.0) as (bridge, http):
        alice = As(bridge, http, "alice", "tok-1")
        failed = await alice.initialize()
        assert "this token is refused" in failed["error"]["message"]
        alice.shows("tok-2", since=NOW + 1)
        assert "result" in await alice.initialize()
        assert await alice.token() == "tok-2"


async def test_a_call_without_a_token_is_an_error_and_no_process() -> None:
    async with bridged() as (bridge, http):
        alice = As(bridge, http, "alice", None)
        error = (await alice.initialize())["error"]
        assert (error["code"], error["data"]) == (INVALID_REQUEST, {"reason": "NoCredential"})
        assert "token of each user" in error["message"]
        modern = messages_of(await _discover(bridge, http, said("alice", None)))[-1]
        assert modern["error"]["data"] == {"reason": "NoCredential"}
        assert processes(bridge) == 0


async def test_who_does_not_sign_is_asked_for_it_and_gets_no_list() -> None:
    async with bridged() as (bridge, http):
        for headers in ({}, {callertoken.HEADER: said("alice", "tok-alice")[callertoken.HEADER]}):
            for response in (await _initialize(bridge, http, headers), await _discover(bridge, http, headers)):
                assert response.status_code == 401
                assert "www-authenticate" in response.headers
                assert response.json()["error"]["data"] == {"reason": "NoUser"}
        assert processes(bridge) == 0


async def test_a_token_opens_for_nobody_else() -> None:
    def replayed(to: str, headers: dict[str, str]) -> dict[str, str]:
        return {**headers, callers.HEADER: callers.signed(KEY, f"user={to}", time.time())}

    def tampered(headers: dict[str, str]) -> dict[str, str]:
        value = headers[callertoken.HEADER]
        return {**headers, callertoken.HEADER: value[:60] + ("A" if value[60] != "A" else "B") + value[61:]}

    def late(headers: dict[str, str]) -> dict[str, str]:
        caller = callers.signed(KEY, "user=alice", time.time() - 1000)
        return {callers.HEADER: caller, callertoken.HEADER: callertoken.sealed(KEY, caller, CallerToken("t" * 9, NOW))}

    heard = said("alice", "tok-alice")
    async with bridged() as (bridge, http):
        for headers in (replayed("bob", heard), tampered(heard), late(heard), said("alice", "tok-x", key="x" * 32)):
            response = await _initialize(bridge, http, headers)
            assert response.status_code == 403
            assert "not believed" in response.json()["error"]["message"]
        assert processes(bridge) == 0
        bob = As(bridge, http, "bob", "tok-bob")
        await bob.initialize()
        bob.headers.update(said("alice", "tok-alice", since=NOW + 9))
        assert await bob.token() == "tok-bob", "a session is its user's, whoever asks in it"
        bob.headers.update(replayed("bob", heard))
        refused = await bob.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert refused.status_code == 403


async def test_no_token_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    async with bridged() as (bridge, http):
        alice = As(bridge, http, "alice", "tok-alice")
        await alice.initialize()
        error = await alice.error_of("crash", code=3, words="bad credential tok-alice, or tok-bob?")
        assert f"bad credential [env {VARIABLE}], or tok-bob?" in error["message"]
        alice.shows("short", since=NOW + 1)
        error = await alice.error_of("crash", code=3, words="bad credential short")
        assert f"bad credential [env {VARIABLE}]" in error["message"]
        status = (await http.get(bridge.url.replace("/mcp", "/status"))).text
        told = capfd.readouterr()
        assert "bad credential" in status
        assert "tok-alice" not in status + told.err + told.out
        assert "short" not in status + told.err


async def test_both_eras_have_it() -> None:
    """A request of the 2026-07-28 era brings all that it needs."""
    async with bridged(command=(sys.executable, "-S", str(SERVERS / "modern_server.py"))) as (bridge, http):
        for user in ("alice", "bob"):
            discovered = messages_of(await _discover(bridge, http, said(user, f"tok-{user}")))[-1]
            assert "result" in discovered, discovered
        assert processes(bridge) == 2


async def _initialize(bridge: Bridge, http: httpx2.AsyncClient, headers: dict[str, str]) -> httpx2.Response:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    return await _post(bridge, http, "initialize", params, headers)


async def _discover(bridge: Bridge, http: httpx2.AsyncClient, headers: dict[str, str]) -> httpx2.Response:
    version = {"mcp-protocol-version": "2026-07-28", "mcp-method": DISCOVER}
    return await _post(bridge, http, DISCOVER, envelope(), {**version, **headers})


async def _post(
    bridge: Bridge, http: httpx2.AsyncClient, method: str, params: JSON, headers: dict[str, str]
) -> httpx2.Response:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    kinds = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    return await http.post(bridge.url, content=body, headers={**kinds, **headers})
