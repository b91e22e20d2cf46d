"""How often a right tool is among the first five. Pure but for the embedder."""

from collections.abc import Sequence
from typing import Final

from bench.search.catalogue import Query
from mcp_operator_proxy.registry.search import Mode, SearchIndex

MODES: Final[tuple[Mode, ...]] = ("fused", "lexical", "semantic")
TUNED: Final = slice(0, None, 2)
"""Every other query, from the first: the weights were chosen by these."""
HELD_OUT: Final = slice(1, None, 2)
"""The others, which nothing was chosen by."""


async def recall(index: SearchIndex, queries: Sequence[Query], mode: Mode, *, among: int = 5) -> float:
    """Share of the queries that have a right tool among the first so many."""
    found = 0
    for query in queries:
        hits = await index.search(query.text, among, mode=mode)
        found += any(hit.tool.id in query.expected for hit in hits)
    return found / len(queries)
