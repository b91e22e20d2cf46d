"""Nothing outlasts its token: streams end with it, the fast lane asks each time, sessions go on with a renewed one."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastmcp import FastMCP

from mcp_operator_proxy.authn import lasting
from support.backends import ServedMCP
from support.gateway import Gateway, make_config, running_gateway
from support.issuer import Issuer, running_issuer
from support.rawclient import raw_client

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


class Clock:
    """The time of day, which a test can put on."""

    def __init__(self) -> None:
        self._real = time.time
        self.ahead = 0.0

    def time(self) -> float:
        return self._real() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.time", made.time)
    monkeypatch.setattr(lasting, "_LONGEST", 0.01)
    return made


@contextlib.asynccontextmanager
async def gateway() -> AsyncIterator[tuple[Gateway, Issuer, asyncio.Event]]:
    """With an issuer of tokens for ten minutes, and a tool `wait` that waits for the event."""
    mcp: FastMCP[Any] = FastMCP("s")
    go = asyncio.Event()

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    @mcp.tool
    async def wait() -> str:
        await go.wait()
        return "done"

    async with ServedMCP(mcp) as served, running_issuer() as issuer:
        made = make_config({"s": served.url}, auth={"jwt": [issuer.config()]})
        async with running_gateway(made) as running:
            yield running, issuer, go


def bearer(issuer: Issuer, name: str = "alice", **claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {issuer.token(name, seconds=600, **claims)}"}


EXPIRED = 631.0
"""Seconds after which a token has expired, with the leeway."""
SUM = {"a": 1, "b": 2}


def opened(stream: httpx2.Response) -> None:
    assert stream.status_code == 200
    assert stream.headers["content-type"].startswith("text/event-stream")


async def test_the_lane_asks_each_time_whether_the_token_has_expired(clock: Clock) -> None:
    """The head of a client's requests is the same and remembered; the clock goes on."""
    async with gateway() as (running, issuer, _):

        async def lane() -> float:
            return await running.metric('mcp_proxy_fast_lane_requests_total{outcome="answered"}')

        for front in ("legacy", "modern"):
            async with raw_client(running.url, front, headers=bearer(issuer)) as client:
                begun = await lane()
                for _ in range(4):
                    assert (await client.call("s_add", SUM)).status == 200
                before = await lane()
                assert before >= begun + 2
                clock.ahead += EXPIRED
                assert (await client.call("s_add", SUM)).status == 401
                assert (await client.ask("tools/list", {})).status == 401
                client.headers |= bearer(issuer)
                assert (await client.call("s_add", SUM)).status == 200
                assert await lane() == before


async def test_the_lane_takes_no_token_that_it_does_not_know() -> None:
    async with gateway() as (running, issuer, _), raw_client(running.url, "modern", headers=bearer(issuer)) as client:
        for _ in range(3):
            assert (await client.call("s_add", SUM)).status == 200
        client.headers |= bearer(issuer, aud="x")
        assert (await client.call("s_add", SUM)).status == 401


async def test_a_standing_stream_ends_with_its_token_and_the_session_goes_on(clock: Clock) -> None:
    async with gateway() as (running, issuer, _), raw_client(running.url, "legacy", headers=bearer(issuer)) as client:
        async with running.http.stream("GET", running.url, headers=client.headers) as stream:
            opened(stream)
            clock.ahead += EXPIRED
            await stream.aread()  # it ends, and in order
        client.headers |= bearer(issuer)
        async with running.http.stream("GET", running.url, headers=client.headers) as stream:
            opened(stream)
            assert (await client.call("s_add", SUM)).status == 200


async def test_a_listen_stream_ends_with_its_token(clock: Clock) -> None:
    async with gateway() as (running, issuer, _), raw_client(running.url, "modern", headers=bearer(issuer)) as client:
        body, headers = client.request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        content = json.dumps({"jsonrpc": "2.0", **body}).encode()
        sent = {**client.headers, **headers}
        async with running.http.stream("POST", running.url, content=content, headers=sent) as stream:
            opened(stream)
            clock.ahead += EXPIRED
            assert b"acknowledged" in await stream.aread()


async def test_an_sse_stream_lasts_as_long_as_its_client_shows_good_tokens(clock: Clock) -> None:
    async with gateway() as (running, issuer, _):

        async def post(where: str, number: int, shown: dict[str, str]) -> int:
            ping = {"jsonrpc": "2.0", "id": number, "method": "ping"}
            return (await running.http.post(running.base + where, json=ping, headers=shown)).status_code

        shown = {**ACCEPT, **bearer(issuer)}
        async with running.http.stream("GET", f"{running.url}/sse", headers=shown) as stream:
            opened(stream)
            lines = stream.aiter_lines()
            where = await _data(lines)
            clock.ahead += 300
            assert await post(where, 1, bearer(issuer)) == 202
            assert json.loads(await _data(lines))["id"] == 1
            clock.ahead += EXPIRED - 300  # the token that opened it is no more
            assert await post(where, 2, shown) == 401
            assert await post(where, 3, bearer(issuer, "mallory")) == 404
            assert await post(where, 4, bearer(issuer)) == 202
            assert json.loads(await _data(lines))["id"] == 4
            clock.ahead += EXPIRED
            async for line in lines:
                assert not line.startswith("data: ")


async def _data(lines: AsyncIterator[str]) -> str:
    while not (line := await anext(lines)).startswith("data: "):
        pass
    return line[6:]


async def test_a_call_that_began_with_a_good_token_may_end(clock: Clock) -> None:
    async with gateway() as (running, issuer, go):
        for front in ("legacy", "modern"):
            async with raw_client(running.url, front, headers=bearer(issuer)) as client:
                go.clear()
                in_flight = await running.metric("mcp_proxy_requests_in_flight")
                call = asyncio.create_task(client.call("s_wait"))
                while await running.metric("mcp_proxy_requests_in_flight") <= in_flight:
                    pass
                clock.ahead += EXPIRED
                assert (await client.call("s_add", SUM)).status == 401
                go.set()
                assert (await call).status == 200
