"""Outboxes, calls and sessions: where a message waits, and when it is dropped."""

import asyncio

from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.jsonrpc import Message, notification, request, result
from mcp_operator_proxy.bridge.outbox import Outbox
from mcp_operator_proxy.bridge.sessions import Session


def note(number: int) -> Message:
    return notification("n", {"n": number})


async def test_messages_come_in_order_and_then_the_end() -> None:
    outbox = Outbox()
    reader = asyncio.create_task(outbox.get())
    for number in range(3):
        outbox.push(note(number))
    outbox.close()
    assert await reader == note(0)
    assert [await outbox.get() for _ in range(3)] == [note(1), note(2), None]
    assert not outbox.push(note(9))


async def test_when_full_the_oldest_notification_is_dropped() -> None:
    outbox = Outbox(limit=3)
    messages = [request(1, "ask"), note(1), note(2), note(3)]
    assert all(outbox.push(message) for message in messages)
    assert outbox.take_all() == [messages[0], note(2), note(3)]
    assert outbox.dropped == 1


async def test_full_of_requests_it_takes_responses_only() -> None:
    outbox = Outbox(limit=2)
    assert [outbox.push(request(n, "ask")) for n in range(3)] == [True, True, False]
    assert outbox.push(result(1, {}))
    assert len(outbox) == 3


async def test_a_call_has_one_answer() -> None:
    call = Call(request("id", "m"))
    call.push(note(1))
    call.succeed({"a": 1})
    call.fail(-1, "too late")
    assert not call.push(note(2))
    assert [await call.outbox.get() for _ in range(3)] == [note(1), result("id", {"a": 1}), None]
    assert call.outcome == "result"


async def test_a_call_given_up_tells_the_server_and_its_client() -> None:
    told: list[str] = []
    call = Call(request(1, "m"))
    call.withdraw = told.append
    call.cancel("why", "cancelled")
    assert told == ["why"]
    answer = await call.outbox.get()
    assert answer is not None
    assert answer["error"] == {"code": -32800, "message": "cancelled"}
    assert call.outcome == "error"


async def test_what_nobody_read_on_a_closed_stream_waits_for_the_next() -> None:
    session = Session()
    with session.stream() as first:
        session.deliver(note(1))
        session.deliver(note(2))
        assert await first.get() == note(1)
    session.deliver(note(3))
    with session.stream() as second:
        assert second.take_all() == [note(2), note(3)]


async def test_near_a_call_means_the_newest_that_streams() -> None:
    session = Session()
    old, silent, new = Call(request(1, "m")), Call(request(2, "m"), streams=False), Call(request(3, "m"))
    with session.calling(old), session.calling(new), session.calling(silent):
        session.deliver_near_call(note(1))
        new.succeed({})
        session.deliver_near_call(note(2))
        old.succeed({})
        session.deliver_near_call(note(3))
    assert new.outbox.take_all() == [note(1), result(3, {})]
    assert old.outbox.take_all() == [note(2), result(1, {})]
    with session.stream() as stream:
        assert stream.take_all() == [note(3)]


async def test_a_session_in_use_is_not_idle() -> None:
    session = Session()
    with session.in_use():
        assert session.idle_seconds() == 0
    assert session.idle_seconds() > 0


async def test_a_stream_of_an_ended_session_ends_at_once() -> None:
    session = Session()
    session.end()
    with session.stream() as stream:
        assert await stream.get() is None
