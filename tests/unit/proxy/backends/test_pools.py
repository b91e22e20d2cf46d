import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from mcp_operator_proxy.backends.pools import Pools
from support.backends import eventually


class Server:
    """Answers a request when it is allowed to, and counts its connections."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.connections = 0
        self.waiting = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.waiting += 1
                await self.go.wait()
                self.waiting -= 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            pass
        finally:
            self.connections -= 1
            writer.close()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, str]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    yield server, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    listening.close()
    await eventually(lambda: not server.connections)


def pools(kept_seconds: float = 600) -> Pools:
    return Pools(httpx2.AsyncHTTPTransport, kept_seconds=kept_seconds, busy=3)


async def test_one_after_the_other_they_share_one_connection(served: tuple[Server, str]) -> None:
    server, url = served
    server.go.set()
    transport = pools()
    async with httpx2.AsyncClient(transport=transport) as http:
        for _ in range(5):
            assert (await http.get(url)).text == "ok"
        assert server.connections == 1
        assert len(transport._pools) == 1


async def test_a_pool_takes_so_many_at_once_and_ends_when_it_is_not_needed_any_more(served: tuple[Server, str]) -> None:
    server, url = served
    transport = pools(kept_seconds=0.01)
    async with httpx2.AsyncClient(transport=transport) as http:
        calls = [asyncio.ensure_future(http.get(url)) for _ in range(10)]
        await eventually(lambda: server.waiting == 10)
        assert [pool.busy for pool in transport._pools] == [3, 3, 3, 1]
        server.go.set()
        assert {answer.text for answer in await asyncio.gather(*calls)} == {"ok"}
        await eventually(lambda: len(transport._pools) == 1 and server.connections == 3)
        assert (await http.get(url)).text == "ok"


async def test_a_place_is_given_back_however_an_exchange_ends(served: tuple[Server, str]) -> None:
    server, url = served
    transport = pools()
    async with httpx2.AsyncClient(transport=transport) as http:
        given_up = asyncio.ensure_future(http.get(url))
        await eventually(lambda: server.waiting == 1)
        given_up.cancel()
        await asyncio.wait([given_up])
        with pytest.raises(httpx2.ConnectError):
            await http.get("http://127.0.0.1:1/")
        server.go.set()
        async with http.stream("GET", url) as half_read:
            assert transport._pools[0].busy == 1
            await half_read.aclose()
        assert [pool.busy for pool in transport._pools] == [0]
