"""Which tools fit a query: the cosine of embeddings, and on top of it how much of the query a tool has word for word (BM25).

A word counts by how rare it is, and one that no tool has counts against all. So exact names win where there are any, and
where somebody uses words of his own the meaning decides. Chosen and measured by `make bench-search` (docs/search.md).
An index is made of all documents at once and never changes; embeddings of those that stay are taken from the one before. Of what
the caller may not call, nothing is told: it is left out before anything is ranked.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import bm25s
import numpy as np
from numpy.typing import NDArray

from mcp_operator_proxy.registry.documents import ToolDocument, stems
from mcp_operator_proxy.registry.embedders import Embedder, EmbedderUnavailable, Vectors
from mcp_operator_proxy.registry.milvus import MOST, MilvusVectors, VectorsUnavailable

logger = logging.getLogger(__name__)
logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of each index, by a handler of its own
Mode = Literal["fused", "lexical", "semantic"]
Scores = NDArray[np.float32]
WORDS: Final = 0.5
"""What the words of a query weigh, against 1 for its meaning. From 0.15 to 0.7 it makes little difference."""
NEAREST: Final = 200
"""Tools that Milvus is asked for; more of them (`MOST`) for one who may call less than half of all."""
LONGEST_QUERY: Final = 2000
"""Characters; more say nothing more."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One tool that fits; `score` is comparable within one answer only."""

    tool: ToolDocument
    score: float


class SearchIndex:
    """Make it by `SearchIndex.of`."""

    def __init__(
        self,
        tools: Sequence[ToolDocument],
        texts: Sequence[str],
        embedder: Embedder | None,
        kept: "Vectors | MilvusVectors | None",
    ) -> None:
        self.tools = tuple(tools)
        self.problem: str | None = None
        """Why it goes by words alone, or has in memory what should be in Milvus: it should be made anew after a while."""
        self._milvus = milvus = kept if isinstance(kept, MilvusVectors) else None
        self._vectors = kept if isinstance(kept, np.ndarray) else None
        keys = (milvus.key(tool, text) for tool, text in zip(tools, texts, strict=True)) if milvus is not None else ()
        self._rows = {key: number for number, key in enumerate(keys)}
        """In Milvus: keys to positions."""
        self._embedder = embedder
        self._texts = {text: number for number, text in enumerate(texts)}
        self._positions = {tool.id: number for number, tool in enumerate(self.tools)}
        terms = [tool.terms() for tool in self.tools]
        self._counts = Counter(term for found in terms for term in set(found))
        """In how many tools a term stands."""
        self._bm25 = _lexical(terms)

    @property
    def semantic(self) -> bool:
        """Whether there are embeddings; without them a search goes by words alone."""
        return self._vectors is not None or self._milvus is not None

    @property
    def in_milvus(self) -> bool:
        return self._milvus is not None

    @classmethod
    async def of(
        cls,
        tools: Collection[ToolDocument],
        embedder: Embedder | None,
        before: "SearchIndex | None" = None,
        milvus: MilvusVectors | None = None,
    ) -> "SearchIndex":
        """An index of `tools`. Without Milvus, embeddings are in memory; where the embedder fails, it goes by words alone.
        `problem` tells of both, and the next index tries again."""
        ordered = sorted(tools, key=lambda tool: tool.id)
        texts = await asyncio.to_thread(_texts, ordered)
        kept: Vectors | MilvusVectors | None = None
        problem = None
        if embedder is not None:
            known = before if before is not None and before.shares(embedder) else None
            try:
                if milvus is not None:
                    problem = await _kept(milvus, ordered, texts)
                in_milvus = milvus is not None and problem is None
                kept = milvus if in_milvus else await _embedded(texts, embedder, known)
            except EmbedderUnavailable as error:
                problem = f"search goes by words alone: {error}"
        if problem is not None:
            logger.warning("search does what it can for now", extra={"error": problem})
        made = await asyncio.to_thread(cls, ordered, texts, embedder, kept)
        made.problem = problem
        return made

    async def search(
        self, query: str, limit: int = 10, *, allowed: Collection[str] | None = None, mode: Mode = "fused"
    ) -> list[Hit]:
        """The best first, at most `limit`; of the tools whose ids are `allowed` (None: of all)."""
        query = query[:LONGEST_QUERY].strip()
        if not query or not self.tools or limit < 1:
            return []
        scores = np.zeros(len(self.tools), np.float32)
        if mode != "lexical" and (meaning := await self._by_meaning(query, allowed)) is not None:
            scores += np.maximum(meaning, 0)
        if mode != "semantic":
            scores += WORDS * self._by_words(query)
        if allowed is not None:
            scores = np.where(self._mask(allowed), scores, 0)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [Hit(self.tools[number], float(scores[number])) for number in best if scores[number] > 0]

    def vector(self, text: str) -> Vectors | None:
        """The embedding of a text of this index."""
        number = self._texts.get(text)
        return self._vectors[number] if self._vectors is not None and number is not None else None

    def shares(self, embedder: Embedder) -> bool:
        """Whether its vectors are of the same model."""
        return self._embedder is not None and self._embedder.id == embedder.id

    def made_by(self, embedder: Embedder | None) -> bool:
        """Whether it was made with this one."""
        return self._embedder is embedder

    def _mask(self, allowed: Collection[str]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.tools), np.bool_)
        mask[[self._positions[tool] for tool in allowed if tool in self._positions]] = True
        return mask

    def _by_words(self, query: str) -> Scores:
        """Between 0 and 1: BM25's share of what the words of the query weigh together."""
        asked = stems(query)
        known = [term for term in asked if term in self._counts]
        if self._bm25 is None or not known:
            return np.zeros(len(self.tools), np.float32)
        whole = sum(self._weight(term) for term in asked)
        return np.asarray(self._bm25.get_scores(known), np.float32) / np.float32(whole)

    def _weight(self, term: str) -> float:
        """Inverse document frequency as Lucene has it; a term that no tool has is the rarest."""
        count = self._counts[term]
        return math.log(1 + (len(self.tools) - count + 0.5) / (count + 0.5))

    async def _by_meaning(self, query: str, allowed: Collection[str] | None) -> Scores | None:
        if self._embedder is None or not self.semantic:
            return None
        try:
            asked = (await self._embedder.embed([query]))[0]
            if self._milvus is not None:
                return await self._nearest(self._milvus, asked, allowed)
        except (EmbedderUnavailable, VectorsUnavailable) as error:
            logger.warning("a search went by words alone", extra={"error": str(error)})
            if isinstance(error, VectorsUnavailable):
                self.problem = str(error)
            return None
        if self._vectors is None or len(asked) != self._vectors.shape[1]:
            return None
        return np.asarray(self._vectors @ asked, np.float32)

    async def _nearest(self, milvus: MilvusVectors, asked: Vectors, allowed: Collection[str] | None) -> Scores:
        """What is not among the nearest has no score."""
        scores = np.zeros(len(self.tools), np.float32)
        few = allowed is not None and 2 * len(allowed) < len(self.tools)
        within = [self.tools[self._positions[tool]] for tool in allowed or () if tool in self._positions]
        servers = {tool.server for tool in (within if allowed is not None else self.tools)}
        if not servers:
            return scores
        found = await milvus.nearest(asked, servers, MOST if few else NEAREST)
        known = {self._rows[key]: cosine for key, cosine in found.items() if key in self._rows}
        if not known:
            raise VectorsUnavailable("Milvus has lost the tools")
        scores[list(known)] = list(known.values())
        return scores


async def _kept(milvus: MilvusVectors, tools: Sequence[ToolDocument], texts: Sequence[str]) -> str | None:
    """Why Milvus does not have them; None where it does. Raises EmbedderUnavailable."""
    try:
        await milvus.keep(tools, texts)
    except VectorsUnavailable as error:
        return f"embeddings are in memory: {error}"
    return None


async def _embedded(texts: Sequence[str], embedder: Embedder, before: SearchIndex | None) -> Vectors:
    kept = [before.vector(text) if before is not None else None for text in texts]
    new = [text for text, vector in zip(texts, kept, strict=True) if vector is None]
    made = iter(await embedder.embed(new)) if new else iter(())
    vectors = [vector if vector is not None else next(made) for vector in kept]
    if len({len(vector) for vector in vectors}) > 1:
        raise EmbedderUnavailable("the embedder gave vectors of another length than before")
    return np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)


def _texts(tools: Sequence[ToolDocument]) -> list[str]:
    return [tool.text() for tool in tools]


def _lexical(terms: Sequence[Sequence[str]]) -> Any:
    """BM25 (Lucene's variant) over the tools; None where there are no words."""
    if not any(terms):
        return None
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(list(terms), show_progress=False)
    return index
