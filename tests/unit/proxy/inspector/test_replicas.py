"""The inspector of a proxy with replicas: whichever a browser has met tells what all of them know."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.inspector.models import Traffic
from mcp_operator_proxy.inspector.traffic import PROCESSES, cursor, cursor_of
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.workers.siblings import HEADER, prove, replica_keys
from support.gateway import make_config
from support.replicas import SECRETS, SIGNED, Replica, Wire, running_replicas
from support.waiting import Eventually
from unit.proxy.inspector.conftest import AUTH, key
from unit.proxy.inspector.conftest import SECRETS as KEYS
from unit.proxy.rest.backends import calculator

ADD = {"name": "calc_add", "arguments": {"a": 1}}


@pytest.fixture
async def replicas() -> AsyncIterator[list[Replica]]:
    async with (
        calculator() as served,
        running_replicas(3, make_config({"calc": served.url}, **SIGNED, **AUTH), {**SECRETS, **KEYS}) as found,
    ):
        yield found


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=20) as client:
        yield client


async def ask(http: httpx2.AsyncClient, replica: Replica, path: str, who: str = "ops", **query: Any) -> Any:
    base = replica.url.removesuffix("/mcp")
    answer = await http.get(f"{base}/ui/api/{path}", params=query, headers=key(KEYS[who]))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def call(http: httpx2.AsyncClient, replica: Replica, who: str) -> None:
    """A session at the replica, and a call in it."""
    wire = Wire(http, **key(KEYS[who]))
    await wire.open(replica)
    answer = await wire.ask(replica, "tools/call", **ADD)
    assert answer.status_code == 200, answer.text


async def test_whoever_is_asked_tells_of_all(
    replicas: list[Replica], http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    last = {who: (await ask(http, replicas[0], "traffic", who))["last"] for who in ("ops", "alice")}
    for replica, who in zip(replicas, ("alice", "bob", "alice"), strict=True):
        await call(http, replica, who)

    async def seen(replica: Replica, who: str) -> list[str]:
        found = Traffic.model_validate(await ask(http, replica, "traffic", who, after=last[who]))
        assert len({one.id for one in found.exchanges}) == len(found.exchanges)
        return [one.caller for one in found.exchanges if one.method == "tools/call" and one.caller]

    for replica in replicas:  # a page's next question may meet another one
        await eventually(lambda replica=replica: _is(seen(replica, "ops"), ["alice", "bob", "alice"]))
        assert await seen(replica, "alice") == ["alice", "alice"]
        (server,) = (await ask(http, replica, "fleet"))["servers"]
        assert server["calls"] == 3
        sessions = await ask(http, replica, "sessions")
        assert sorted(one["caller"] for one in sessions["client"]) == ["alice", "alice", "bob"]
        assert (await ask(http, replica, "me"))["proxy"]["replicas"] == 3


async def _is(found: Any, wanted: object) -> bool:
    return bool(await found == wanted)


async def test_without_one_that_is_gone(replicas: list[Replica], http: httpx2.AsyncClient) -> None:
    await call(http, replicas[0], "alice")
    await replicas[2].stop()
    (server,) = (await ask(http, replicas[1], "fleet"))["servers"]
    assert server["calls"] == 1


async def test_what_replicas_tell_each_other_is_for_them_alone(
    replicas: list[Replica], http: httpx2.AsyncClient
) -> None:
    one, now = replicas[0], int(time.time())
    (good,), (strange,) = replica_keys(one.proxy.holder), replica_keys(Holder())

    async def status(path: str, proof: str, method: str = "GET") -> int:
        return (await http.request(method, f"http://{one.address}{path}", headers={HEADER: proof})).status_code

    fleet = "/inspector/fleet"
    assert await status(fleet, prove(good, "GET", fleet, b"", now)) == 200
    assert await status(fleet, prove(strange, "GET", fleet, b"", now)) == 403
    assert await status(fleet, prove(good, "GET", "/inspector/sessions", b"", now)) == 403
    for method, path in (
        ("GET", "/wishes"),
        ("PUT", "/wishes"),
        ("PUT", "/restart?server=ns%2Fcalc"),
        ("GET", "/logs"),
    ):
        assert await status(path, prove(good, method, path, b"", now), method) == 403
    public = f"{one.url.removesuffix('/mcp')}{fleet}"
    answer = await http.get(public, headers={HEADER: prove(good, "GET", fleet, b"", now)})
    assert answer.status_code == 401


def test_a_cursor_forgets_processes_that_are_gone() -> None:
    many = {f"p-{number}_": number for number in range(PROCESSES + 3)}
    kept = cursor_of(cursor(many))
    assert len(kept) == PROCESSES
    assert kept["p-102_"] == 102
    assert "p-2_" not in kept
