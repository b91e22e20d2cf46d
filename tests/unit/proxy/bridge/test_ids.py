"""Ids and tokens of many callers on one wire: whatever the order, each hears only of its own."""

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.bridge.ids import CallTable

IDS = st.integers() | st.text(max_size=5)
REQUESTS = st.lists(st.tuples(st.integers(0, 3), IDS, st.none() | IDS), min_size=1, max_size=30)


def request(request_id: int | str, token: object = None) -> dict[str, Any]:
    params: dict[str, Any] = {"name": "x", "_meta": {"other": 1}}
    if token is not None:
        params["_meta"]["progressToken"] = token
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


@given(REQUESTS, st.randoms(use_true_random=False))
def test_every_answer_and_all_progress_find_their_own_request(
    requests: list[tuple[int, int | str, int | str | None]], order: random.Random
) -> None:
    table: CallTable[int] = CallTable()
    wire = []
    for number, (_client, request_id, token) in enumerate(requests):
        message = request(request_id, token)
        before = copy.deepcopy(message)
        wire_id, outgoing = table.add(message, number)
        assert message == before, "what came in is not changed"
        assert outgoing == {**message, "id": wire_id, "params": outgoing["params"]}
        wire.append((number, wire_id, outgoing))
    assert len({wire_id for _, wire_id, _ in wire}) == len(requests)
    order.shuffle(wire)
    for number, wire_id, outgoing in wire:
        _client, request_id, token = requests[number]
        sent = outgoing["params"]["_meta"].get("progressToken")
        assert (sent is None) == (token is None)
        if token is not None:
            progress = {"method": "notifications/progress", "params": {"progressToken": sent, "progress": 1}}
            assert table.progress(progress) == (number, {**progress, "params": {"progressToken": token, "progress": 1}})
        response = {"jsonrpc": "2.0", "id": wire_id, "result": {"n": number}}
        assert table.response(response) == (number, {**response, "id": request_id})
        assert table.response(response) is None, "only once"
        assert token is None or table.progress(progress) is None, "none after the answer"
    assert len(table) == 0


@given(st.lists(st.booleans(), max_size=30))
def test_wire_ids_are_never_used_again(answered: list[bool]) -> None:
    table: CallTable[int] = CallTable()
    seen = set()
    for number, is_answered in enumerate(answered):
        wire_id, _ = table.add(request(1), number)
        assert wire_id not in seen
        seen.add(wire_id)
        if is_answered:
            table.response({"id": wire_id, "result": {}})
        else:
            assert table.remove(wire_id)


@pytest.mark.parametrize("echo", [1, "1", 1.0])
def test_servers_that_echo_the_id_in_another_type_are_understood(echo: object) -> None:
    table: CallTable[str] = CallTable()
    table.add(request("mine"), "me")
    assert table.response({"id": echo, "result": {}}) == ("me", {"id": "mine", "result": {}})


@pytest.mark.parametrize("echo", [None, True, 2, "x", "¹", 1.5, [], {}, "9" * 5000])
def test_what_is_no_id_of_ours_finds_nobody(echo: object) -> None:
    table: CallTable[str] = CallTable()
    table.add(request("mine", "token"), "me")
    assert table.response({"id": echo, "result": {}}) is None
    assert table.progress({"params": {"progressToken": echo}}) is None
    assert list(table) == ["me"]


def test_progress_for_a_request_that_asked_for_none_finds_nobody() -> None:
    table: CallTable[str] = CallTable()
    wire_id, _ = table.add(request(1), "me")
    assert table.progress({"params": {"progressToken": wire_id}}) is None


@pytest.mark.parametrize("params", [{}, {"_meta": None}, {"_meta": {"progressToken": True}}, {"_meta": []}])
def test_params_without_a_token_are_sent_as_they_are(params: dict[str, Any]) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": params}
    assert CallTable[str]().add(message, "me")[1]["params"] == params


def test_clear_gives_all_that_are_waiting() -> None:
    table: CallTable[str] = CallTable()
    for owner in "abc":
        table.add(request(1), owner)
    assert table.clear() == ["a", "b", "c"]
    assert len(table) == 0
