"""Isolation `shared`: many sessions, one process.

Cases: ids and tokens · streams and JSON · cancellation · disconnect · list_changed · log levels · subscriptions ·
requests of the server · tasks · initialize from the cache.
"""

import asyncio

import pytest

from unit.proxy.bridge.conftest import Connect, Start
from unit.proxy.bridge.harness import raw, until


async def test_one_process_serves_all_sessions(start: Start, connect: Connect) -> None:
    bridge = await start()
    clients = [await connect(bridge) for _ in range(3)]
    pids = {(await client.call("echo"))["pid"] for client in clients}
    assert len(pids) == 1
    assert len(await clients[0].heard("initialize")) == 1
    assert len(await clients[0].heard("notifications/initialized")) == 1


async def test_initialize_is_answered_from_the_servers_own_result(start: Start, connect: Connect) -> None:
    bridge = await start(*raw("--protocol-version", "2025-03-26"))
    client = await connect(bridge, initialize=False)
    result = (await client.initialize("2025-11-25"))["result"]
    assert result["protocolVersion"] == "2025-03-26", "what the server speaks, not what the client asked for"
    assert result["serverInfo"] == {"name": "raw", "version": "1"}
    assert result["capabilities"] == {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
    }


async def test_a_response_alone_is_json_and_keeps_the_clients_id(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    response = await client.post(
        {
            "jsonrpc": "2.0",
            "id": "mine",
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"a": "ü\u2028"}},
        }
    )
    assert response.headers["content-type"] == "application/json"
    assert response.json()["id"] == "mine"
    assert response.json()["result"]["structuredContent"]["a"] == "ü\u2028"


async def test_progress_goes_to_its_own_request_with_its_own_token(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two = await connect(bridge), await connect(bridge)
    streams = await asyncio.gather(
        *(
            client.stream_of("progress", "same", steps=5, text=f"{n}-{who}")
            for n in range(10)
            for who, client in (("one", one), ("two", two))
        )
    )
    for stream in streams:
        *notifications, response = stream
        text = response["result"]["structuredContent"]["text"]
        assert [n["params"]["progress"] for n in notifications] == [0, 1, 2, 3, 4]
        assert {n["params"]["message"] for n in notifications} == {text}
        assert {n["params"]["progressToken"] for n in notifications} == {"same"}


async def test_a_client_that_takes_no_stream_gets_the_response_alone(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    client.headers["accept"] = "application/json"
    response = await client.stream_of("progress", 1, steps=3, text="t")
    assert len(response) == 1


async def test_a_client_that_takes_only_streams_gets_one(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    client.headers["accept"] = "text/event-stream"
    response = await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert response.headers["content-type"] == "text/event-stream"


async def test_cancelling_reaches_the_server_with_the_servers_id(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two = await connect(bridge), await connect(bridge)
    held = [
        asyncio.create_task(client.request("tools/call", {"name": "hold", "arguments": {"key": key}}, request_id=7))
        for client, key in ((one, "one"), (two, "two"))
    ]

    async def both_held() -> bool:
        return len([c for c in await one.heard("tools/call") if c["name"] == "hold"]) == 2

    await until(both_held)
    await one.notify("notifications/cancelled", {"requestId": 7, "reason": "enough"})
    assert (await held[0])[-1]["error"]["code"] == -32800
    (cancelled,) = await one.heard("notifications/cancelled")
    assert cancelled["reason"] == "enough"
    await two.call("release", key="two")
    assert (await held[1])[-1]["result"]["structuredContent"] == {"key": "two"}, "the other session's request 7 lives"


async def test_nobody_cancels_what_is_not_theirs(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two = await connect(bridge), await connect(bridge)
    await two.notify("notifications/cancelled", {"requestId": 1})
    await two.notify("notifications/cancelled", {})
    assert await one.heard("notifications/cancelled") == []


async def test_a_client_that_goes_away_cancels_its_call(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two = await connect(bridge), await connect(bridge)
    call = asyncio.create_task(one.stream_of("hold", key="k"))

    async def held() -> bool:
        return any(c["name"] == "hold" for c in await two.heard("tools/call"))

    await until(held)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    async def cancelled() -> bool:
        return [c["reason"] for c in await two.heard("notifications/cancelled")] == ["the client has gone"]

    await until(cancelled)


async def test_list_changed_reaches_every_session(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two = await connect(bridge), await connect(bridge)
    async with one.listening() as first, two.listening() as second:
        await one.call("say", message={"method": "notifications/tools/list_changed"})
        for stream in (first, second):
            assert (await anext(stream))["method"] == "notifications/tools/list_changed"


async def test_what_comes_before_the_stream_is_open_waits_for_it(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    await client.call("say", message={"method": "notifications/prompts/list_changed"})
    async with client.listening() as stream:
        assert (await anext(stream))["method"] == "notifications/prompts/list_changed"


async def test_of_two_streams_the_newest_gets_the_message(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    async with client.listening() as older:
        async with client.listening() as newer:
            await client.call("say", message={"method": "notifications/tools/list_changed"})
            assert (await anext(newer))["method"] == "notifications/tools/list_changed"
        await client.call("say", message={"method": "notifications/prompts/list_changed"})
        assert (await anext(older))["method"] == "notifications/prompts/list_changed"


def log_message(level: str, data: str) -> dict[str, object]:
    return {"method": "notifications/message", "params": {"level": level, "data": data}}


async def test_each_session_hears_the_log_at_the_level_it_asked_for(start: Start, connect: Connect) -> None:
    bridge = await start()
    silent, errors, chatty = [await connect(bridge) for _ in range(3)]
    await errors.request("logging/setLevel", {"level": "error"})
    await chatty.request("logging/setLevel", {"level": "debug"})
    for level in ("debug", "error"):
        await silent.call("say", message=log_message(level, level))
    await silent.call("say", message={"method": "notifications/tools/list_changed"})
    heard = {}
    for name, client in (("silent", silent), ("errors", errors), ("chatty", chatty)):
        heard[name] = []
        async with client.listening() as stream:
            async for message in stream:
                if message["method"] == "notifications/tools/list_changed":
                    break
                heard[name].append(message["params"]["data"])
    assert heard == {"silent": [], "errors": ["error"], "chatty": ["debug", "error"]}


async def test_the_server_is_given_the_most_verbose_level_of_all(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two, three = [await connect(bridge) for _ in range(3)]
    await one.request("logging/setLevel", {"level": "error"})
    await two.request("logging/setLevel", {"level": "debug"})
    await three.request("logging/setLevel", {"level": "warning"})
    assert [p["level"] for p in await one.heard("logging/setLevel")] == ["error", "debug"]
    await two.delete()
    assert [p["level"] for p in await one.heard("logging/setLevel")] == ["error", "debug", "warning"]
    (answer,) = await one.request("logging/setLevel", {"level": "loud"})
    assert answer["error"]["code"] == -32602


async def test_the_server_is_subscribed_once_for_all_sessions(start: Start, connect: Connect) -> None:
    bridge = await start()
    one, two, third = [await connect(bridge) for _ in range(3)]
    for client in (one, two):
        assert (await client.request("resources/subscribe", {"uri": "a://x"}))[-1]["result"] == {}
    await third.request("resources/subscribe", {"uri": "a://other"})
    assert [p["uri"] for p in await one.heard("resources/subscribe")] == ["a://x", "a://other"]
    await one.call("say", message={"method": "notifications/resources/updated", "params": {"uri": "a://x/part"}})
    await one.call("say", message={"method": "notifications/tools/list_changed"})
    for client, expected in ((one, "updated"), (two, "updated"), (third, "list_changed")):
        async with client.listening() as stream:
            assert (await anext(stream))["method"].endswith(expected)
    await one.request("resources/unsubscribe", {"uri": "a://x"})
    assert await one.heard("resources/unsubscribe") == []
    await two.delete()
    assert await one.heard("resources/unsubscribe") == [{"uri": "a://x"}], "the last one left, by ending its session"


async def test_many_subscribing_at_once_subscribe_once(start: Start, connect: Connect) -> None:
    bridge = await start()
    clients = [await connect(bridge) for _ in range(6)]
    await asyncio.gather(*(client.request("resources/subscribe", {"uri": "a://x"}) for client in clients))
    assert len(await clients[0].heard("resources/subscribe")) == 1


@pytest.mark.parametrize(("method", "reply"), [("sampling/createMessage", "error"), ("ping", "result")])
async def test_requests_of_the_server_are_answered_by_the_bridge(
    start: Start, connect: Connect, method: str, reply: str
) -> None:
    client = await connect(await start())
    answer = (await client.call("ask", method=method))["reply"]
    assert answer["id"] == "question"
    assert reply in answer


async def test_tasks_of_other_sessions_cannot_be_seen(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    (answer,) = await client.request("tasks/list")
    assert answer["error"]["code"] == -32601


async def test_unknown_methods_are_the_servers_business(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    (answer,) = await client.request("vendor/thing", {"x": 1})
    assert answer["error"] == {"code": -32601, "message": "no vendor/thing"}


async def test_a_large_result_comes_whole(start: Start, connect: Connect) -> None:
    client = await connect(await start())
    assert len((await client.call("big", size=3_000_000))["text"]) == 3_000_000


async def test_the_bridges_own_settings_are_not_in_the_servers_environment(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_BRIDGE_NAME", "x")
    monkeypatch.setenv("SOME_SETTING", "value")
    client = await connect(await start())
    assert (await client.call("environment", name="MCP_BRIDGE_NAME"))["value"] is None
    assert (await client.call("environment", name="SOME_SETTING"))["value"] == "value"
