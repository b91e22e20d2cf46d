"""Embeddings that replicas and restarts have in common: kept by the model's id and the digest of the text.

Worth it for an endpoint alone. What ships within the image makes an embedding faster than a store brings it.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from mcp_operator_proxy.registry.embedders import Embedder, EmbedderUnavailable, Vectors
from mcp_operator_proxy.stores.keyvalue import KeyValue, StoreUnavailable

logger = logging.getLogger(__name__)

KEEP_SECONDS: Final = 7 * 86400.0
MOST_BYTES: Final = 64 * 1024
"""Of one embedding; a larger one is not kept."""
QUERIES: Final = 512
"""Embeddings of queries that this process remembers; those are not shared."""
BATCH: Final = 256
_LITTLE: Final = np.dtype("<f4")


class SharedEmbedder:
    """`inner`, asked only for what neither this process nor `store` remembers. Without the store it works alone."""

    def __init__(self, inner: Embedder, store: Callable[[], KeyValue]) -> None:
        self.id = inner.id
        self._inner = inner
        self._store = store
        self._queries: OrderedDict[str, Vectors] = OrderedDict()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As `Embedder.embed`. A single text is taken for a query."""
        if len(texts) == 1:
            return await self._query(texts[0])
        known = dict(zip(texts, await self._known(texts), strict=True))
        new = [text for text, vector in known.items() if vector is None]
        if new:
            made = dict(zip(new, await self._inner.embed(new), strict=True))
            known |= made
            await self._keep(made)
        vectors = [vector for text in texts if (vector := known[text]) is not None]
        if len({len(vector) for vector in vectors}) > 1:
            raise EmbedderUnavailable("the embeddings that are kept have another length than the new ones")
        return np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)

    async def _query(self, text: str) -> Vectors:
        found = self._queries.get(text)
        if found is None:
            found = await self._inner.embed([text])
            self._queries[text] = found
            if len(self._queries) > QUERIES:
                self._queries.popitem(last=False)
        return found

    async def _known(self, texts: Sequence[str]) -> list[Vectors | None]:
        found: list[Vectors | None] = []
        try:
            for first in range(0, len(texts), BATCH):
                keys = [self._key(text) for text in texts[first : first + BATCH]]
                found += [_read(value) for value in await self._store().get_many(keys)]
        except StoreUnavailable as error:
            logger.warning(
                "embeddings are made anew, as those that are kept cannot be read", extra={"error": str(error)}
            )
            return [None] * len(texts)
        return found

    async def _keep(self, made: dict[str, Vectors]) -> None:
        try:
            for text, vector in made.items():
                value = np.asarray(vector, _LITTLE).tobytes()
                if len(value) <= MOST_BYTES:
                    await self._store().put(self._key(text), value, KEEP_SECONDS)
        except StoreUnavailable as error:
            logger.warning("embeddings are not kept", extra={"error": str(error)})

    def _key(self, text: str) -> str:
        return "embedding:" + hashlib.sha256(f"{self.id}\0{text}".encode(errors="surrogatepass")).hexdigest()


def _read(value: bytes | None) -> Vectors | None:
    """None for what is no embedding."""
    if not value or len(value) % _LITTLE.itemsize or len(value) > MOST_BYTES:
        return None
    vector = np.frombuffer(value, _LITTLE).astype(np.float32)
    return vector if np.isfinite(vector).all() else None
