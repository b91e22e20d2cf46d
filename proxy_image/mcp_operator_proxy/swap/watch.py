"""Follow a configuration folder: each change is read, validated and applied, in order, the newest always last."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from watchfiles import awatch

from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.swap.given import NOTHING, Given
from mcp_operator_proxy.swap.read import Snapshot
from mcp_operator_proxy.swap.validate import ConfigRejected, NotThereYet
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)
POLL_SECONDS: Final = 5.0
"""The folder is looked at this often even if nothing is heard of it."""
SECRET_SECONDS: Final = 3.0
"""ConfigMaps and Secret arrive one after the other: how long a part may be missing before that is an error."""
SECRET_POLL_SECONDS: Final = 0.1


async def follow(proxy: Proxy, folder: Path, given: Given = NOTHING) -> None:
    """Keep `proxy` at what `folder` says, with `given` laid over it, for ever."""
    applied: Snapshot | None = None
    async for _ in _looks(folder):
        applied = await load(proxy, folder, applied, given)


async def load(proxy: Proxy, folder: Path, known: Snapshot | None = None, given: Given = NOTHING) -> Snapshot | None:
    """Apply what the folder holds unless it is `known`; return what it held, None where it could not be read."""
    patience = asyncio.get_running_loop().time() + SECRET_SECONDS
    while True:
        snapshot: Snapshot | None = None
        try:
            snapshot = await asyncio.to_thread(given.read, folder)
            proxy.readiness.want(snapshot.wanted)
            if snapshot == known:
                return known
            await proxy.apply(*await asyncio.to_thread(given.of, snapshot))
        except NotThereYet as error:
            if asyncio.get_running_loop().time() < patience:
                await asyncio.sleep(SECRET_POLL_SECONDS)
                continue
            proxy.reject(error.revision, str(error))
        except ConfigRejected as error:
            proxy.reject(error.revision, str(error))
        return snapshot


async def _looks(folder: Path) -> AsyncIterator[None]:
    """Yield at once, at every change, and every `POLL_SECONDS`."""
    changed = asyncio.Event()
    watching = asyncio.get_running_loop().create_task(_listen(folder, changed))
    try:
        while True:
            changed.clear()
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await changed.wait()
    finally:
        await cancel([watching])


async def _listen(folder: Path, changed: asyncio.Event) -> None:
    while True:
        try:
            async for _ in awatch(
                folder, watch_filter=None, debounce=100, step=40, rust_timeout=1000, yield_on_timeout=False
            ):
                changed.set()
        except (OSError, RuntimeError, FileNotFoundError) as error:
            logger.debug("cannot watch the configuration folder, it is polled: %s", type(error).__name__)
        await asyncio.sleep(POLL_SECONDS)
