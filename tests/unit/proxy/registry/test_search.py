"""Search by words, by meaning and by both; what may not be called is not found; an embedder that fails costs only meaning."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, PlainTextResponse, Response

from mcp_operator_proxy.registry.documents import ToolDocument
from mcp_operator_proxy.registry.embedders import (
    BATCH,
    DIMENSIONS,
    EmbedderUnavailable,
    EndpointEmbedder,
    Vectors,
    WordLlamaEmbedder,
)
from mcp_operator_proxy.registry.search import SearchIndex
from unit.proxy.registry.conftest import Endpoint

TOOLS = [
    ToolDocument("git.create_pull_request", "git", "create_pull_request", "Open a pull request in a repository"),
    ToolDocument("git.list_issues", "git", "list_issues", "List the issues of a repository"),
    ToolDocument("mail.sendEmail", "mail", "sendEmail", "Send a message to a recipient"),
    ToolDocument("weather.forecast", "weather", "forecast", "Temperature and rain of the coming days"),
    ToolDocument(
        "db.query",
        "db",
        "query",
        "Run a statement",
        parameters={"properties": {"sql": {"type": "string", "description": "the SELECT to run"}}},
    ),
]


class Counting:
    """The model that ships with the product, and how many texts it was given."""

    id = WordLlamaEmbedder.id

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.fails = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.fails:
            raise EmbedderUnavailable("it is away")
        self.texts += texts
        return WordLlamaEmbedder().embed_now(texts)


async def ids(index: SearchIndex, query: str, **options: Any) -> list[str]:
    return [hit.tool.id for hit in await index.search(query, **options)]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("open pull requests", "git.create_pull_request"),
        ("createPullRequest", "git.create_pull_request"),
        ("email somebody", "mail.sendEmail"),
        ("sql", "db.query"),
        ("will it be rainy tomorrow", "weather.forecast"),
        ("bug tracker tickets of my repository", "git.list_issues"),
    ],
)
async def test_the_best_fit_comes_first(query: str, best: str) -> None:
    index = await SearchIndex.of(TOOLS, WordLlamaEmbedder())
    assert (await ids(index, query, limit=3))[0] == best


async def test_words_alone_and_meaning_alone() -> None:
    index = await SearchIndex.of(TOOLS, WordLlamaEmbedder())
    assert index.semantic
    assert await ids(index, "sql", mode="lexical") == ["db.query"]
    assert await ids(index, "correspondence", mode="lexical") == []
    assert (await ids(index, "correspondence by letter", mode="semantic"))[0] == "mail.sendEmail"


@pytest.mark.parametrize("query", ["", "   ", "!!!", "\0", "天気", "x" * 100_000, "the of to"])
async def test_odd_queries_find_something_or_nothing_and_never_fail(query: str) -> None:
    for embedder in (None, WordLlamaEmbedder()):
        index = await SearchIndex.of(TOOLS, embedder)
        assert len(await index.search(query, limit=2)) <= 2


@pytest.mark.parametrize("tools", [[], [ToolDocument("s.x", "", "", "")]])
async def test_few_or_empty_tools(tools: list[ToolDocument]) -> None:
    for embedder in (None, WordLlamaEmbedder()):
        index = await SearchIndex.of(tools, embedder)
        assert len(await index.search("anything")) <= len(tools)


@given(
    st.sets(st.sampled_from([tool.id for tool in TOOLS] + ["nobody.knows"])), st.sampled_from(["git", "mail a query"])
)
async def test_what_may_not_be_called_is_never_found(allowed: set[str], query: str) -> None:
    index = await SearchIndex.of(TOOLS, WordLlamaEmbedder())
    for mode in ("fused", "lexical", "semantic"):
        assert set(await ids(index, query, limit=100, allowed=allowed, mode=mode)) <= allowed


async def test_being_left_out_changes_nothing_for_the_others() -> None:
    """Neither the place of a tool nor its score tells of one that the caller may not see."""
    index = await SearchIndex.of(TOOLS, WordLlamaEmbedder())
    everything = [hit for hit in await index.search("git repository", limit=100) if hit.tool.server != "git"]
    some = await index.search("git repository", limit=100, allowed=[t.id for t in TOOLS if t.server != "git"])
    assert [hit.tool.id for hit in some] == [hit.tool.id for hit in everything]


async def test_only_what_is_new_is_embedded() -> None:
    embedder = Counting()
    before = await SearchIndex.of(TOOLS, embedder)
    assert len(embedder.texts) == len(TOOLS)
    changed = ToolDocument("mail.sendEmail", "mail", "sendEmail", "Something else")
    after = await SearchIndex.of([changed, *TOOLS[:2], *TOOLS[3:]], embedder, before)
    assert embedder.texts[len(TOOLS) :] == [changed.text()]
    assert await ids(after, "something else") != await ids(before, "something else")


async def test_an_embedder_that_fails_costs_meaning_alone(caplog: pytest.LogCaptureFixture) -> None:
    embedder = Counting()
    index = await SearchIndex.of(TOOLS, embedder)
    embedder.fails = True
    assert await ids(index, "sql") == ["db.query"]
    without = await SearchIndex.of([*TOOLS, ToolDocument("new.tool", "new", "tool")], embedder, index)
    assert not without.semantic
    assert await ids(without, "sql") == ["db.query"]
    assert "words alone" in caplog.text
    embedder.fails = False
    assert (await SearchIndex.of(TOOLS, embedder, without)).semantic


def test_the_model_loads_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it went to the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    vectors = WordLlamaEmbedder().embed_now(["one text", "another", ""])
    assert vectors.shape == (3, DIMENSIONS)
    assert np.allclose(np.linalg.norm(vectors[:2], axis=1), 1, atol=1e-5)


# An endpoint


@pytest.fixture
async def endpoint(served_endpoint: Endpoint) -> AsyncIterator[tuple[Endpoint, EndpointEmbedder]]:
    async with httpx2.AsyncClient() as http:
        yield served_endpoint, EndpointEmbedder(http, served_endpoint.url, "a-model", "a-secret-key")


async def test_an_endpoint_gives_the_same_as_the_model_behind_it(endpoint: tuple[Endpoint, EndpointEmbedder]) -> None:
    made, embedder = endpoint
    texts = [f"text number {number}" for number in range(BATCH + 3)]
    assert np.allclose(await embedder.embed(texts), WordLlamaEmbedder().embed_now(texts), atol=1e-5)
    assert [len(request["input"]) for request in made.requests] == [BATCH, 3]
    assert made.requests[0]["model"] == "a-model"
    assert set(made.keys) == {"Bearer a-secret-key"}
    index = await SearchIndex.of(TOOLS, embedder)
    assert (await ids(index, "correspondence by letter"))[0] == "mail.sendEmail"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (PlainTextResponse("a-secret-key", 401), "HTTP 401"),
        (PlainTextResponse("nonsense"), "no embeddings"),
        (JSONResponse([]), "no embeddings"),
        (JSONResponse({"data": []}), "no embeddings"),
        (JSONResponse({"data": [{"index": 0, "embedding": ["a"]}]}), "no embeddings"),
        (JSONResponse({"data": [{"index": 0, "embedding": []}]}), ""),
    ],
)
async def test_an_answer_that_is_none_is_told_without_the_key(
    endpoint: tuple[Endpoint, EndpointEmbedder], answer: Response, why: str
) -> None:
    made, embedder = endpoint
    made.answer = answer
    index = await SearchIndex.of(TOOLS[:1], embedder)
    assert (await ids(index, "pull"))[0] == TOOLS[0].id
    if why:
        with pytest.raises(EmbedderUnavailable, match=why) as told:
            await embedder.embed(["a"])
        assert "a-secret-key" not in str(told.value)


async def test_an_endpoint_that_is_away_is_told() -> None:
    async with httpx2.AsyncClient() as http:
        with pytest.raises(EmbedderUnavailable, match="ConnectError"):
            await EndpointEmbedder(http, "http://127.0.0.1:1", "m").embed(["a"])
