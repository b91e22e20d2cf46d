"""Embeddings in a real Milvus (Lite): the same answers as from memory, shared, swept, and done without where it is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastmcp import FastMCP
from pymilvus import MilvusClient  # type: ignore[import-untyped]

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.registry import indexing
from mcp_operator_proxy.registry import milvus as module
from mcp_operator_proxy.registry.documents import ToolDocument
from mcp_operator_proxy.registry.embedders import Vectors, WordLlamaEmbedder
from mcp_operator_proxy.registry.milvus import KEEP_DAYS, MilvusVectors, VectorsUnavailable
from mcp_operator_proxy.registry.search import SearchIndex
from mcp_operator_proxy.registry.settings import Milvus, milvus_of, search_settings
from mcp_operator_proxy.swap.validate import ConfigRejected
from support.backends import ServedMCP, dead_port
from support.gateway import make_config, running_gateway

TOOLS = [
    ToolDocument(f"{server}.{name}", server, f"{server}_{name}", about)
    for server, name, about in (
        ("mail", "send", "Send a message to a recipient"),
        ("mail", "archive", "Move letters out of the inbox"),
        ("git", "clone", "Copy a repository to this machine"),
        ("weather", "forecast", "Temperature and rain of the coming days"),
    )
]


class Counting:
    """The model that ships with the product, and what it was given."""

    id = WordLlamaEmbedder.id

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return WordLlamaEmbedder().embed_now(texts)


class Day:
    today = 20_000

    def __call__(self) -> int:
        return self.today


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where databases stand. Milvus has been used once: its first use loads libraries for longer than a request may take."""
    made = tmp_path_factory.mktemp("milvus")
    client = MilvusClient(str(made / "first.db"))
    client.create_collection("first", dimension=4)
    client.insert("first", [{"id": 1, "vector": [1.0, 0.0, 0.0, 0.0]}])
    assert client.search("first", [[1.0, 0.0, 0.0, 0.0]], limit=1)
    client.close()
    return made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Milvus that is there has time to answer, however busy the machine is."""
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 30.0)


@pytest.fixture
async def vectors(
    folder: Path, patient: None, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[MilvusVectors, Counting, Day]]:
    embedder, day = Counting(), Day()
    made = MilvusVectors(Milvus(str(folder / f"{request.node.name}.db")), embedder, day=day)
    yield made, embedder, day
    await made.close()


async def test_the_answers_are_those_from_memory(vectors: tuple[MilvusVectors, Counting, Day]) -> None:
    milvus, embedder, _ = vectors
    there = await SearchIndex.of(TOOLS, embedder, milvus=milvus)
    here = await SearchIndex.of(TOOLS, embedder)
    assert there.in_milvus
    assert there.semantic
    assert there.problem is None
    for query in ("write to somebody", "will it be rainy", "repository", "clean up"):
        for allowed in (None, ["mail.send"], ["mail.send", "git.clone", "weather.forecast"], []):
            expected = [(hit.tool.id, round(hit.score, 3)) for hit in await here.search(query, allowed=allowed)]
            found = [(hit.tool.id, round(hit.score, 3)) for hit in await there.search(query, allowed=allowed)]
            assert found == expected, query


async def test_only_what_is_new_is_embedded_and_what_nobody_wants_is_deleted(
    vectors: tuple[MilvusVectors, Counting, Day],
) -> None:
    milvus, embedder, day = vectors
    await SearchIndex.of(TOOLS, embedder, milvus=milvus)
    assert len(embedder.texts) == len(TOOLS)
    await SearchIndex.of(TOOLS, embedder, milvus=milvus)
    assert len(embedder.texts) == len(TOOLS)
    day.today += 1
    await SearchIndex.of(TOOLS[:3], embedder, milvus=milvus)
    assert len(embedder.texts) == len(TOOLS)
    day.today += KEEP_DAYS
    index = await SearchIndex.of(TOOLS[:3], embedder, milvus=milvus)
    assert len(embedder.texts) == len(TOOLS)
    query = (await embedder.embed(["the weather"]))[0]
    rows = await milvus.nearest(query, {tool.server for tool in TOOLS}, 100)
    assert len(rows) == 3
    assert [hit.tool.id for hit in await index.search("repository", 1)] == ["git.clone"]


@pytest.mark.usefixtures("patient")
async def test_two_proxies_make_one_collection(folder: Path) -> None:
    settings = Milvus(str(folder / "both.db"))
    one, two = (MilvusVectors(settings, Counting()) for _ in range(2))
    try:
        first = await SearchIndex.of(TOOLS[:2], Counting(), milvus=one)
        second = await SearchIndex.of(TOOLS[2:], Counting(), milvus=two)
        assert first.in_milvus
        assert second.in_milvus
        assert [hit.tool.id for hit in await first.search("write to somebody", 1)] == ["mail.send"]
        assert [hit.tool.id for hit in await second.search("will it be rainy", 1)] == ["weather.forecast"]
    finally:
        await one.close()
        await two.close()


async def test_where_it_is_away_embeddings_are_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    milvus = MilvusVectors(Milvus(f"http://127.0.0.1:{dead_port()}", "root:a-secret-word"), Counting())
    try:
        index = await SearchIndex.of(TOOLS, Counting(), milvus=milvus)
        assert index.semantic
        assert not index.in_milvus
        assert index.problem is not None
        assert "Milvus" in index.problem
        assert [hit.tool.id for hit in await index.search("will it be rainy", 1)] == ["weather.forecast"]
        assert "a-secret-word" not in caplog.text + repr(milvus.settings) + index.problem
    finally:
        await milvus.close()


async def test_a_search_that_meets_it_away_goes_by_words(vectors: tuple[MilvusVectors, Counting, Day]) -> None:
    milvus, embedder, _ = vectors
    index = await SearchIndex.of(TOOLS, embedder, milvus=milvus)
    await milvus._ask(lambda client: client.drop_collection(milvus.collection))
    assert [hit.tool.id for hit in await index.search("copy a repository")] == ["git.clone"]
    assert index.problem is not None
    again = await SearchIndex.of(TOOLS, embedder, index, milvus)
    assert again.in_milvus
    assert [hit.tool.id for hit in await again.search("will it be rainy", 1)] == ["weather.forecast"]


async def test_a_proxy_keeps_its_tools_in_milvus_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 30.0)
    mcp: FastMCP[Any] = FastMCP("mail")
    mcp.tool(lambda: "", name="send", description="Send a message to a recipient")
    mcp.tool(lambda: "", name="archive", description="Move letters out of the inbox")
    async with ServedMCP(mcp) as served:
        search = {"milvus": {"file": "milvus"}}
        config = make_config({"mail": served.url}, search=search, revision="r1")
        async with running_gateway(config, {"milvus": str(folder / "proxy.db")}) as gateway:
            registry = gateway.proxy.services.registry
            (best,) = await registry.search("write to somebody", 1)
            assert best.tool.document.id == "mail.send"
            report = (await gateway.get("/status")).json()["search"]
            assert report == {"tools": 2, "embeddings": "milvus", "problem": None}
            # It goes away, and is found again where it is then.
            monkeypatch.setattr(module, "TIMEOUT_SECONDS", 1.0)
            away = make_config({"mail": served.url}, search=search, revision="r2")
            await gateway.proxy.apply(away, {"milvus": f"http://127.0.0.1:{dead_port()}#token"})
            while (made := gateway.proxy.status().search) is None or made.embeddings != "memory":
                await registry.search("write to somebody")
                await asyncio.sleep(0)
            assert made.problem is not None
            assert "token" not in made.problem


@pytest.mark.parametrize(
    ("text", "milvus"),
    [
        ("http://milvus:19530", Milvus("http://milvus:19530")),
        (" https://milvus:443#root:secret\n", Milvus("https://milvus:443", "root:secret")),
        ("./vectors.db", Milvus("./vectors.db")),
    ],
)
def test_uris(text: str, milvus: Milvus) -> None:
    assert milvus_of(text) == milvus
    assert "secret" not in repr(milvus_of(text))


@pytest.mark.parametrize("text", ["", "milvus:19530", "ftp://x"])
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(ConfigRejected, match=r"search\.milvus"):
        milvus_of(text)


def test_milvus_without_embeddings_is_refused() -> None:
    config = ProxyConfig.model_validate({"revision": "r", "search": {"embedder": "none", "milvus": {"file": "milvus"}}})
    with pytest.raises(ConfigRejected, match="needs an embedder"):
        search_settings(config, {"milvus": "http://milvus:19530"})


async def test_its_errors_are_told_by_their_kind() -> None:
    milvus = MilvusVectors(Milvus("http://127.0.0.1:1", "root:a-secret-word"), Counting())
    with pytest.raises(VectorsUnavailable, match="Milvus: MilvusException"):
        await milvus.nearest(WordLlamaEmbedder().embed_now(["x"])[0], ["s"], 1)
    await milvus.close()
