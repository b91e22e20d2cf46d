"""Tokens of users: durable in the records, encrypted, with a short-lived copy in the key-value store.

A write names the version that it replaces, so that of two replicas one finds that it was late. A lease on a record says which
replica renews it at the moment: it stands in the records too, so that replicas without a common Redis keep to it.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from mcp_operator_proxy.services.credentials.token import NAME_MOST, Stored, Token
from mcp_operator_proxy.services.stores import Stores
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.stores.records.models import Credential
from mcp_operator_proxy.stores.sealed import NotOpened

__all__ = ["Late", "Stored", "Token", "Vault"]
logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 30.0
GONE_SECONDS: Final = 10.0
GONE: Final = b"gone"
"""Stands in the cache after a record was removed, so that a reader that found it just before does not put it back."""
PAGE: Final = 100
TRIES: Final = 8
PROBLEM_MOST: Final = 255


class Late(Exception):
    """Somebody else has written the record meanwhile, or removed it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A user's token of an issuer, as far as it is no secret."""

    user: str
    issuer: str
    expires_at: datetime | None
    updated_at: datetime
    failures: int
    problem: str | None


class Vault:
    """Every method raises StoreUnavailable. `clock` gives seconds since the epoch."""

    def __init__(self, stores: Stores, clock: Callable[[], float] = time.time) -> None:
        self._stores = stores
        self._clock = clock

    async def put(self, user: str, issuer: str, token: Token, version: int | None = None) -> Stored:
        """Keep `token` in place of `version`; without one, in place of whatever is there. It has no problem any more.

        Raises:
            Late: the record has another version, or is gone.
            ValueError: a name is empty or longer than 255 characters.
        """
        if not (0 < len(user) <= NAME_MOST and 0 < len(issuer) <= NAME_MOST):
            raise ValueError(f"the names of a user and an issuer have 1 to {NAME_MOST} characters")
        values = self._columns(user, issuer, token)
        async with (await self._stores.records()).transaction() as session:
            written = None
            while written is None:
                written = await self._write(session, user, issuer, values, version)
        stored = Stored(user, issuer, token, written)
        await self._cache(stored)
        return stored

    async def _write(
        self, session: AsyncSession, user: str, issuer: str, values: dict[str, Any], version: int | None
    ) -> int | None:
        """The version written; None where another transaction began the record meanwhile."""
        mine = (Credential.user_id == user, Credential.issuer == issuer)
        found = await session.scalar(select(Credential.version).where(*mine).with_for_update())
        if version is not None and found != version:
            raise Late(f"the credential of {issuer} was written meanwhile")
        if found is not None:
            await session.execute(update(Credential).where(*mine).values(**values, version=found + 1))
            return found + 1
        try:
            async with session.begin_nested():
                session.add(Credential(user_id=user, issuer=issuer, version=1, **values))
        except IntegrityError:
            return None
        return 1

    def _columns(self, user: str, issuer: str, token: Token) -> dict[str, Any]:
        return {
            "sealed": self._stores.sealer.seal(token.to_json(), _purpose(user, issuer)),
            "sealed_with": self._stores.sealer.current,
            "refreshable": token.refresh_token is not None,
            "expires_at": None if token.expires_at is None else datetime.fromtimestamp(token.expires_at, UTC),
            "failures": 0,
            "retry_at": None,
            "leased_until": None,
            "problem": None,
            "updated_at": self._now(),
        }

    async def get(self, user: str, issuer: str, *, fresh: bool = False) -> Stored | None:
        """The user's token; with `fresh` by the records, not from the copy.

        None, too, where it was encrypted with a key that is not known any more: the user signs in again.
        """
        cached: bytes | None = None
        if not fresh:
            with contextlib.suppress(StoreUnavailable):  # it makes things quick, no more
                cached = await self._stores.keyvalue.get(_key(user, issuer))
            if cached is not None and cached != GONE and (copy := self._uncached(user, issuer, cached)) is not None:
                return copy
        async with (await self._stores.records()).transaction() as session:
            row = await session.scalar(
                select(Credential).where(Credential.user_id == user, Credential.issuer == issuer)
            )
        stored = None if row is None else self._opened(row)
        if stored is not None:
            await self._cache(stored, found=True)
        return stored

    async def forget(self, user: str, issuer: str | None = None) -> int:
        """Remove the user's token of an issuer, or all of the user's; how many there were."""
        which = [Credential.user_id == user]
        if issuer is not None:
            which.append(Credential.issuer == issuer)
        async with (await self._stores.records()).transaction() as session:
            issuers = list(await session.scalars(select(Credential.issuer).where(*which)))
            await session.execute(delete(Credential).where(*which))
        for gone in issuers:
            with contextlib.suppress(StoreUnavailable):
                await self._stores.keyvalue.put(_key(user, gone), GONE, GONE_SECONDS)
        return len(issuers)

    async def issuers(self, user: str) -> list[str]:
        """Of which the user has tokens, sorted."""
        async with (await self._stores.records()).transaction() as session:
            found = await session.scalars(select(Credential.issuer).where(Credential.user_id == user))
            return sorted(found)

    async def overview(self, user: str | None, limit: int) -> list[Kept]:
        """What is known of tokens without opening any: of one user, or of all; sorted."""
        asked = select(Credential).order_by(Credential.user_id, Credential.issuer).limit(limit)
        async with (await self._stores.records()).transaction() as session:
            rows = await session.scalars(asked if user is None else asked.where(Credential.user_id == user))
            return [Kept(r.user_id, r.issuer, r.expires_at, r.updated_at, r.failures, r.problem) for r in rows]

    # Renewing

    async def due(self, within: float, limit: int = PAGE) -> list[tuple[str, str]]:
        """User and issuer of what ends within so many seconds and may be renewed now; what ends first comes first."""
        now = self._clock()
        async with (await self._stores.records()).transaction() as session:
            rows = await session.execute(
                select(Credential.user_id, Credential.issuer)
                .where(
                    Credential.refreshable.is_(True),
                    Credential.problem.is_(None),
                    Credential.expires_at <= _instant(now + within),
                    or_(Credential.retry_at.is_(None), Credential.retry_at <= _instant(now)),
                    or_(Credential.leased_until.is_(None), Credential.leased_until <= _instant(now)),
                )
                .order_by(Credential.expires_at, Credential.id)
                .limit(limit)
            )
            return [(user, issuer) for user, issuer in rows]

    async def lease(self, user: str, issuer: str, seconds: float) -> Stored | None:
        """Take the right to renew a token, for so long at most; None where another has it, or there is no such token.

        What is returned is by the records. The lease ends with the next write.
        """
        now = self._clock()
        async with (await self._stores.records()).transaction() as session:
            row = await session.scalar(
                select(Credential).where(Credential.user_id == user, Credential.issuer == issuer).with_for_update()
            )
            if row is None or (row.leased_until is not None and row.leased_until > _instant(now)):
                return None
            row.leased_until = _instant(now + seconds)
        return self._opened(row)

    async def release(self, stored: Stored) -> None:
        """Give a lease back without having written anything."""
        async with (await self._stores.records()).transaction() as session:
            await session.execute(update(Credential).where(*_of(stored)).values(leased_until=None))

    async def failed(self, stored: Stored, *, retry_after: float, problem: str | None = None) -> Stored | None:
        """Note that renewing did not work, and end the lease. With `problem` the user has to sign in again.

        None where the record has another version by now: nothing is noted then.
        """
        values = {
            "failures": stored.failures + 1,
            "retry_at": _instant(self._clock() + retry_after),
            "leased_until": None,
            "problem": None if problem is None else problem[:PROBLEM_MOST],
            "version": stored.version + 1,
            "updated_at": self._now(),
        }
        async with (await self._stores.records()).transaction() as session:
            done = await session.execute(
                update(Credential).where(*_of(stored)).values(**values).returning(Credential.id)
            )
            if done.scalar() is None:
                return None
        told = None if problem is None else problem[:PROBLEM_MOST]
        noted = Stored(stored.user, stored.issuer, stored.token, stored.version + 1, stored.failures + 1, told)
        await self._cache(noted)
        return noted

    async def reseal(self, limit: int = PAGE) -> int:
        """Encrypt with the first key what another encrypted; how many were. 0: nothing is left that can be opened.

        What no known key opens stays as it is.
        """
        sealer, done, last = self._stores.sealer, 0, 0
        while done < limit:
            async with (await self._stores.records()).transaction() as session:
                rows = list(
                    await session.scalars(
                        select(Credential)
                        .where(Credential.sealed_with != sealer.current, Credential.id > last)
                        .order_by(Credential.id)
                        .limit(min(PAGE, limit - done))
                        .with_for_update()
                    )
                )
                if not rows:
                    break
                for row in rows:
                    last = row.id
                    with contextlib.suppress(NotOpened):
                        row.sealed, row.sealed_with = sealer.renewed(row.sealed), sealer.current
                        done += 1
        return done

    # Copies

    async def _cache(self, stored: Stored, *, found: bool = False) -> None:
        """Leave the newest version in the key-value store. With `found`, what was read: it never replaces anything newer."""
        keyvalue, key = self._stores.keyvalue, _key(stored.user, stored.issuer)
        sealed = self._stores.sealer.seal(
            {"token": stored.token.to_json(), "of": [stored.version, stored.failures, stored.problem]},
            f"copy {_purpose(stored.user, stored.issuer)}",
        )
        with contextlib.suppress(StoreUnavailable):
            for _ in range(TRIES):
                if await keyvalue.add(key, sealed, CACHE_SECONDS):
                    return
                if (there := await keyvalue.get(key)) is None:
                    continue
                copy = self._uncached(stored.user, stored.issuer, there)
                if (there == GONE and found) or (copy is not None and copy.version >= stored.version):
                    return
                if await keyvalue.replace(key, there, sealed, CACHE_SECONDS):
                    return

    def _uncached(self, user: str, issuer: str, sealed: bytes) -> Stored | None:
        try:
            data = self._stores.sealer.open(sealed, f"copy {_purpose(user, issuer)}")
        except NotOpened:
            return None
        return Stored(user, issuer, Token.from_json(data["token"]), *data["of"])

    def _opened(self, row: Credential) -> Stored | None:
        try:
            data = self._stores.sealer.open(row.sealed, _purpose(row.user_id, row.issuer))
        except NotOpened:
            logger.warning("a credential does not open with the encryption keys", extra={"issuer": row.issuer})
            return None
        return Stored(row.user_id, row.issuer, Token.from_json(data), row.version, row.failures, row.problem)

    def _now(self) -> datetime:
        return _instant(self._clock())


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _purpose(user: str, issuer: str) -> str:
    return f"credential {json.dumps([user, issuer])}"


def _key(user: str, issuer: str) -> str:
    """Tells nobody who reads the store's keys who has signed in where."""
    return f"credential:{hashlib.sha256(_purpose(user, issuer).encode()).hexdigest()}"


def _of(stored: Stored) -> tuple[ColumnElement[bool], ...]:
    """That record, as long as it has not been written since."""
    return (
        Credential.user_id == stored.user,
        Credential.issuer == stored.issuer,
        Credential.version == stored.version,
    )
