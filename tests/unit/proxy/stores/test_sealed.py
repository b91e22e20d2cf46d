"""Encryption at rest: rotation, purposes, and keys that nobody ever sees."""

import pytest
from cryptography.fernet import Fernet

from mcp_operator_proxy.stores.sealed import BadKey, NotOpened, Sealer

OLD = "an old key of more than 32 characters"
NEW = Fernet.generate_key().decode()
TOKEN = {"access_token": "secret-token", "expires_in": 3600, "scope": ["a", "b"]}


def test_what_is_sealed_opens_for_its_purpose_alone() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(TOKEN, "credential:alice:github")
    assert b"secret-token" not in sealed
    assert sealer.open(sealed, "credential:alice:github") == TOKEN
    for other in ("credential:bob:github", "credential:alice:gitlab", ""):
        with pytest.raises(NotOpened, match="another purpose"):
            sealer.open(sealed, other)


def test_keys_are_rotated_without_a_gap() -> None:
    sealed = Sealer([OLD]).seal(TOKEN, "p")
    both = Sealer([NEW, OLD])
    assert both.open(sealed, "p") == TOKEN
    renewed = both.renewed(sealed)
    assert Sealer([NEW]).open(renewed, "p") == TOKEN
    with pytest.raises(NotOpened):
        Sealer([NEW]).open(sealed, "p")
    with pytest.raises(NotOpened):
        Sealer([NEW]).renewed(sealed)
    assert both.current == Sealer([NEW]).current != Sealer([OLD]).current


@pytest.mark.parametrize("damage", [b"", b"gAAAA", b"\xff\xfe", b"not a token"])
def test_what_is_damaged_does_not_open(damage: bytes) -> None:
    with pytest.raises(NotOpened):
        Sealer([NEW]).open(damage, "p")


def test_a_changed_byte_does_not_open() -> None:
    sealed = bytearray(Sealer([NEW]).seal(TOKEN, "p"))
    sealed[40] = ord("A") if sealed[40] != ord("A") else ord("B")
    with pytest.raises(NotOpened):
        Sealer([NEW]).open(bytes(sealed), "p")


@pytest.mark.parametrize(
    ("keys", "why"), [([], "there is no"), (["short-secret"], "key 1"), ([NEW, "x" * 31], "key 2")]
)
def test_a_key_that_cannot_be_used_is_told_and_not_shown(keys: list[str], why: str) -> None:
    with pytest.raises(BadKey, match=why) as refused:
        Sealer(keys)
    assert "short-secret" not in str(refused.value)
