"""Standard error of servers behind bridges, read through a real proxy: by the inspector's page and by REST.

operators see the newest lines and the process, masked · nobody else sees anything, nor is the bridge asked for him
no key, another key, no such bridge, an older one, nonsense, silence: the page answers, and says how to read them
many who look at once share a request · the fleet asks nobody
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_operator_proxy.backends import bridgelogs
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.callers import REQUEST_HEADER
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.inspector.models import ServerDetail
from support.backends import ServedApp, client
from support.gateway import Gateway, running_gateway
from unit.proxy.bridge.harness import running, settings
from unit.proxy.rest.conftest import problem

from .conftest import AUTH, OPS, SECRETS, ask, key

KEY = "k" * 32
ELSEWHERE = "Its standard error is in the log of its container: kubectl -n ns logs deploy/one-server -c server"
LOGS: dict[str, Any] = {"key": {"file": "logs"}, "elsewhere": ELSEWHERE}
OPERATED: dict[str, Any] = {**AUTH, "rest": {"operators": ["ops"]}}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no silent bridge."""
    monkeypatch.setattr(bridgelogs, "ASK_SECONDS", 30.0)


@contextlib.asynccontextmanager
async def before(url: str, logs: dict[str, Any] | None, held: str = KEY, **server: Any) -> AsyncIterator[Gateway]:
    one = {"id": "ns/one", "url": url, **server, **({"logs": logs} if logs is not None else {})}
    config = {
        "revision": "1",
        "servers": [one],
        "routes": [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/one", "prefix": "one"}]}],
        **OPERATED,
    }
    secrets = {**SECRETS, "logs": held, "identity": KEY}
    async with running_gateway(ProxyConfig.model_validate(config), secrets) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def bridged(**changes: Any) -> AsyncIterator[Bridge]:
    environment = {**os.environ, "PASSWORD": "hunter2-is-it"}
    async with running(settings(environment=environment, **{"logs_key": KEY, **changes})) as bridge:
        yield bridge


async def detail(gateway: Gateway, who: str = OPS) -> ServerDetail:
    return ServerDetail.model_validate(await ask(gateway, "servers/ns/one", who))


async def rest(gateway: Gateway, who: str = OPS, lines: int = 100) -> httpx2.Response:
    return await gateway.get(f"/servers/one/logs?lines={lines}", headers=key(who))


async def words(gateway: Gateway, said: str = "one\ntwo hunter2-is-it\n") -> None:
    async with client(gateway.url, auth=SECRETS["alice"]) as through:
        await through.call_tool("one_echo", {"words": said})


async def written(gateway: Gateway, last: str) -> list[str]:
    """The lines, once the last one has come: standard error has a pipe of its own."""
    async with asyncio.timeout(60):
        while True:
            found = (await detail(gateway)).logs
            if found and found[-1] == last:
                return found
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("isolation", ["shared", "session", "user"])
async def test_operators_alone_read_them(isolation: str) -> None:
    own = {"identity_key": KEY, "max_processes": 4} if isolation == "user" else {}
    server = {"identity": {"file": "identity"}} if isolation == "user" else {}
    async with bridged(isolation=isolation, **own) as bridge, before(bridge.url, LOGS, **server) as gateway:
        await words(gateway)
        assert (await written(gateway, "two [env PASSWORD]"))[-2:] == ["one", "two [env PASSWORD]"]
        shown = await detail(gateway)
        assert shown.logs_hint is None
        assert shown.process is not None
        assert (shown.process.state, shown.process.stderr[-1]) == ("ready", "two [env PASSWORD]")
        answer = await rest(gateway, lines=1)
        assert [line["text"] for line in answer.json()["lines"]] == ["two [env PASSWORD]"]
        assert answer.json()["lines"][0]["worker"] is None
        for who in ("alice", "bob"):
            found = await detail(gateway, SECRETS[who])
            assert (found.logs, found.logs_hint, found.process) == ([], None, None)
            assert "PASSWORD" not in problem(await rest(gateway, SECRETS[who]), "forbidden")["detail"]
        assert (await gateway.get("/ui/api/servers/ns/one")).status_code == 401
        assert (await gateway.get("/servers/one/logs")).status_code == 401


@pytest.mark.parametrize(
    ("logs", "held", "bridge_key", "why"),
    [
        ({"elsewhere": ELSEWHERE}, KEY, KEY, ""),
        (LOGS, "o" * 32, KEY, "does not believe the proxy"),
        (LOGS, KEY, None, "its bridge gives none"),
    ],
)
async def test_where_there_are_none_it_says_how_to_read_them(
    logs: dict[str, Any], held: str, bridge_key: str | None, why: str
) -> None:
    async with bridged(logs_key=bridge_key) as bridge, before(bridge.url, logs, held) as gateway:
        await words(gateway)
        shown = await detail(gateway)
        assert (shown.logs, shown.process, shown.state) == ([], None, "ready")
        assert shown.logs_hint is not None
        assert shown.logs_hint.endswith(ELSEWHERE)
        assert why in shown.logs_hint
        told = problem(await rest(gateway), "no-process")["detail"]
        assert told == shown.logs_hint
        assert held not in told


async def test_a_server_elsewhere_has_none() -> None:
    async with bridged() as bridge, before(bridge.url, None) as gateway:
        shown = await detail(gateway)
        assert (shown.logs, shown.logs_hint) == ([], None)
        assert "it is reached at a URL" in problem(await rest(gateway), "no-process")["detail"]


@contextlib.asynccontextmanager
async def odd(answer: Any) -> AsyncIterator[str]:
    """A server whose `/logs` answers so, and which speaks no MCP."""
    async with ServedApp(lambda: Starlette(routes=[Route("/logs", answer)])) as served:
        yield served.url


def _body(state: object = "ready", at: object = 1.0, text: object = "x") -> dict[str, Any]:
    return {"process": {"state": state, "restarts": 0}, "lines": [{"at": at, "pid": 1, "text": text}]}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Response("<html>"), "no proper answer"),
        (JSONResponse({"process": None, "lines": []}), "no proper answer"),
        (JSONResponse(_body(state="odd")), "no proper answer"),
        (JSONResponse(_body(at=1e300)), "no proper answer"),
        (JSONResponse(_body(text=["x"])), "no proper answer"),
        (Response(b"x" * (bridgelogs.MAX_ANSWER + 1)), "no proper answer"),
        (Response(status_code=500), "HTTP status 500"),
        (Response(status_code=302, headers={"location": "/mcp"}), "HTTP status 302"),
    ],
)
async def test_an_odd_answer_takes_nothing_from_the_page(answer: Response, why: str) -> None:
    async def logs(_request: Request) -> Response:
        return answer

    async with odd(logs) as url, before(url, LOGS, connectTimeoutSeconds=0.5) as gateway:
        shown = await detail(gateway)
        assert shown.logs == []
        assert shown.logs_hint is not None
        assert why in shown.logs_hint


async def test_a_bridge_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridgelogs, "ASK_SECONDS", 0.2)

    async def logs(_request: Request) -> Response:
        await asyncio.Event().wait()
        return Response()

    async with odd(logs) as url, before(url, LOGS, connectTimeoutSeconds=0.5) as gateway:
        hint = (await detail(gateway)).logs_hint
        assert hint is not None
        assert "did not answer within" in hint


async def test_a_bridge_that_is_away() -> None:
    async with before("http://127.0.0.1:9/mcp", LOGS, connectTimeoutSeconds=0.5) as gateway:
        hint = (await detail(gateway)).logs_hint
        assert hint is not None
        assert "cannot be reached" in hint


async def test_who_looks_at_once_shares_a_request_and_others_cause_none() -> None:
    seen: list[str] = []
    asked, let = asyncio.Event(), asyncio.Event()

    async def logs(request: Request) -> Response:
        asked.set()
        seen.append(request.headers[REQUEST_HEADER])
        await let.wait()
        return JSONResponse(_body())

    async with odd(logs) as url, before(url, LOGS, connectTimeoutSeconds=0.5) as gateway:
        await ask(gateway, "fleet", OPS)
        await gateway.get("/servers", headers=key(OPS))
        await detail(gateway, SECRETS["alice"])
        await rest(gateway, SECRETS["alice"])
        assert seen == []
        looking = [asyncio.create_task(detail(gateway)) for _ in range(5)]
        await asyncio.wait_for(asked.wait(), 30)
        let.set()
        assert {tuple((await look).logs) for look in looking} == {("x",)}
        assert len(seen) <= 2, "those that came after the answer make one more at most"
        await detail(gateway)
        assert len(set(seen)) == len(seen), "each request is signed anew"
