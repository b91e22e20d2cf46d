"""Texts to vectors: by the model that ships inside the package `wordllama`, or by an OpenAI-compatible endpoint."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import httpx2
import numpy as np
from numpy.typing import NDArray

from mcp_operator_proxy.backends.network import EgressDenied

Vectors = NDArray[np.float32]
"""Shape (texts, dimensions); each of length 1, so that a product is a cosine."""
DIMENSIONS: Final = 256
BATCH: Final = 256
"""Texts of one request to an endpoint."""
REQUEST_SECONDS: Final = 30.0


class EmbedderUnavailable(Exception):
    """The endpoint cannot be reached or its answer is none. The text holds no credential."""


class Embedder(Protocol):
    """`id` names the model: vectors of two models are not compared."""

    id: str

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """In their order. Raises EmbedderUnavailable."""
        ...


class WordLlamaEmbedder:
    """Static embeddings (https://github.com/dleemiller/WordLlama): 16 MB, no network, about 20 microseconds a text."""

    id = f"wordllama/l2_supercat/{DIMENSIONS}"

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if len(texts) == 1 and _model.cache_info().currsize:  # a query: done before a thread would have begun
            return self.embed_now(texts)
        return await asyncio.to_thread(self.embed_now, texts)

    def embed_now(self, texts: Sequence[str]) -> Vectors:
        """The same at once, in this thread; the first time it loads the model (some tenths of a second)."""
        if not texts:
            return np.zeros((0, DIMENSIONS), np.float32)
        with _LOADING:
            model = _model()
        return _unit(np.asarray(model.embed(list(texts)), np.float32))


class EndpointEmbedder:
    """`POST {url}/embeddings` as OpenAI has it. `key` is sent as a bearer token."""

    def __init__(self, http: httpx2.AsyncClient, url: str, model: str, key: str | None = None) -> None:
        self.id = f"{url}#{model}"
        self._http = http
        self._url = url.rstrip("/") + "/embeddings"
        self._model = model
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    async def embed(self, texts: Sequence[str]) -> Vectors:
        parts = [await self._request(texts[first : first + BATCH]) for first in range(0, len(texts), BATCH)]
        if len({part.shape[1] for part in parts}) > 1:
            raise EmbedderUnavailable("the endpoint gave vectors of different lengths")
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    async def _request(self, texts: Sequence[str]) -> Vectors:
        body = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        try:
            response = await self._http.post(self._url, json=body, headers=self._headers, timeout=REQUEST_SECONDS)
        except (httpx2.HTTPError, EgressDenied) as error:
            why = str(error) if isinstance(error, EgressDenied) else type(error).__name__
            raise EmbedderUnavailable(f"the endpoint cannot be reached: {why}") from error
        if response.status_code != 200:
            raise EmbedderUnavailable(f"the endpoint answered with HTTP {response.status_code}")
        try:
            return _unit(_vectors(response.json(), len(texts)))
        except (ValueError, TypeError, KeyError) as error:
            raise EmbedderUnavailable("the endpoint's answer has no embeddings") from error


def _vectors(answer: Mapping[str, Any], count: int) -> Vectors:
    found: dict[int, list[float]] = {entry["index"]: entry["embedding"] for entry in answer["data"]}
    made = np.asarray([found[number] for number in range(count)], np.float32)
    if made.ndim != 2 or not np.isfinite(made).all():
        raise ValueError("not a matrix of numbers")
    return made


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled


_LOADING: Final = threading.Lock()


@contextlib.contextmanager
def _root_logger_left_alone() -> Iterator[None]:
    """wordllama sets up logging for the whole process when it is imported."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@lru_cache(maxsize=1)
def _model() -> Any:
    with _root_logger_left_alone():
        import wordllama  # noqa: PLC0415 - it brings the tokenizer's libraries: only where search is on

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, dim=DIMENSIONS, disable_download=True)
