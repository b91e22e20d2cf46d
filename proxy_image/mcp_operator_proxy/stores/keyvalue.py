"""Short-lived values that replicas share: the interface."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class StoreUnavailable(Exception):
    """The store cannot be reached, or does not answer in time. The text names the kind of error and no credential."""


class KeyValue(Protocol):
    """Values are bytes, keys are text of at most 512 characters. Times are in seconds; None keeps a value until it is deleted.

    Every method raises StoreUnavailable. Keys are prefixed by the store (`mcp:`), so callers write `session:alice`.
    """

    async def get(self, key: str) -> bytes | None: ...

    async def get_many(self, keys: list[str]) -> list[bytes | None]:
        """In the order of `keys`."""
        ...

    async def put(self, key: str, value: bytes, seconds: float | None = None) -> None: ...

    async def add(self, key: str, value: bytes, seconds: float | None = None) -> bool:
        """Put it where there is none; whether that was so."""
        ...

    async def replace(self, key: str, old: bytes, new: bytes, seconds: float | None = None) -> bool:
        """Put `new` where `old` stands (compare and set); whether that was so."""
        ...

    async def touch(self, key: str, seconds: float) -> bool:
        """Let it live for so long from now; whether it is there."""
        ...

    async def delete(self, *keys: str) -> int:
        """How many of them there were."""
        ...

    async def keys(self, prefix: str) -> list[str]:
        """Those that begin so, sorted."""
        ...

    def lock(self, name: str, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Try to hold a lock among all replicas; whether it is held. It ends by itself after `seconds`, if its holder dies."""
        ...

    async def publish(self, channel: str, message: bytes) -> None: ...

    def subscribe(self, channel: str) -> AsyncIterator[bytes | None]:
        """Messages as they come, at most once each. None, first and after each gap: some may have been missed before."""
        ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...
