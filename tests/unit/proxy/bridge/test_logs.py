"""`/logs` of a real bridge: for who signs with its key, this request, now, once; nothing for anybody else.

the newest lines and the process · masked values stay masked · every isolation · without a key there is no such path
"""

import os
import time
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy import callers
from mcp_operator_proxy.bridge.cli import parse
from mcp_operator_proxy.bridge.server import Bridge
from unit.proxy.bridge.harness import Client, http_client, running, settings, until

KEY = "k" * 32
WORDS = "one\ntwo hunter2-is-it\nthree\n"


def keyed(**changes: Any) -> Any:
    environment = {**os.environ, "PASSWORD": "hunter2-is-it"}
    return settings(**{"logs_key": KEY, "environment": environment, **changes})


async def spoke(bridge: Bridge, http: httpx2.AsyncClient) -> None:
    client = Client(bridge.url, http)
    await client.initialize()
    await client.call("echo", words=WORDS)
    await until(lambda: any(line.text == "three" for line in bridge.hub.log.tail(10)))


def signed(target: str, key: str = KEY, method: str = "GET", at: float = 0.0) -> dict[str, str]:
    return {callers.REQUEST_HEADER: callers.signed_request(key, method, target, time.time() + at)}


def url(bridge: Bridge, target: str) -> str:
    return f"http://127.0.0.1:{bridge.port}{target}"


async def test_the_newest_lines_and_the_process() -> None:
    async with running(keyed()) as bridge, http_client() as http:
        await spoke(bridge, http)
        answer = await http.get(url(bridge, "/logs?lines=2"), headers=signed("/logs?lines=2"))
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        body = answer.json()
        assert [line["text"] for line in body["lines"]] == ["two [env PASSWORD]", "three"]
        assert {line["pid"] for line in body["lines"]} == {bridge.hub.health().pid}
        assert (body["process"]["state"], body["process"]["restarts"], body["process"]["exitCode"]) == (
            "ready",
            0,
            None,
        )
        assert body["process"]["uptimeSeconds"] >= 0
        usual = await http.get(url(bridge, "/logs"), headers=signed("/logs"))
        assert [line["text"] for line in usual.json()["lines"]][-3:] == ["one", "two [env PASSWORD]", "three"]


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({}, 401, "only a proxy that has this server's key"),
        ({callers.REQUEST_HEADER: ""}, 403, "not made with this server's key"),
        ({callers.REQUEST_HEADER: "request-v1 1 x GET /logs 00"}, 403, "not made with this server's key"),
        (signed("/logs", key="o" * 32), 403, "not made with this server's key"),
        (signed("/logs?lines=1"), 403, "signed for another request"),
        (signed("/logs", method="POST"), 403, "signed for another request"),
        ({callers.REQUEST_HEADER: callers.signed(KEY, "user=abc", time.time())}, 403, "another form"),
        ({callers.HEADER: callers.signed(KEY, "user=abc", time.time())}, 401, "only a proxy"),
        ({"authorization": f"Bearer {KEY}"}, 401, "only a proxy"),
    ],
)
async def test_who_proves_nothing_gets_nothing(headers: dict[str, str], status: int, says: str) -> None:
    async with running(keyed()) as bridge, http_client() as http:
        await spoke(bridge, http)
        answer = await http.get(url(bridge, "/logs"), headers=headers)
        assert answer.status_code == status
        assert says in answer.json()["error"]
        assert answer.json().keys() == {"error"}
        assert KEY not in answer.text


@pytest.mark.parametrize("at", [-1000.0, 1000.0])
async def test_an_old_signature_is_refused(at: float) -> None:
    async with running(keyed()) as bridge, http_client() as http:
        answer = await http.get(url(bridge, "/logs"), headers=signed("/logs", at=at))
        assert (answer.status_code, answer.json().keys()) == (403, {"error"})


async def test_a_signature_counts_once() -> None:
    async with running(keyed()) as bridge, http_client() as http:
        shown = signed("/logs")
        assert (await http.get(url(bridge, "/logs"), headers=shown)).status_code == 200
        again = await http.get(url(bridge, "/logs"), headers=shown)
        assert (again.status_code, "shown before" in again.json()["error"]) == (403, True)
        assert (await http.get(url(bridge, "/logs"), headers=signed("/logs"))).status_code == 200


def test_what_was_seen_is_forgotten_when_it_is_too_old_anyway() -> None:
    once = callers.RequestsOnce()
    for now in range(1000, 60_000, 4):  # more than are remembered, over time
        once.believe(KEY, callers.signed_request(KEY, "GET", "/logs", now), "GET", "/logs", now)
    for _ in range(10_000 - len(range(60_000 - 600, 60_000, 4))):
        once.believe(KEY, callers.signed_request(KEY, "GET", "/logs", 60_000), "GET", "/logs", 60_000)
    with pytest.raises(callers.NotBelieved, match="requests came within"):
        once.believe(KEY, callers.signed_request(KEY, "GET", "/logs", 60_000), "GET", "/logs", 60_000)


@pytest.mark.parametrize("lines", ["0", "1001", "x", "-1", "", "1e2", "\u0661", "9" * 5000])
async def test_a_number_that_is_none(lines: str) -> None:
    async with running(keyed()) as bridge, http_client() as http:
        target = httpx2.URL(url(bridge, "/logs")).copy_with(params={"lines": lines})
        answer = await http.get(target, headers=signed(target.raw_path.decode()))
        assert (answer.status_code, answer.json()) == (400, {"error": "lines is a number from 1 to 1000"})


async def test_without_a_key_there_is_no_such_path() -> None:
    async with running(settings()) as bridge, http_client() as http:
        assert (await http.get(url(bridge, "/logs"), headers=signed("/logs"))).status_code == 404
        assert (await http.get(url(bridge, "/status"))).status_code == 200


@pytest.mark.parametrize("isolation", ["session", "user"])
async def test_processes_of_their_own_are_among_them(isolation: str) -> None:
    own = {"identity_key": KEY} if isolation == "user" else {}
    async with running(keyed(isolation=isolation, max_processes=4, **own)) as bridge, http_client() as http:
        client = Client(bridge.url, http)
        if isolation == "user":
            client.headers[callers.HEADER] = callers.signed(KEY, "user=ann", time.time())
        await client.initialize()
        await client.call("echo", words="of one alone\n")
        await until(lambda: any(line.text == "of one alone" for line in bridge.hub.log.tail(10)))
        answer = await http.get(url(bridge, "/logs"), headers=signed("/logs"))
        assert "of one alone" in [line["text"] for line in answer.json()["lines"]]
        assert answer.json()["process"]["processes"] >= 1
        assert (await http.get(url(bridge, "/logs"), headers=dict(client.headers))).status_code == 401


@pytest.mark.parametrize(("isolation", "identity"), [("shared", None), ("session", None), ("user", KEY)])
def test_the_key_of_logs_switches_no_signing_on(
    monkeypatch: pytest.MonkeyPatch, isolation: str, identity: str | None
) -> None:
    monkeypatch.setenv("MCP_BRIDGE_IDENTITY_KEY", KEY)
    found = parse(["--isolation", isolation, "--", "server"])
    assert (found.logs_key, found.identity_key) == (KEY, identity)
    assert KEY not in repr(found)


@pytest.mark.parametrize("key", ["", "short"])
def test_a_key_that_is_none_keeps_nobody_from_serving(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MCP_BRIDGE_IDENTITY_KEY", key)
    assert parse(["--", "server"]).logs_key is None
