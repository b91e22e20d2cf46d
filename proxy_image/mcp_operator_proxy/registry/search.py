"""Which tools fit a query: BM25 over words, cosine over embeddings, fused by rank (reciprocal rank fusion, Cormack et al. 2009).

An index is made of all documents at once and never changes; embeddings of those that stay are taken from the one before. Of what
the caller may not call, nothing is told: it is left out before anything is ranked.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import bm25s
import numpy as np
from numpy.typing import NDArray

from mcp_operator_proxy.registry.documents import ToolDocument, stems
from mcp_operator_proxy.registry.embedders import Embedder, EmbedderUnavailable, Vectors

logger = logging.getLogger(__name__)
logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of each index, by a handler of its own
Mode = Literal["fused", "lexical", "semantic"]
Scores = NDArray[np.float32]
FUSION: Final = 60
"""k of reciprocal rank fusion: how slowly a rank loses weight."""
CANDIDATES: Final = 100
"""Of each ranking that are fused."""
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
        self, tools: Sequence[ToolDocument], vectors: Vectors | None, embedder: Embedder | None, texts: dict[str, int]
    ) -> None:
        self.tools = tuple(tools)
        self._vectors = vectors
        self._embedder = embedder
        self._texts = texts
        self._positions = {tool.id: number for number, tool in enumerate(self.tools)}
        self._bm25 = _lexical(self.tools)

    @property
    def semantic(self) -> bool:
        """Whether there are embeddings; without them a search goes by words alone."""
        return self._vectors is not None

    @classmethod
    async def of(
        cls, tools: Collection[ToolDocument], embedder: Embedder | None, before: "SearchIndex | None" = None
    ) -> "SearchIndex":
        """An index of `tools`. Where the embedder fails it goes by words alone, and the next one tries again."""
        ordered = sorted(tools, key=lambda tool: tool.id)
        texts = await asyncio.to_thread(_texts, ordered)
        vectors = None
        if embedder is not None:
            known = before if before is not None and before.shares(embedder) else None
            try:
                vectors = await _embedded(texts, embedder, known)
            except EmbedderUnavailable as error:
                logger.warning("search goes by words alone for now", extra={"error": str(error)})
        return await asyncio.to_thread(cls, ordered, vectors, embedder, {text: n for n, text in enumerate(texts)})

    async def search(
        self, query: str, limit: int = 10, *, allowed: Collection[str] | None = None, mode: Mode = "fused"
    ) -> list[Hit]:
        """The best first, at most `limit`; of the tools whose ids are `allowed` (None: of all)."""
        query = query[:LONGEST_QUERY].strip()
        if not query or not self.tools or limit < 1:
            return []
        mask = self._mask(allowed)
        rankings = []
        if mode != "semantic":
            rankings.append(_ranked(self._by_words(query), mask))
        if mode != "lexical" and (scores := await self._by_meaning(query)) is not None:
            rankings.append(_ranked(scores, mask))
        return [Hit(self.tools[number], score) for number, score in _fused(rankings)[:limit]]

    def vector(self, text: str) -> Vectors | None:
        """The embedding of a text of this index."""
        number = self._texts.get(text)
        return self._vectors[number] if self._vectors is not None and number is not None else None

    def shares(self, embedder: Embedder) -> bool:
        """Whether its vectors are of the same model."""
        return self._embedder is not None and self._embedder.id == embedder.id

    def _mask(self, allowed: Collection[str] | None) -> NDArray[np.bool_] | None:
        if allowed is None:
            return None
        mask = np.zeros(len(self.tools), np.bool_)
        mask[[self._positions[tool] for tool in allowed if tool in self._positions]] = True
        return mask

    def _by_words(self, query: str) -> Scores:
        known = [term for term in stems(query) if self._bm25 is not None and term in self._bm25.vocab_dict]
        if self._bm25 is None or not known:
            return np.zeros(len(self.tools), np.float32)
        return np.asarray(self._bm25.get_scores(known), np.float32)

    async def _by_meaning(self, query: str) -> Scores | None:
        if self._vectors is None or self._embedder is None:
            return None
        try:
            asked = await self._embedder.embed([query])
        except EmbedderUnavailable as error:
            logger.warning("a search went by words alone", extra={"error": str(error)})
            return None
        if asked.shape[1] != self._vectors.shape[1]:
            return None
        return np.asarray(self._vectors @ asked[0], np.float32)


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


def _lexical(tools: Sequence[ToolDocument]) -> Any:
    """BM25 (Lucene's variant) over the tools; None where there are no words."""
    terms = [tool.terms() for tool in tools]
    if not any(terms):
        return None
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(terms, show_progress=False)
    return index


def _ranked(scores: Scores, mask: NDArray[np.bool_] | None) -> list[int]:
    """Numbers of the best `CANDIDATES`, those that do not fit at all left out; equal ones in the order of their ids."""
    if mask is not None:
        scores = np.where(mask, scores, 0)
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    return [int(number) for number in order if scores[number] > 0]


def _fused(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    totals: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            totals[number] = totals.get(number, 0.0) + 1 / (FUSION + rank)
    return sorted(totals.items(), key=lambda entry: (-entry[1], entry[0]))
