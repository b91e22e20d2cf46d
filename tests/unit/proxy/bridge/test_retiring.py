"""The end of a bridge behind a Service: clients move to another replica, calls in flight end."""

import asyncio

from unit.proxy.bridge.conftest import Connect, Start
from unit.proxy.bridge.harness import until


async def test_a_retiring_bridge_serves_on_and_closes_each_connection(start: Start, connect: Connect) -> None:
    bridge = await start()
    client = await connect(bridge)
    assert "connection" not in (await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).headers
    async with client.listening() as stream:
        bridge.hub.retire()
        assert [message async for message in stream] == [], "it ends, for the client to open another one elsewhere"
    response = await client.post({"jsonrpc": "2.0", "id": 2, "method": "ping"})
    assert (response.status_code, response.headers["connection"]) == (200, "close")
    assert "result" in await (await connect(bridge, initialize=False)).initialize()


async def test_then_calls_in_flight_end(start: Start, connect: Connect) -> None:
    bridge = await start(linger=0.01, drain_timeout=30.0)
    client, late = await connect(bridge), await connect(bridge, initialize=False)
    holding = asyncio.create_task(client.call("hold", key="k"))
    await until(lambda: bridge.hub.busy)
    bridge.stop()
    await until(lambda: bridge.hub.draining)
    assert "the bridge is stopping" in (await late.initialize())["error"]["message"]
    await client.call("release", key="k")
    assert await holding == {"key": "k"}
