"""Short-lived values in Redis (or a server that speaks its protocol): shared by workers and replicas."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import LockError, RedisError

from mcp_operator_proxy.stores.keyvalue import StoreUnavailable

logger = logging.getLogger(__name__)

PREFIX: Final = "mcp:"
TIMEOUT_SECONDS: Final = 5.0
"""For a connection, and for each answer."""
RETRIES: Final = 2
"""Of a command whose connection broke. All that are used here may be sent twice."""
AGAIN_SECONDS: Final = (0.1, 5.0)
"""A subscription that broke begins anew after the first, doubled each time, up to the second."""
PAGE: Final = 500
_REPLACE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


class RedisStore:
    """A `KeyValue` on the Redis of a URL: `redis://`, `rediss://` or `unix://`, as redis-py reads it. Nothing is opened here.

    Raises:
        ValueError: it is none. The text does not hold the URL, which may carry a password.
    """

    def __init__(self, url: str, *, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        try:
            self._redis: Redis = Redis.from_url(
                url,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                health_check_interval=30,
                retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), RETRIES),
            )
        except ValueError as error:
            raise ValueError("the Redis URL must begin with redis://, rediss:// or unix://") from error
        self._replace = self._redis.register_script(_REPLACE)

    async def get(self, key: str) -> bytes | None:
        with _told():
            return cast("bytes | None", await self._redis.get(self._prefix + key))

    async def get_many(self, keys: list[str]) -> list[bytes | None]:
        if not keys:
            return []
        with _told():
            found: list[bytes | None] = await _awaited(self._redis.mget([self._prefix + key for key in keys]))
            return found

    async def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        with _told():
            await self._redis.set(self._prefix + key, value, px=_milliseconds(seconds))

    async def add(self, key: str, value: bytes, seconds: float | None = None) -> bool:
        with _told():
            return bool(await self._redis.set(self._prefix + key, value, px=_milliseconds(seconds), nx=True))

    async def replace(self, key: str, old: bytes, new: bytes, seconds: float | None = None) -> bool:
        with _told():
            done = await self._replace(keys=[self._prefix + key], args=[old, new, _milliseconds(seconds) or ""])
            return bool(done)

    async def touch(self, key: str, seconds: float) -> bool:
        with _told():
            return bool(await self._redis.pexpire(self._prefix + key, _milliseconds(seconds) or 1))

    async def delete(self, *keys: str) -> int:
        if not keys:
            return 0
        with _told():
            return int(await self._redis.delete(*(self._prefix + key for key in keys)))

    async def keys(self, prefix: str) -> list[str]:
        pattern = _escaped(self._prefix + prefix) + "*"
        with _told():
            found = {key async for key in self._redis.scan_iter(match=pattern, count=PAGE)}
        return sorted(key.decode()[len(self._prefix) :] for key in found)

    @contextlib.asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[bool]:
        held = self._redis.lock(f"{self._prefix}lock:{name}", timeout=seconds, blocking=False)
        with _told():
            taken = await held.acquire()
        try:
            yield taken
        finally:
            if taken:
                with contextlib.suppress(RedisError, LockError):  # it ends by itself
                    await held.release()

    async def publish(self, channel: str, message: bytes) -> None:
        with _told():
            await self._redis.publish(self._prefix + channel, message)

    async def subscribe(self, channel: str) -> AsyncIterator[bytes | None]:
        """As the interface has it; a broken connection is a gap, and never an error."""
        delay = AGAIN_SECONDS[0]
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as listener:
                    await listener.subscribe(self._prefix + channel)
                    yield None
                    while True:
                        message = await listener.get_message(timeout=None)
                        delay = AGAIN_SECONDS[0]
                        if message is not None and message["type"] == "message":
                            yield message["data"]
            except (RedisError, OSError) as error:
                logger.warning("messages of Redis are not heard for a while", extra={"error": type(error).__name__})
            await asyncio.sleep(delay)
            delay = min(delay * 2, AGAIN_SECONDS[1])

    async def ping(self) -> None:
        with _told():
            await _awaited(self._redis.ping())

    async def close(self) -> None:
        await self._redis.aclose()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis: {type(error).__name__}") from error


async def _awaited(answer: Any) -> Any:
    """redis-py types what it shares with its blocking client as either."""
    return await cast("Awaitable[Any]", answer)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))


def _escaped(text: str) -> str:
    """`text` within a pattern of SCAN, where it stands for itself."""
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in text)
