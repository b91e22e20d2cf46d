"""Embeddings of tools in Milvus instead of the process's memory, shared by all replicas, and by all proxies that name it.

A collection for each model. A row is a tool's text: its key is the digest of model, tool and text, so whoever writes it writes
the same. Nobody can tell which rows others still use, so each row says on which day it was last wanted, those who want it
renew that, and what nobody has wanted for `KEEP_DAYS` is deleted.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np

from mcp_operator_proxy.registry.documents import ToolDocument
from mcp_operator_proxy.registry.embedders import Embedder, Vectors
from mcp_operator_proxy.registry.settings import Milvus

KEEP_DAYS: Final = 7
TIMEOUT_SECONDS: Final = 5.0
"""Of one request."""
OPEN_SECONDS: Final = 60.0
"""To load the library and to connect: it brings much with it."""
BATCH: Final = 500
MOST: Final = 1000
"""Nearest rows that one search asks for."""
LONGEST_SERVER: Final = 512
_T = TypeVar("_T")
_FIELDS: Final = ("tool", "server", "day", "vector")


class VectorsUnavailable(Exception):
    """Milvus cannot be reached or refuses. The text names the kind of error and no credential."""


class MilvusVectors:
    """`close` it in the end. Every method raises VectorsUnavailable."""

    def __init__(
        self, settings: Milvus, embedder: Embedder, *, day: Callable[[], int] = lambda: int(time.time() // 86400)
    ) -> None:
        self.settings = settings
        self._embedder = embedder
        self._day = day
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="milvus")
        self._client: Any = None
        self._opening = asyncio.Lock()
        name = re.sub(r"[^a-z0-9]+", "_", embedder.id.lower())[:60]
        self.collection = f"mcp_tools_{name}_{hashlib.sha256(embedder.id.encode()).hexdigest()[:8]}"

    def key(self, tool: ToolDocument, text: str) -> str:
        """Of the row of a tool."""
        parts = f"{self._embedder.id}\0{tool.id}\0{text}"
        return hashlib.sha256(parts.encode(errors="surrogatepass")).hexdigest()

    async def keep(self, tools: Sequence[ToolDocument], texts: Sequence[str]) -> None:
        """See that each has a row that says it is wanted, and delete what nobody wants. Raises EmbedderUnavailable too."""
        rows = {self.key(tool, text): (tool, text) for tool, text in zip(tools, texts, strict=True)}
        if not rows:
            return
        days = await self._days(list(rows))
        new = [key for key in rows if key not in days]
        made = dict(zip(new, await self._embedder.embed([rows[key][1] for key in new]), strict=True)) if new else {}
        if made:
            await self._made_for(len(next(iter(made.values()))))
        old = [key for key, day in days.items() if day < self._day()]
        renewed = {**made, **await self._vectors(old)}
        entries = [self._row(key, rows[key][0], vector) for key, vector in renewed.items()]
        for first in range(0, len(entries), BATCH):
            put = partial(_put, self.collection, entries[first : first + BATCH])
            await self._ask(put)
        if old or new:
            gone = f"day < {self._day() - KEEP_DAYS}"
            await self._ask(lambda client: client.delete(self.collection, filter=gone, timeout=TIMEOUT_SECONDS))

    async def nearest(self, vector: Vectors, servers: Collection[str], limit: int) -> dict[str, float]:
        """Cosines of the nearest rows of these servers by key, at most `limit` (and `MOST`)."""
        only = f"server in {json.dumps(sorted(servers))}"
        found = await self._ask(
            lambda client: client.search(
                self.collection, [vector.tolist()], filter=only, limit=min(limit, MOST), timeout=TIMEOUT_SECONDS
            )
        )
        return {str(row["id"]): float(row["distance"]) for row in found[0]}

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await asyncio.get_running_loop().run_in_executor(self._threads, client.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _row(self, key: str, tool: ToolDocument, vector: Vectors) -> dict[str, Any]:
        values = (tool.id, tool.server, self._day(), np.asarray(vector, np.float32).tolist())
        return {"id": key, **dict(zip(_FIELDS, values, strict=True))}

    async def _days(self, keys: list[str]) -> dict[str, int]:
        if not await self._ask(lambda client: client.has_collection(self.collection, timeout=TIMEOUT_SECONDS)):
            return {}
        return {row["id"]: int(row["day"]) for row in await self._rows(keys, "day")}

    async def _vectors(self, keys: list[str]) -> Mapping[str, Vectors]:
        return {row["id"]: np.asarray(row["vector"], np.float32) for row in await self._rows(keys, "vector")}

    async def _rows(self, keys: list[str], field: str) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        for first in range(0, len(keys), BATCH):
            rows += await self._ask(partial(_get, self.collection, keys[first : first + BATCH], field))
        return rows

    async def _made_for(self, dimensions: int) -> None:
        """Make the collection where there is none. Two that do it at once get the same one."""
        await self._ask(lambda client: _make(client, self.collection, dimensions))

    async def _ask(self, what: Callable[[Any], _T]) -> _T:
        loop = asyncio.get_running_loop()
        try:
            async with self._opening:
                if self._client is None:
                    async with asyncio.timeout(OPEN_SECONDS):
                        self._client = await loop.run_in_executor(self._threads, _open, self.settings)
            client = self._client
            async with asyncio.timeout(3 * TIMEOUT_SECONDS):
                return await loop.run_in_executor(self._threads, what, client)
        except VectorsUnavailable:
            raise
        except Exception as error:  # pymilvus has many kinds, its transport others
            raise VectorsUnavailable(f"Milvus: {type(error).__name__}") from error


def _open(settings: Milvus) -> Any:
    from pymilvus import MilvusClient  # type: ignore[import-untyped]  # noqa: PLC0415 - 90 MiB of libraries: only who has a Milvus

    return MilvusClient(settings.uri, token=settings.token, timeout=TIMEOUT_SECONDS)


def _put(collection: str, rows: list[dict[str, Any]], client: Any) -> Any:
    return client.upsert(collection, rows, timeout=TIMEOUT_SECONDS)


def _get(collection: str, keys: list[str], field: str, client: Any) -> list[Mapping[str, Any]]:
    fields = ["id", field]
    return list(client.get(collection, ids=keys, output_fields=fields, timeout=TIMEOUT_SECONDS))


def _make(client: Any, collection: str, dimensions: int) -> None:
    from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - as above

    if client.has_collection(collection, timeout=TIMEOUT_SECONDS):
        return
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("tool", DataType.VARCHAR, max_length=2048)
    schema.add_field("server", DataType.VARCHAR, max_length=LONGEST_SERVER)
    schema.add_field("day", DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    with _made_meanwhile(client, collection):
        client.create_collection(
            collection, schema=schema, index_params=index, consistency_level="Strong", timeout=4 * TIMEOUT_SECONDS
        )


@contextlib.contextmanager
def _made_meanwhile(client: Any, collection: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        if not client.has_collection(collection, timeout=TIMEOUT_SECONDS):
            raise
