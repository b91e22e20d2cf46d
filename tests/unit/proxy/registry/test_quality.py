"""The queries by which search is measured: well-formed, and answered better by both ways together than by one alone."""

import logging
import subprocess
import sys

import pytest

from bench.search.catalogue import queries, tools
from bench.search.quality import HELD_OUT, MODES, TUNED, recall
from mcp_operator_proxy.registry.documents import stems
from mcp_operator_proxy.registry.embedders import WordLlamaEmbedder
from mcp_operator_proxy.registry.search import SearchIndex


def test_the_set_is_well_formed() -> None:
    made, asked = tools(), queries()
    assert len({tool.id for tool in made.values()}) == len(made) == 1000
    assert len({tool.name for tool in made.values()}) == 1000
    assert len({tool.server for tool in made.values()}) == 40
    assert len({query.text for query in asked}) == len(asked) == 200
    known = {tool.id for tool in made.values()}
    for query in asked:
        assert query.expected, query.text
        assert query.expected <= known, query.text
        assert len(query.expected) <= 4, query.text
    assert len(asked[TUNED]) == len(asked[HELD_OUT]) == 100


def test_most_queries_use_words_of_their_own() -> None:
    made = {tool.id: set(tool.terms()) for tool in tools().values()}
    shared = []
    for query in queries():
        asked = set(stems(query.text))
        shared.append(max(len(asked & made[tool]) / len(asked) for tool in query.expected))
    assert sum(shared) / len(shared) < 0.35


async def test_both_together_are_better_than_each_alone() -> None:
    index, asked = await SearchIndex.of(tools().values(), WordLlamaEmbedder()), queries()
    for part in (asked, asked[TUNED], asked[HELD_OUT]):
        fused, lexical, semantic = [await recall(index, part, mode) for mode in MODES]
        assert fused >= max(lexical, semantic)
        assert fused >= 0.5


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_the_model_leaves_the_logging_of_the_process_alone(level: int) -> None:
    code = (
        f"import logging; logging.getLogger().setLevel({level})\n"
        "from mcp_operator_proxy.registry.embedders import WordLlamaEmbedder\n"
        "WordLlamaEmbedder().embed_now(['x'])\n"
        "print(logging.getLogger().handlers, logging.getLogger().level)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout.strip() == f"[] {level}"
    assert ran.stderr == ""
