"""Heads that come again are not parsed again, and nobody can tell: not by how bytes are cut, nor by what has changed since."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.fastlane.connection import BackendConnection, Malformed
from mcp_operator_proxy.fastlane.repeats import LONGEST, MOST, Repeats
from support.backends import ServedApp
from support.gateway import Gateway, make_config, running_gateway
from support.rawcalls import answers, wire
from support.rawclient import Front, RawClient, raw_client
from support.scripted import Scripted

TAKEN = "mcp_proxy_fast_lane_requests_total"
KEYS = {"auth": {"apiKeys": [{"name": "alice", "secret": {"file": "alice"}}]}}
KEY = "alice-0123456789abcdef"
HEAD = b"POST /mcp HTTP/1.1\r\ncontent-length: 4\r\n\r\n"


@pytest.mark.parametrize(
    ("came", "body", "then", "found"),
    [
        (HEAD + b"abcd", b"abcd", HEAD + b"wxyz", b"wxyz"),
        (HEAD + b"abcd", b"abcd", HEAD + b"wxy", None),
        (HEAD + b"abcd", b"abcd", HEAD + b"wxyz1", None),
        (HEAD + b"abcd", b"abcd", HEAD.replace(b"4", b"3") + b"wxyz", None),
        (HEAD + b"abcd", b"abcd", HEAD[1:] + b"wxyz", None),
        (HEAD + b"abcd", b"abcd", b"", None),
        (HEAD + b"abcd", b"abcd", b"wxyz", None),
        (HEAD + b"abcd", b"abcd", HEAD, None),
        # What was not a whole message, and alone, is not remembered.
        (HEAD + b"abcd", b"cd", HEAD + b"wxyz", None),
        (HEAD + b"abcd" + HEAD + b"abcd", b"abcd", HEAD + b"wxyz", None),
        (b"abcd", b"abcd", b"abcd", None),
        (HEAD, b"", HEAD, None),
        (b"\r\n\r\n" + HEAD + b"abcd", b"abcd", b"\r\n\r\n" + HEAD + b"wxyz", None),
        (b"P" * LONGEST + HEAD + b"abcd", b"abcd", b"P" * LONGEST + HEAD + b"wxyz", None),
    ],
)
def test_only_a_whole_message_with_the_same_head_is_known(
    came: bytes, body: bytes, then: bytes, found: bytes | None
) -> None:
    repeats: Repeats[str] = Repeats()
    repeats.keep(came, body, "made")
    assert repeats.find(then) == (None if found is None else ("made", found))


def test_few_heads_are_kept() -> None:
    repeats: Repeats[int] = Repeats()
    messages = [b"GET /%d\r\n\r\nx" % number for number in range(MOST + 1)]
    for number, message in enumerate(messages):
        repeats.keep(message, b"x", number)
    assert repeats.find(messages[0]) is None
    assert repeats.find(messages[-1]) == (MOST, b"x")
    repeats.forget()
    assert repeats.find(messages[-1]) is None


# The backend's side


class _Transport:
    closing = False

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


class _Heard:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.said.append((status, dict(headers), bytearray()))

    def received(self, chunk: bytes) -> None:
        self.said[0][2].extend(chunk)

    def ended(self) -> None:
        self.said.append("ended")

    def lost(self, error: Exception | None) -> None:
        self.said.append(type(error))


def connected() -> tuple[BackendConnection, _Transport, list[BackendConnection]]:
    free: list[BackendConnection] = []
    connection, transport = BackendConnection(free.append, lambda _: None), _Transport()
    connection.connection_made(cast("asyncio.BaseTransport", transport))
    return connection, transport, free


def counted(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 " + status, b"content-type: application/json", *lines])
    return head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body


RESPONSES = {
    "short": (counted(b"{}"), 200, b"{}"),
    "other, as long": (counted(b"[]"), 200, b"[]"),
    "longer": (counted(b'{"a":1}'), 200, b'{"a":1}'),
    "with a header": (counted(b"{}", b"x-a: b"), 200, b"{}"),
    "an error": (counted(b"{}", status=b"404 Not Found"), 404, b"{}"),
    "nothing": (counted(b""), 200, b""),
    "in chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        200,
        b"{}",
    ),
    "after an informational one": (b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + counted(b"{}"), 200, b"{}"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
}


@given(st.lists(st.sampled_from(sorted(RESPONSES)), min_size=1, max_size=12), st.integers(0, 2**32))
def test_responses_are_heard_alike_however_their_bytes_are_cut(names: list[str], seed: int) -> None:
    dice = random.Random(seed)
    connection, transport, free = connected()
    for number, name in enumerate(names):
        data, status, body = RESPONSES[name]
        heard = _Heard()
        connection.send(heard, b"")
        cuts = sorted(dice.sample(range(1, len(data)), dice.choice((0, 0, 0, 1, 3))))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            connection.data_received(data[start:end])
        (got_status, headers, got_body), end_of_it = heard.said
        assert (got_status, bytes(got_body), end_of_it) == (status, body, "ended")
        assert (headers.get(b"x-a") == b"b") == (name == "with a header")
        assert len(free) == number + 1
        assert not transport.closing


def test_a_head_that_has_come_before_is_not_parsed() -> None:
    connection, _, _ = connected()
    for body in (b'{"a":1}', b'{"a":2}'):
        heard = _Heard()
        connection.send(heard, b"")
        connection.data_received(counted(body))
        assert heard.said[0][2] == body
        connection._parser = None  # the second goes without


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\n", counted(b"{}"), b"x"])
def test_what_nobody_asked_for_ends_the_connection(more: bytes) -> None:
    connection, transport, _ = connected()
    for data in (counted(b"{}"), counted(b"{}") + more):
        heard = _Heard()
        connection.send(heard, b"")
        connection.data_received(data)
    assert transport.closing
    assert heard.said[-1] in ("ended", Malformed)


def test_a_receiver_that_gives_up_within_a_known_head_hears_no_more() -> None:
    class Fleeting(_Heard):
        def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
            super().headed(status, headers)
            connection.abort()

    connection, transport, free = connected()
    connection.send(_Heard(), b"")
    connection.data_received(counted(b"{}"))
    fleeting = Fleeting()
    connection.send(fleeting, b"")
    connection.data_received(counted(b"{}"))
    assert fleeting.said == [(200, fleeting.said[0][1], b"")]
    assert transport.closing
    assert len(free) == 1


def test_a_receiver_that_breaks_over_a_known_head_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(_Heard):
        def received(self, chunk: bytes) -> None:
            raise ZeroDivisionError(chunk)

    connection, transport, _ = connected()
    for heard in (_Heard(), Broken()):
        connection.send(heard, b"")
        connection.data_received(counted(b"{}"))
    assert heard.said[-1] is ZeroDivisionError
    assert transport.closing
    assert "could not be handled" in caplog.text


# The client's side


def taken(gateway: Gateway) -> float:
    return gateway.proxy.metrics.registry.get_sample_value(TAKEN, {"outcome": "answered"}) or 0.0


@contextlib.asynccontextmanager
async def stage(front: Front) -> AsyncIterator[tuple[RawClient, Gateway]]:
    scripted = Scripted(front)
    async with (
        ServedApp(scripted.app) as served,
        running_gateway(make_config({"a": served.url})) as gateway,
        raw_client(gateway.url, front) as client,
    ):
        yield client, gateway


@pytest.mark.parametrize("front", ["legacy", "modern"])
async def test_requests_are_answered_alike_however_their_bytes_are_cut(front: Front) -> None:
    dice = random.Random(7)
    async with stage(front) as (client, gateway):
        await client.call("a_text")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
        before, number = taken(gateway), 1000
        for _ in range(60):
            count = dice.choice((1, 1, 1, 2, 3))
            ids = range(number, number + count)
            number += count
            data = b"".join(wire(client, gateway.base, "a_text", i) for i in ids)
            cuts = sorted(dice.sample(range(1, len(data)), dice.choice((0, 0, 0, 1, 4))))
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                writer.write(data[start:end])
                await asyncio.sleep(0)
            found = await answers(reader, count)
            assert [answer["id"] for answer in found] == list(ids)
            assert all("result" in answer for answer in found)
        assert taken(gateway) > before + 40  # pipelined ones are not for the lane
        writer.close()


async def _said(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    if b"content-length" in fields:
        return int(head.split()[1]), await reader.readexactly(int(fields[b"content-length"]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return int(head.split()[1]), body


@pytest.mark.parametrize("front", ["legacy", "modern"])
async def test_a_known_head_lets_nobody_in_who_may_not_any_more(front: Front) -> None:
    scripted = Scripted(front)
    async with ServedApp(scripted.app) as served:
        config = make_config({"a": served.url}, **KEYS)
        async with (
            running_gateway(config, {"alice": KEY}) as gateway,
            raw_client(gateway.url, front, headers={"authorization": f"Bearer {KEY}"}) as client,
        ):
            await client.call("a_text")
            reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
            for number in (101, 102, 103):
                status, body = await _said(writer, reader, wire(client, gateway.base, "a_text", number))
                assert (status, "result" in json.loads(body)) == (200, True)
            await gateway.proxy.apply(config, {"alice": "another-0123456789abcdef"})
            status, _ = await _said(writer, reader, wire(client, gateway.base, "a_text", 104))
            assert status == 401
            writer.close()


async def test_a_known_head_does_not_keep_a_session_alive() -> None:
    async with stage("legacy") as (client, gateway):
        await client.call("a_text")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
        for number in (101, 102, 103):
            assert (await _said(writer, reader, wire(client, gateway.base, "a_text", number)))[0] == 200
        assert (await client.http.delete(client.url, headers=client.headers)).status_code == 200
        assert (await _said(writer, reader, wire(client, gateway.base, "a_text", 104)))[0] == 404
        writer.close()


async def test_the_body_still_has_to_name_what_a_known_head_names() -> None:
    async with stage("modern") as (client, gateway):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
        for number in (101, 102, 103):
            request = wire(client, gateway.base, "a_text", number)
            assert (await _said(writer, reader, request))[0] == 200
        head, body = request.split(b"\r\n\r\n")
        status, said = await _said(writer, reader, head + b"\r\n\r\n" + body.replace(b"a_text", b"a_tool"))
        assert (status, json.loads(said)["error"]["code"]) == (400, -32020)
        writer.close()
