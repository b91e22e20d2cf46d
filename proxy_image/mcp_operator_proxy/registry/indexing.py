"""The index of all tools, made again behind their changes: in threads, some changes at a time, nothing embedded twice."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from mcp_operator_proxy.registry.documents import ToolDocument
from mcp_operator_proxy.registry.embedders import Embedder
from mcp_operator_proxy.registry.search import SearchIndex
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.1
"""Between a change and the index, so that changes that come together make one."""
PATIENCE_SECONDS: Final = 1.0
"""A search waits so long for an index that shows what has just changed; then it takes the one before."""
AGAIN_SECONDS: Final = 30.0
"""After which an embedder that failed is tried again."""


class Indexing:
    """`documents` gives all tools as they are now. Say `moved` when they are others; `close` it in the end."""

    def __init__(self, documents: Callable[[], Collection[ToolDocument]], embedder: Embedder | None) -> None:
        self._documents = documents
        self._embedder = embedder
        self._stale = True
        self._task: asyncio.Task[None] | None = None
        self._again_at = 0.0
        self.index: SearchIndex | None = None

    def use(self, embedder: Embedder | None) -> None:
        """Another one from now on."""
        self._embedder = embedder
        self._again_at = 0.0
        self.moved()

    def moved(self) -> None:
        """The tools may be others than before."""
        self._stale = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._make())

    async def current(self) -> SearchIndex:
        """The index, as new as `PATIENCE_SECONDS` allow; the first one is waited for."""
        if self.index is None or self._stale or self._wants_meaning():
            if self._task is None or self._task.done():
                self.moved()
            task = self._task
            assert task is not None
            if self.index is None:
                await asyncio.shield(task)
            else:
                await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        assert self.index is not None
        return self.index

    def _wants_meaning(self) -> bool:
        lacks = self._embedder is not None and self.index is not None and not self.index.semantic
        return lacks and time.monotonic() >= self._again_at

    async def _make(self) -> None:
        while self._stale:
            if self.index is not None:
                await asyncio.sleep(PAUSE_SECONDS)
            self._stale = False
            embedder = self._embedder
            self.index = await SearchIndex.of(self._documents(), embedder, self.index)
            if embedder is not None and not self.index.semantic:
                self._again_at = time.monotonic() + AGAIN_SECONDS

    async def close(self) -> None:
        if self._task is not None:
            await cancel([self._task])
