"""The registry of one proxy: every tool that its routes show, who may see it, whether it answers now, and search over them.

    found = registry.tools(principal)
    hits = await registry.search("open a pull request", principal=principal)

What it lists is read from the state that requests are answered from, so it is never behind a swap. The index is made
where the configuration has a use for search, or by the first search; until then no library of it is loaded.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx2

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.network import guarded_client
from mcp_operator_proxy.config.services import EmbeddingEndpoint
from mcp_operator_proxy.registry.availability import Availability
from mcp_operator_proxy.registry.documents import ToolDocument
from mcp_operator_proxy.registry.listing import Registered
from mcp_operator_proxy.registry.settings import SearchSettings
from mcp_operator_proxy.registry.views import Views
from mcp_operator_proxy.report import SearchReport
from mcp_operator_proxy.stores.keyvalue import KeyValue
from mcp_operator_proxy.tasks import spawn

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.registry.embedders import Embedder
    from mcp_operator_proxy.registry.indexing import Indexing
    from mcp_operator_proxy.registry.milvus import MilvusVectors
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A tool that fits a query; `score` is comparable within one answer only."""

    tool: Registered
    score: float


class Registry:
    """One for each proxy."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.settings = SearchSettings()
        self._views = Views(proxy)
        self._indexing: Indexing | None = None
        self._http: httpx2.AsyncClient | None = None
        self._milvus: MilvusVectors | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._availability = Availability(proxy.holder.instance, self._looked, self._shared)

    # The service

    def use(self, prepared: "Prepared") -> None:
        before, self.settings = self.settings, prepared.search
        if self._indexing is not None:
            if before.means() != self.settings.means():
                embedder = self._embedder()
                self._indexing.use(embedder, self._vectors(embedder))
            else:
                self._indexing.moved()
        elif self.settings.wanted:
            self._index().moved()

    def moved(self) -> None:
        """What the routes show may have changed."""
        if self._indexing is not None:
            self._indexing.moved()

    async def close(self) -> None:
        await self._availability.close()
        if self._indexing is not None:
            await self._indexing.close()
        if self._http is not None:
            await self._http.aclose()
        if self._milvus is not None:
            await self._milvus.close()
        await asyncio.gather(*self._closing)

    # What there is

    def tools(self, principal: Principal | None = None, user: str | None = None) -> list[ToolDocument]:
        """What `registered` gives, without the places."""
        return [found.document for found in self.registered(principal, user)]

    def registered(self, principal: Principal | None = None, user: str | None = None) -> list[Registered]:
        """All that some route shows and the caller may call, in the order of the routes; those of servers that do not answer
        now have `available` False."""
        up = self._up(principal, user)
        return [_as_it_is(found, up) for found in self._views.of(principal, user).tools.values()]

    async def look(self, principal: Principal | None = None, user: str | None = None) -> None:
        """Let servers that are the user's own list what they have; the others show what is known."""
        await self._views.look(principal, user)
        await self._views.decide(principal, user)

    async def decide(self, principal: Principal | None = None, user: str | None = None) -> None:
        """To be awaited before `find` and the like: what the caller may call is decided in turns then, not all at once."""
        await self._views.decide(principal, user)

    def ids(self, principal: Principal | None = None, user: str | None = None) -> Mapping[tuple[str, str], str]:
        """By server and the server's own name of the tool, of those that the caller may call."""
        return self._views.of(principal, user).ids

    def get(self, tool_id: str, principal: Principal | None = None, user: str | None = None) -> ToolDocument | None:
        """None where there is none that the caller may call."""
        found = self.find(tool_id, principal, user)
        return found.document if found is not None else None

    def find(self, tool_id: str, principal: Principal | None = None, user: str | None = None) -> Registered | None:
        """The same, with the place where it is called."""
        found = self._views.of(principal, user).tools.get(tool_id)
        return _as_it_is(found, self._up(principal, user)) if found is not None else None

    def place(self, tool_id: str) -> Registered | None:
        """The tool and where it is called, whoever asks: for those who say that it is not for a caller."""
        return self._views.whole().tools.get(tool_id)

    async def search(
        self,
        query: str,
        limit: int | None = None,
        *,
        principal: Principal | None = None,
        user: str | None = None,
        path: str | None = None,
        unavailable: bool = False,
        keep: Callable[[ToolDocument], bool] | None = None,
    ) -> list[Found]:
        """What fits, the best first: of what the caller may call, on the route at `path` or on any, and of what `keep` wants.

        Tools of servers that do not answer now are left out, unless `unavailable`. `limit` defaults to the configured one.
        """
        began = time.perf_counter()
        await self._views.look(principal, user, path)
        indexing = self._index()
        index = await indexing.current()
        await self._views.decide(principal, user, path)
        up = self._up(principal, user)
        allowed = {
            tool_id: found
            for tool_id, found in self._views.of(principal, user, path).tools.items()
            if (unavailable or up.get(found.server, False)) and (keep is None or keep(found.document))
        }
        most = limit or self.settings.search.limit
        hits = await index.search(query, most, allowed=allowed)
        shared, who = self._views.whole().tools, self._views.user(principal, user)
        if who is not None and allowed.keys() - shared.keys():
            everything = self._views.of(principal, user).tools
            own = await indexing.own(who, [found.document for i, found in everything.items() if i not in shared])
            more = await own.search(query, most, allowed=allowed)
            hits = sorted([*hits, *more], key=lambda hit: (-hit.score, hit.tool.id))[:most]
        made = [Found(_as_it_is(allowed[hit.tool.id], up), hit.score) for hit in hits]
        self._proxy.metrics.search_seconds.observe(time.perf_counter() - began)
        return made

    def report(self) -> SearchReport | None:
        """How tools are found now; None where nobody looks for any, or the index is on its way."""
        index = self._indexing.index if self._indexing is not None else None
        if index is None:
            return None
        return SearchReport(
            tools=len(index.tools),
            embeddings="milvus" if index.in_milvus else "memory" if index.semantic else "none",
            problem=index.problem,
        )

    # The servers

    def _up(self, principal: Principal | None, user: str | None) -> Mapping[str, bool]:
        return self._views.up(self._availability.up(), self._views.user(principal, user))

    def _looked(self) -> dict[str, bool]:
        """What this process sees of the servers; nothing of those that have not answered and not failed."""
        state = self._proxy.state
        return {b.id: b.available for b in state.backends.values() if b.asked.is_set()} if state is not None else {}

    def _shared(self) -> KeyValue | None:
        stores = self._proxy.services.stores
        return stores.keyvalue if stores.shared else None

    # The index

    def _index(self) -> "Indexing":
        if self._indexing is None:
            from mcp_operator_proxy.registry.indexing import Indexing  # noqa: PLC0415 - numpy and all: who searches

            embedder = self._embedder()
            self._indexing = Indexing(self._documents, embedder, self._vectors(embedder))
            self._availability.start()
        return self._indexing

    def _documents(self) -> list[ToolDocument]:
        return [found.document for found in self._views.whole().tools.values()]

    def _embedder(self) -> "Embedder | None":
        from mcp_operator_proxy.registry.embedders import (  # noqa: PLC0415 - as above
            EndpointEmbedder,
            WordLlamaEmbedder,
        )
        from mcp_operator_proxy.registry.shared import SharedEmbedder  # noqa: PLC0415 - as above

        if self._http is not None:
            spawn(self._http.aclose(), self._closing)
            self._http = None
        wanted = self.settings.search.embedder
        if isinstance(wanted, EmbeddingEndpoint):
            self._http = guarded_client(self._proxy.egress)
            endpoint = EndpointEmbedder(self._http, str(wanted.url), wanted.model, self.settings.key)
            return SharedEmbedder(endpoint, lambda: self._proxy.services.stores.keyvalue)
        return WordLlamaEmbedder() if wanted == "wordllama" else None

    def _vectors(self, embedder: "Embedder | None") -> "MilvusVectors | None":
        if self._milvus is not None:
            spawn(self._milvus.close(), self._closing)
            self._milvus = None
        if self.settings.milvus is not None and embedder is not None:
            from mcp_operator_proxy.registry.milvus import MilvusVectors  # noqa: PLC0415 - as above

            self._milvus = MilvusVectors(self.settings.milvus, embedder)
        return self._milvus


def _as_it_is(found: Registered, up: Mapping[str, bool]) -> Registered:
    return found if up.get(found.server, False) else replace(found, document=replace(found.document, available=False))
