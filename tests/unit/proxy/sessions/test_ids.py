"""Session ids: what is sealed is read again by its owner on its route, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.sessions.ids import CLIENT_BYTES, MAX_AGE_SECONDS, Keys, Ticket

OLD, NEW, OTHER = (bytes([n]) * 32 for n in (1, 2, 3))
KEYS = Keys((OLD,))
CLIENT = {"clientInfo": {"name": "c", "version": "1"}, "capabilities": {"elicitation": {}, "sampling": {}}}
ANN, BOB = Principal("ann"), Principal("bob")
NOW = 1_800_000_000.0

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(st.text(max_size=30), json_values, max_size=6)


def ticket(**fields: object) -> Ticket:
    values = {
        "instance": "i" * 16,
        "nonce": "n" * 16,
        "path": "/mcp",
        "owner": "10.0.0.7:8081",
        "protocol_version": "2025-11-25",
        "client": CLIENT,
        "issued": NOW,
    }
    return Ticket(**{**values, **fields})  # type: ignore[arg-type]


def test_a_common_id_is_short_and_visible_ascii() -> None:
    text = KEYS.seal(ticket(), ANN)

    assert len(text) < 280
    assert all(0x21 <= ord(c) <= 0x7E for c in text)
    assert "ann" not in text


@given(st.sampled_from([None, ANN, BOB]), st.text(max_size=60), st.text(max_size=40))
def test_the_owner_reads_what_was_sealed(principal: Principal | None, path: str, owner: str) -> None:
    made = ticket(path=path, owner=owner)

    assert KEYS.open(KEYS.seal(made, principal), path, principal, NOW) == made


@given(objects, objects)
def test_whatever_a_client_says_of_itself_the_id_stays_short(info: dict[str, object], caps: dict[str, object]) -> None:
    made = ticket(client={"clientInfo": info, "capabilities": caps})
    text = KEYS.seal(made, ANN)
    read = KEYS.open(text, "/mcp", ANN, NOW)

    assert len(text) < 2 * CLIENT_BYTES
    assert read is not None


def test_capabilities_are_kept_before_the_rest() -> None:
    client = {
        "clientInfo": {"name": "n" * 500, "version": "1", "icons": ["i" * 2000]},
        "capabilities": {"elicitation": {"form": {}}, "experimental": {"x": "y" * 2000}},
    }
    read = KEYS.open(KEYS.seal(ticket(client=client), None), "/mcp", None, NOW)

    assert read is not None
    assert read.client["capabilities"] == {"elicitation": {"form": {}}}
    assert read.client["clientInfo"] == {"name": "n" * 64, "version": "1"}


@given(st.data())
def test_an_altered_id_is_none(data: st.DataObject) -> None:
    text = KEYS.seal(ticket(), ANN)
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda c: c != text[at]))

    assert KEYS.open(text[:at] + letter + text[at + 1 :], "/mcp", ANN, NOW) is None


@given(st.text(max_size=400) | st.from_regex(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", fullmatch=True))
def test_a_forged_id_is_none(text: str) -> None:
    assert KEYS.open(text, "/mcp", None, NOW) is None


@pytest.mark.parametrize(
    ("path", "principal", "now", "keys"),
    [
        ("/other", ANN, NOW, (OLD,)),
        ("/mcp", BOB, NOW, (OLD,)),
        ("/mcp", None, NOW, (OLD,)),
        ("/mcp", ANN, NOW + MAX_AGE_SECONDS + 1, (OLD,)),
        ("/mcp", ANN, NOW - 3600, (OLD,)),
        ("/mcp", ANN, NOW, (OTHER,)),
    ],
    ids=["foreign route", "foreign principal", "no principal", "too old", "from the future", "foreign key"],
)
def test_an_id_is_good_for_one_owner_route_time_and_key(
    path: str, principal: Principal | None, now: float, keys: tuple[bytes, ...]
) -> None:
    text = KEYS.seal(ticket(), ANN)

    assert KEYS.open(text, "/mcp", ANN, NOW) is not None
    assert Keys(keys).open(text, path, principal, now) is None


def test_an_anonymous_id_is_not_a_principals() -> None:
    assert KEYS.open(KEYS.seal(ticket(), None), "/mcp", ANN, NOW) is None


def test_keys_are_rotated_without_losing_sessions() -> None:
    before, both, after = Keys((OLD,)), Keys((NEW, OLD)), Keys((NEW,))
    old = before.seal(ticket(), ANN)
    new = both.seal(ticket(), ANN)

    assert both.open(old, "/mcp", ANN, NOW) is not None
    assert after.open(new, "/mcp", ANN, NOW) is not None
    assert after.open(old, "/mcp", ANN, NOW) is None


@pytest.mark.parametrize("keys", [(), (b"short",), (OLD, b"")])
def test_weak_keys_are_refused(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Keys(keys)


def test_a_peer_proves_that_it_has_a_key() -> None:
    proof = Keys((NEW, OLD)).prove("c")

    assert Keys((OLD, NEW)).proven("c", proof)
    assert not Keys((OLD, NEW)).proven("d", proof)
    assert not Keys((OTHER,)).proven("c", proof)
    assert not KEYS.proven("c", "\xe9")


def test_a_key_is_never_shown() -> None:
    assert OLD.decode() not in repr(KEYS)
    assert repr(OLD) not in repr(KEYS)
