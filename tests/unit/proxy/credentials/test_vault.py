"""Tokens in their stores: encrypted, told apart, written once, leased, sealed anew."""

import asyncio
import uuid

import pytest
from sqlalchemy import select

from mcp_operator_proxy.services.credentials.token import Stored, Token, issuer_of
from mcp_operator_proxy.services.credentials.vault import GONE, Late, Vault, _key
from mcp_operator_proxy.services.settings import StoreSettings
from mcp_operator_proxy.services.stores import Stores
from mcp_operator_proxy.stores.records.models import Credential

NOW = 1_800_000_000.0
TOKEN = Token("access-secret", "refresh-secret", NOW + 300, ("openid", "offline_access"), "id-secret", {"at": "x"})


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def user() -> str:
    return f"user-{uuid.uuid4().hex}"


async def row_of(stores: Stores, name: str) -> Credential:
    async with (await stores.records()).transaction() as session:
        found = await session.scalar(select(Credential).where(Credential.user_id == name))
        assert found is not None
        return found


async def test_what_is_put_is_got_from_the_copy_and_from_the_records(stores: Stores) -> None:
    vault, alice = Vault(stores), user()
    assert await vault.put(alice, "corp", TOKEN) == Stored(alice, "corp", TOKEN, 1)
    assert await vault.get(alice, "corp") == Stored(alice, "corp", TOKEN, 1)
    assert await vault.get(alice, "corp", fresh=True) == Stored(alice, "corp", TOKEN, 1)
    assert await vault.get(user(), "corp") is None
    assert await vault.get(alice, "other") is None


async def test_nothing_secret_is_kept_in_the_clear_or_shown(stores: Stores) -> None:
    vault, alice = Vault(stores), user()
    stored = await vault.put(alice, "corp", TOKEN)
    row, copy = await row_of(stores, alice), await stores.keyvalue.get(_key(alice, "corp"))
    assert copy is not None
    for place in (row.sealed, copy, repr(stored).encode(), repr(TOKEN).encode(), repr(vars(row)).encode()):
        for secret in (b"access-secret", b"refresh-secret", b"id-secret"):
            assert secret not in place
    assert alice.encode() not in copy
    assert alice not in _key(alice, "corp")


async def test_a_record_moved_to_another_user_does_not_open(stores: Stores) -> None:
    vault, alice, mallory = Vault(stores), user(), user()
    await vault.put(alice, "corp", TOKEN)
    await vault.put(mallory, "corp", Token("hers"))
    theirs = (await row_of(stores, alice)).sealed
    async with (await stores.records()).transaction() as session:
        row = await session.scalar(select(Credential).where(Credential.user_id == mallory))
        assert row is not None
        row.sealed = theirs
    copy = await stores.keyvalue.get(_key(alice, "corp"))
    assert copy is not None
    await stores.keyvalue.put(_key(mallory, "corp"), copy)
    assert await vault.get(mallory, "corp") is None


async def test_of_two_writers_of_one_version_one_is_late(stores: Stores) -> None:
    vault, alice = Vault(stores), user()
    await vault.put(alice, "corp", TOKEN)
    results = await asyncio.gather(
        *(vault.put(alice, "corp", Token(f"new {n}"), version=1) for n in range(5)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, Stored)]
    assert len(won) == 1
    assert all(isinstance(result, Late) for result in results if result is not won[0])
    assert await vault.get(alice, "corp") == won[0]
    assert await vault.get(alice, "corp", fresh=True) == won[0]


async def test_writers_that_begin_a_record_at_once_replace_each_other(stores: Stores) -> None:
    vault, alice = Vault(stores), user()
    written = await asyncio.gather(*(vault.put(alice, "corp", Token(f"new {n}")) for n in range(5)))
    assert sorted(stored.version for stored in written) == [1, 2, 3, 4, 5]
    newest = max(written, key=lambda stored: stored.version)
    assert await vault.get(alice, "corp") == await vault.get(alice, "corp", fresh=True) == newest


async def test_what_is_forgotten_is_gone_and_a_late_write_does_not_bring_it_back(stores: Stores) -> None:
    vault, alice = Vault(stores), user()
    stored = await vault.put(alice, "corp", TOKEN)
    await vault.put(alice, "other", TOKEN)
    assert await vault.issuers(alice) == ["corp", "other"]
    assert await vault.forget(alice, "corp") == 1
    await vault._cache(stored, found=True)  # a reader that was slow
    assert await stores.keyvalue.get(_key(alice, "corp")) == GONE
    assert await vault.get(alice, "corp") is None
    with pytest.raises(Late):
        await vault.put(alice, "corp", TOKEN, version=stored.version)
    assert await vault.failed(stored, retry_after=1) is None
    assert await vault.forget(alice) == 1
    assert await vault.forget(alice) == 0
    await vault.put(alice, "corp", Token("again"))
    assert (await vault.get(alice, "corp")) == Stored(alice, "corp", Token("again"), 1)


async def test_one_of_many_gets_the_lease_until_it_writes_or_dies(stores: Stores) -> None:
    clock = Clock()
    vault, alice = Vault(stores, clock), user()
    stored = await vault.put(alice, "corp", TOKEN)
    taken = await asyncio.gather(*(vault.lease(alice, "corp", 60) for _ in range(4)))
    assert [lease for lease in taken if lease is not None] == [stored]
    clock.now += 61
    assert await vault.lease(alice, "corp", 60) == stored
    await vault.put(alice, "corp", Token("new", "refresh 2", NOW + 999), version=1)
    assert await vault.lease(alice, "corp", 60) is not None
    assert await vault.lease(user(), "corp", 60) is None


async def test_what_is_due_ends_soon_can_be_renewed_and_is_not_being_renewed(stores: Stores) -> None:
    clock = Clock()
    vault, alice = Vault(stores, clock), user()
    for issuer, token in {
        "soon": TOKEN,
        "sooner": Token("a", "r", NOW - 5),
        "later": Token("a", "r", NOW + 601),
        "never": Token("a", "r"),
        "not renewable": Token("a", None, NOW),
        "failed": Token("a", "r", NOW),
        "broken": Token("a", "r", NOW),
        "leased": Token("a", "r", NOW),
    }.items():
        stored = await vault.put(alice, issuer, token)
        if issuer == "failed":
            noted = await vault.failed(stored, retry_after=30)
            assert noted is not None
            assert (noted.failures, noted.version, noted.problem) == (1, 2, None)
        if issuer == "broken":
            assert await vault.failed(stored, retry_after=0, problem="sign in again") is not None
        if issuer == "leased":
            await vault.lease(alice, issuer, 60)

    async def mine() -> list[str]:
        return [issuer for who, issuer in await vault.due(600) if who == alice]

    assert await mine() == ["sooner", "soon"]
    clock.now += 31
    assert await mine() == ["sooner", "failed", "soon", "later"]
    broken = await vault.get(alice, "broken")
    assert broken is not None
    assert broken.problem == "sign in again"
    assert (await vault.put(alice, "broken", TOKEN)).problem is None


async def test_what_an_older_key_encrypted_is_encrypted_anew(settings: StoreSettings) -> None:
    first, second = settings.encryption_keys[0], "second key of the test, long enough"
    old = Stores(settings)
    both = Stores(StoreSettings(settings.redis, settings.database, (second, first)))
    new = Stores(StoreSettings(settings.redis, settings.database, (second,)))
    alice, bob = user(), user()
    try:
        await Vault(old).put(alice, "corp", TOKEN)
        await Vault(both).put(bob, "corp", TOKEN)
        assert await Vault(new).get(alice, "corp", fresh=True) is None
        assert await Vault(both).reseal() == 1
        assert await Vault(both).reseal() == 0
        found = await Vault(new).get(alice, "corp", fresh=True)
        assert found is not None
        assert found.token == TOKEN
        assert await Vault(old).get(alice, "corp", fresh=True) is None
        assert await Vault(new).get(bob, "corp", fresh=True) is not None
    finally:
        for stores in (old, both, new):
            await stores.close()


async def test_without_its_redis_the_records_answer(settings: StoreSettings) -> None:
    if settings.redis is None:
        pytest.skip("it has none")
    stores = Stores(StoreSettings("redis://127.0.0.1:1/0", settings.database, settings.encryption_keys))
    try:
        vault, alice = Vault(stores), user()
        await vault.put(alice, "corp", TOKEN)
        found = await vault.get(alice, "corp")
        assert found is not None
        assert found.token == TOKEN
        assert await vault.forget(alice) == 1
    finally:
        await stores.close()


@pytest.mark.parametrize("name", ["", "x" * 256])
async def test_names_that_no_record_holds_are_refused(stores: Stores, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        await Vault(stores).put(name, "corp", TOKEN)
    with pytest.raises(ValueError, match="1 to 255"):
        await Vault(stores).put("alice", name, TOKEN)


def test_the_issuer_of_a_server_fits_into_a_record() -> None:
    assert issuer_of("team/github") == "server:team/github"
    long = f"{'n' * 63}/{'s' * 253}"
    assert len(issuer_of(long)) <= 255
    assert issuer_of(long) != issuer_of(long[:-1] + "t")
