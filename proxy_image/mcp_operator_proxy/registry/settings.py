"""How tools are found, with the keys filled in from the secrets. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.config.services import EmbeddingEndpoint, Search
from mcp_operator_proxy.swap.validate import ConfigRejected, installed, secret

SCHEMES: Final = ("http://", "https://", "tcp://", "unix:", "/", "./")
"""A Milvus by address, or the file of a Milvus Lite."""


@dataclass(frozen=True)
class Milvus:
    """`token` is `user:password` or an API key; empty: none."""

    uri: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class SearchSettings:
    """`ProxyConfig.search`, and whether the configuration has a use for it: then an index is kept from the start."""

    search: Search = field(default_factory=Search)
    key: str | None = field(default=None, repr=False)
    milvus: Milvus | None = None
    wanted: bool = False

    def means(self) -> object:
        """What embeddings depend on."""
        return self.search.embedder, self.key, self.milvus


def search_settings(config: ProxyConfig, secrets: Mapping[str, str]) -> SearchSettings:
    """Raises SecretMissing, and ConfigRejected where a URI can be none or a library is missing."""
    search, revision = config.search, config.revision
    wanted = config.rest is not None or search != Search() or any(route.find_tools for route in config.routes)
    if wanted:
        _check_installed(search, revision)
    endpoint = search.embedder if isinstance(search.embedder, EmbeddingEndpoint) else None
    key = secret(endpoint.key, secrets, "search.embedder.key", revision).strip() if endpoint and endpoint.key else None
    milvus = None
    if search.milvus is not None:
        if search.embedder == "none":
            raise ConfigRejected("search.milvus needs an embedder", revision)
        milvus = milvus_of(secret(search.milvus, secrets, "search.milvus", revision), revision)
    return SearchSettings(search, key, milvus, wanted)


def milvus_of(text: str, revision: str | None = None) -> Milvus:
    """A URI, with an optional `#TOKEN` behind it. Raises ConfigRejected."""
    uri, _, token = text.strip().partition("#")
    if not uri.startswith(SCHEMES):
        raise ConfigRejected("search.milvus: the URI must begin with http://, https://, tcp:// or unix:", revision)
    return Milvus(uri, token)


def _check_installed(search: Search, revision: str) -> None:
    embedder = ("wordllama",) if search.embedder == "wordllama" else ()
    installed("search", ("bm25s", "snowballstemmer", "numpy", *embedder), revision)
    if search.milvus is not None:
        installed("search.milvus", ("pymilvus",), revision, extra="milvus")
