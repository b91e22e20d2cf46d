"""Rate limits: moving windows for each caller, tool, server or route, in this process or in the Redis that replicas share."""

import asyncio
import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter

from mcp_operator_proxy.services.windows import Call, Key, Limited, Window, Windows
from mcp_operator_proxy.tasks import spawn

if TYPE_CHECKING:
    from limits import RateLimitItem

    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)
ANSWER_SECONDS: Final = 1.0
"""Redis that has not answered by then is away."""
AWAY_SECONDS: Final = 5.0
"""So long it is not asked again then; calls are counted in this process meanwhile."""
SAY_SECONDS: Final = 60.0


class Limits:
    """`check` a call before it is made. The fast lane asks `lane`."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._windows: Windows | None = None
        self._shared: _Shared | None = None
        self._limited = Counter(
            "mcp_proxy_rate_limited", "Calls refused by a rate limit.", ["limit"], registry=proxy.metrics.registry
        )
        self._alone = Counter(
            "mcp_proxy_rate_limits_unshared",
            "Calls counted in one process alone, as Redis was away.",
            registry=proxy.metrics.registry,
        )
        self._closing: set[asyncio.Task[None]] = set()
        self._said = float("-inf")

    def use(self, prepared: "Prepared") -> None:
        limits = prepared.config.rate_limits
        if limits != (self._windows.limits if self._windows else ()):
            self._windows = Windows(limits) if limits else None
        url = prepared.stores.redis if limits else None
        if url != (self._shared.url if self._shared else None):
            if self._shared is not None:
                spawn(self._shared.close(), self._closing)
            self._shared = _Shared(url) if url is not None else None

    @property
    def unlimited(self) -> bool:
        return self._windows is None

    def lane(self, call: Call) -> list[Window] | None:
        """The windows to `add` the call to once it is made; None where the full path has to see to it."""
        windows = self._windows
        if windows is None:
            return []
        if self._shared is not None:
            return None if windows.matching(call) else []
        found = windows.room(call)
        return None if isinstance(found, Limited) else found

    def add(self, windows: list[Window]) -> None:
        if self._windows is not None:
            self._windows.add(windows)

    async def check(self, call: Call) -> Limited | None:
        """Count the call; None where it may be made. One that is refused is not counted by the limit that refuses it."""
        windows = self._windows
        if windows is None:
            return None
        found: Limited | None
        if self._shared is not None and (rules := windows.matching(call)):
            try:
                found = await self._shared.check(call, rules)
            except _Away as error:
                self._say(error)
                self._alone.inc()
                found = _count(windows, call)
        else:
            found = _count(windows, call)
        if found is not None:
            self._limited.labels(found.limit).inc()
        return found

    def _say(self, error: "_Away") -> None:
        now = time.monotonic()
        if now - self._said >= SAY_SECONDS:
            self._said = now
            logger.warning(
                "rate limits are counted in this process alone, as Redis is away", extra={"error": str(error)}
            )

    async def close(self) -> None:
        if self._shared is not None:
            spawn(self._shared.close(), self._closing)
            self._shared = None
        if self._closing:
            await asyncio.wait(self._closing)


def _count(windows: Windows, call: Call) -> Limited | None:
    found = windows.room(call)
    if isinstance(found, Limited):
        return found
    windows.add(found)
    return None


def _digest(key: Key) -> str:
    """Names hold slashes, and may be of any length."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


class _Away(Exception):
    """Redis does not answer; the text names the kind of error."""


class _Shared:
    """The same limits in Redis, by the `limits` library: a list of moments for each window, changed by one script."""

    def __init__(self, url: str) -> None:
        # Imported here as only a configuration with Redis and limits needs them.
        from limits.aio.storage import RedisStorage  # noqa: PLC0415
        from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415
        from redis.asyncio import ConnectionPool  # noqa: PLC0415

        self.url = url
        self._pool: Any = ConnectionPool.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
        )
        options: dict[str, Any] = {"connection_pool": self._pool}
        storage = RedisStorage(
            "async+redis://localhost:6379", implementation="redispy", key_prefix="mcp:limit", **options
        )
        self._limiter: MovingWindowRateLimiter = MovingWindowRateLimiter(storage)
        self._items: dict[tuple[int, float], RateLimitItem] = {}
        self._away_until = float("-inf")

    async def check(self, call: Call, rules: list[Any]) -> Limited | None:
        """Raises _Away."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - as above

        if time.monotonic() < self._away_until:
            raise _Away("it did not answer a moment ago")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for rule in rules:
                    item, key = self._item(rule.amount, rule.seconds), _digest(rule.key(call))
                    if not await self._limiter.hit(item, key):
                        stats = await self._limiter.get_window_stats(item, key)
                        return Limited(rule.name, max(stats.reset_time - time.time(), 0.001))
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            raise _Away(type(error).__name__) from error
        return None

    def _item(self, amount: int, seconds: float) -> "RateLimitItem":
        from limits import RateLimitItemPerSecond  # noqa: PLC0415 - as above

        found = self._items.get((amount, seconds))
        if found is None:
            found = self._items[amount, seconds] = RateLimitItemPerSecond(amount, int(seconds))
        return found

    async def close(self) -> None:
        await self._pool.disconnect()
