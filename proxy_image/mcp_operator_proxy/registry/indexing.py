"""The index of all tools, made again behind their changes: in threads, some changes at a time, nothing embedded twice."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final

from mcp_operator_proxy.registry.documents import ToolDocument
from mcp_operator_proxy.registry.embedders import Embedder
from mcp_operator_proxy.registry.milvus import MilvusVectors
from mcp_operator_proxy.registry.search import SearchIndex
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.1
"""Between a change and the index, so that changes that come together make one."""
PATIENCE_SECONDS: Final = 1.0
"""A search waits so long for an index that shows what has just changed; then it takes the one before."""
AGAIN_SECONDS: Final = 30.0
"""After which an embedder or a Milvus that failed is tried again."""
MOST_OWN: Final = 64
"""Users whose own tools are kept in an index."""
RENEW_SECONDS: Final = 6 * 3600.0
"""Rows in Milvus are told that they are wanted, at the latest after this time."""


class Indexing:
    """`documents` gives all tools as they are now. Say `moved` when they are others; `close` it in the end."""

    def __init__(
        self,
        documents: Callable[[], Collection[ToolDocument]],
        embedder: Embedder | None,
        milvus: MilvusVectors | None = None,
    ) -> None:
        self._documents = documents
        self._embedder = embedder
        self._milvus = milvus
        self._stale = True
        self._task: asyncio.Task[None] | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._again_at = 0.0
        self._own: OrderedDict[str, SearchIndex] = OrderedDict()
        self.index: SearchIndex | None = None

    def use(self, embedder: Embedder | None, milvus: MilvusVectors | None = None) -> None:
        """Others from now on."""
        self._embedder, self._milvus = embedder, milvus
        self._again_at = 0.0
        self.moved()

    def moved(self) -> None:
        """The tools may be others than before."""
        self._stale = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._make())

    async def current(self) -> SearchIndex:
        """The index, as new as `PATIENCE_SECONDS` allow; the first one is waited for."""
        if self.index is None or self._stale or self._should_try_again(self.index):
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

    async def own(self, user: str, documents: Collection[ToolDocument]) -> SearchIndex:
        """A small index of what a user alone has. It is nobody else's, so that not even the rarity of a word tells of it."""
        ordered = tuple(sorted(documents, key=lambda tool: tool.id))
        made = self._own.get(user)
        if made is None or made.tools != ordered or not made.made_by(self._embedder) or self._should_try_again(made):
            made = self._own[user] = await SearchIndex.of(ordered, self._embedder, made)
            while len(self._own) > MOST_OWN:
                self._own.popitem(last=False)
        if user in self._own:
            self._own.move_to_end(user)
        return made

    def _should_try_again(self, index: SearchIndex) -> bool:
        return index.problem is not None and time.monotonic() >= self._again_at

    async def _make(self) -> None:
        while self._stale:
            if self.index is not None:
                await asyncio.sleep(PAUSE_SECONDS)
            self._stale = False
            self.index = await SearchIndex.of(self._documents(), self._embedder, self.index, self._milvus)
            if self.index.problem is not None:
                self._again_at = time.monotonic() + AGAIN_SECONDS
            self._renew_later()

    def _renew_later(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = None
        if self._milvus is not None:
            self._renewal = asyncio.get_running_loop().call_later(RENEW_SECONDS, self.moved)

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        if self._task is not None:
            await cancel([self._task])
