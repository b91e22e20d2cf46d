"""Users' tokens are renewed before they end, and when a server refuses one: once among all replicas.

A lease on the record keeps others away while a token is renewed; the new one is written, in place of just the version that was
read, before anybody uses it. A refresh token that is good once (RFC 9700, section 4.14) is so never shown twice by two replicas.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from mcp_operator_proxy.services.credentials.grants import GrantFailed, GrantRefused
from mcp_operator_proxy.services.credentials.metrics import CredentialMetrics
from mcp_operator_proxy.services.credentials.token import Stored, Token
from mcp_operator_proxy.services.credentials.vault import Late, Vault
from mcp_operator_proxy.stores.keyvalue import KeyValue, StoreUnavailable
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)
LEASE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.2
"""Between two looks at a record that another replica renews."""
BACKOFF: Final = (30.0, 3600.0)
"""After the first failure, doubled with each, up to the second; less a random part of a half."""
AT_ONCE: Final = 8
WRITES: Final = 6
"""Attempts to write a token that was given, as the one before may be good no more."""
END_SECONDS: Final = 15.0
"""For what is being renewed when the proxy ends."""

Renewal = Callable[[Token], Awaitable[Token]]


@dataclass(frozen=True)
class World:
    """What the refresher works on. `renewal` gives the way to renew a user's token of an issuer, None where that is not configured
    any more; `changed` tells of a new token, `ended` of one that needs another sign-in, by user, issuer and error code."""

    vault: Callable[[], Vault]
    renewal: Callable[[str, Stored], Renewal | None]
    changed: Callable[[str, str], Awaitable[None]]
    ended: Callable[[str, str, str], Awaitable[None]]
    metrics: CredentialMetrics


class Refresher:
    def __init__(self, world: World) -> None:
        self._world = world
        self._running: dict[tuple[str, str], asyncio.Task[Stored | None]] = {}

    async def renewed(self, user: str, issuer: str, shown: str) -> Stored | None:
        """The user's token after the access token `shown`: of whoever renewed it. With `problem` where that is not possible,
        the same token where it did not work this time, None where there is none any more.

        Raises:
            StoreUnavailable: the records cannot be reached.
        """
        key = (user, issuer)
        task = self._running.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._renew(user, issuer, shown))
            self._running[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: tuple[str, str], task: "asyncio.Task[Stored | None]") -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # retrieved, in case that nobody waits any more

    async def _renew(self, user: str, issuer: str, shown: str) -> Stored | None:
        vault, loop = self._world.vault(), asyncio.get_running_loop()
        until = loop.time() + LEASE_SECONDS
        while True:
            leased = await vault.lease(user, issuer, LEASE_SECONDS)
            if leased is not None:
                if leased.token.access_token == shown and leased.problem is None:
                    return await self._ask(vault, leased)
                await vault.release(leased)
                return leased
            found = await vault.get(user, issuer, fresh=True)
            if found is None or found.token.access_token != shown or found.problem or loop.time() > until:
                return found
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, vault: Vault, stored: Stored) -> Stored | None:
        """Renew what is leased, and write what came of it."""
        user, issuer = stored.user, stored.issuer
        renewal = self._world.renewal(issuer, stored)
        if renewal is None or stored.token.refresh_token is None:
            await vault.release(stored)
            return stored
        try:
            token = await renewal(stored.token)
        except GrantRefused as error:
            return await self._failed(vault, stored, error.code, permanent=error.permanent)
        except GrantFailed as error:
            return await self._failed(vault, stored, str(error), permanent=False)
        except BaseException:
            with contextlib.suppress(StoreUnavailable):
                await vault.release(stored)
            raise
        self._world.metrics.refreshes.labels(issuer).inc()
        try:
            written = await self._write(vault, stored, token)
        except Late:  # the user signed in or out meanwhile: that counts
            return await vault.get(user, issuer, fresh=True)
        logger.info("a token was renewed", extra={"issuer": issuer})
        await self._world.changed(user, issuer)
        return written

    async def _write(self, vault: Vault, stored: Stored, token: Token) -> Stored:
        for attempt in range(WRITES):
            try:
                return await vault.put(stored.user, stored.issuer, token, version=stored.version)
            except StoreUnavailable:
                if attempt == WRITES - 1:
                    logger.exception("a renewed token cannot be kept", extra={"issuer": stored.issuer})
                    raise
                await asyncio.sleep(LOOK_SECONDS * 2**attempt)
        raise AssertionError

    async def _failed(self, vault: Vault, stored: Stored, why: str, *, permanent: bool) -> Stored | None:
        self._world.metrics.failures.labels(stored.issuer).inc()
        problem = f"your sign-in at {stored.issuer} has ended ({why})" if permanent else None
        noted = await vault.failed(stored, retry_after=backoff(stored.failures), problem=problem)
        logger.warning("a token was not renewed", extra={"issuer": stored.issuer, "error": why, "permanent": permanent})
        if noted is None:
            return await vault.get(stored.user, stored.issuer, fresh=True)
        if permanent:
            await self._world.changed(stored.user, stored.issuer)
            await self._world.ended(stored.user, stored.issuer, why)
        return noted

    async def run(self, keyvalue: KeyValue, every: float, within: float) -> None:
        """Renew what ends within `within` seconds, every `every` seconds, for ever."""
        while True:
            await asyncio.sleep(every * random.uniform(0.8, 1.0))  # noqa: S311 - replicas that began together
            try:
                await self.once(keyvalue, every, within)
            except StoreUnavailable as error:
                logger.warning("tokens cannot be renewed", extra={"error": str(error)})
            except Exception:
                logger.exception("renewing tokens failed")

    async def once(self, keyvalue: KeyValue, every: float, within: float) -> int:
        """One pass, where no other replica makes one; how many tokens were looked at. Raises StoreUnavailable."""
        async with contextlib.AsyncExitStack() as stack:
            with contextlib.suppress(StoreUnavailable):  # then the leases alone keep replicas apart
                if not await stack.enter_async_context(keyvalue.lock("credentials", max(every, LEASE_SECONDS))):
                    return 0
            return await self._pass(within)

    async def _pass(self, within: float) -> int:
        seen: set[tuple[str, str]] = set()
        gate = asyncio.Semaphore(AT_ONCE)
        vault = self._world.vault()

        async def one(user: str, issuer: str) -> None:
            async with gate:
                stored = await vault.get(user, issuer, fresh=True)
                if stored is not None:
                    await self.renewed(user, issuer, stored.token.access_token)

        while due := [key for key in await vault.due(within) if key not in seen]:
            seen.update(due)
            await asyncio.gather(*(one(*key) for key in due))
        await vault.reseal()
        return len(seen)

    async def close(self) -> None:
        """Let what is being renewed end: an answer that is lost now may cost its user a sign-in."""
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=END_SECONDS)
        await cancel(running)


def backoff(failures: int) -> float:
    """Seconds until the attempt after `failures` and this one."""
    whole: float = min(BACKOFF[0] * 2 ** min(failures, 20), BACKOFF[1])
    return whole * random.uniform(0.5, 1.0)  # noqa: S311 - it keeps replicas and tokens apart, no secret
