"""What a state says, and to whom."""

import pytest

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.eras.states import Claims, States, binding_of
from mcp_operator_proxy.sessions.ids import Keys

ANN, BOB = Principal("ann"), Principal("bob")
CALL = {"name": "t", "arguments": {"a": 1, "b": [1, 2]}}
BINDING = binding_of(ANN, "/mcp", "tools/call", CALL)
KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"


def states(*keys: bytes) -> States:
    found = Keys(keys)
    return States(lambda: found)


@pytest.mark.parametrize(
    "claims",
    [
        Claims(BINDING, 100.0, "call", 3, "instance", "10.0.0.1:8081"),
        Claims(BINDING, 100.0, inner="a state\udc80 of a server ü"),
        Claims(BINDING, 100.0),
    ],
)
def test_there_and_back(claims: Claims) -> None:
    sealed = states(KEY).seal(claims)
    assert states(KEY).open(sealed, 99.0) == claims
    assert states(OTHER, KEY).open(sealed, 99.0) == claims
    assert states(KEY).open(sealed, 100.0) is None
    assert states(OTHER).open(sealed, 99.0) is None
    assert "call" not in sealed
    assert "10.0.0.1" not in sealed


def test_every_altered_letter_counts() -> None:
    sealed = states(KEY).seal(Claims(BINDING, 100.0, "call"))
    for at in range(len(sealed)):
        altered = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        assert states(KEY).open(altered, 0.0) is None


@pytest.mark.parametrize("bad", [None, 7, "", "mo1.", "mo1.v1.x", "v1.abc", "mo1." + "x" * 2_000_000, "mo1.\udc80"])
def test_what_is_no_state(bad: object) -> None:
    assert states(KEY).open(bad, 0.0) is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (binding_of(ANN, "/mcp", "tools/call", {"arguments": {"b": [1, 2], "a": 1}, "name": "t", "_meta": {}}), True),
        (binding_of(ANN, "/mcp", "tools/call", {**CALL, "requestState": "s", "inputResponses": {}}), True),
        (binding_of(BOB, "/mcp", "tools/call", CALL), False),
        (binding_of(None, "/mcp", "tools/call", CALL), False),
        (binding_of(ANN, "/other", "tools/call", CALL), False),
        (binding_of(ANN, "/mcp", "prompts/get", CALL), False),
        (binding_of(ANN, "/mcp", "tools/call", {**CALL, "name": "u"}), False),
        (binding_of(ANN, "/mcp", "tools/call", {**CALL, "arguments": {"a": 1}}), False),
        (binding_of(ANN, "/mcp", "resources/read", {"uri": "t"}), False),
    ],
)
def test_what_a_state_is_bound_to(other: str, same: bool) -> None:
    assert (other == BINDING) is same


def test_only_the_state_of_a_result_that_asks_is_sealed() -> None:
    done = {"content": [], "requestState": "x"}
    assert states(KEY).wrapped(done, BINDING) is done
    asks = {"resultType": "input_required", "inputRequests": {}}
    assert states(KEY).wrapped(asks, BINDING) is asks
