"""The figures of `bench.instructions`, what callgrind says, and that what is cut out of the proxy is still there to be cut."""

import importlib.util
from pathlib import Path

import pytest

from bench import callgrind
from bench.cut import CUTS, LANE, Cut, Finder, Stale, trimmed
from bench.instructions import QUESTIONS, VARIANTS, Question, Readings, Scenario, cost
from mcp_operator_proxy import fastlane

DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 4711
cmd:  python -m bench.cut nothing serve
part: 3
thread: 1

desc: I1 cache:
desc: Timerange: Basic block 80406751 - 99989009
desc: Trigger: dump reading-3

positions: line
events: Ir
summary: 20364320

ob=(1)
fl=(1) core.c
fn=(1) uv_run
16 20364320

totals: 20364320
"""


def test_a_dump_tells_its_thread_and_total() -> None:
    assert callgrind.totals(DUMP) == (1, "dump reading-3", 20364320)


@pytest.mark.parametrize("line", ["thread: 1\n", "totals: 20364320\n", "desc: Trigger: dump reading-3\n"])
def test_a_dump_without_one_of_them_is_none(line: str) -> None:
    with pytest.raises(ValueError, match=line.partition(":")[0]):
        callgrind.totals(DUMP.replace(line, ""))


def test_a_machine_without_valgrind_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(callgrind.Missing, match="hack/valgrind"):
        callgrind.command(tmp_path / "out", "uv_run")


def test_the_cost_is_that_of_medians_and_its_spread_that_of_processes() -> None:
    calls, lists = Scenario("modern", "tools/call", 1), Scenario("modern", "tools/list", 1)
    found = [
        Readings("whole", calls, [104.0, 105.0, 900.0]),
        Readings("bare", calls, [99.0, 100.0, 100.0]),
        Readings("whole", calls, [103.0, 103.0, 50.0]),
        Readings("bare", calls, [100.0]),
        Readings("whole", lists, [7.0]),
        Readings("other", calls, [7.0]),
    ]
    told = cost(Question("metrics", "metrics", "whole", "bare"), calls, found)
    assert (told.having, told.without, told.ratio) == pytest.approx((104, 100, 1.04))
    assert (told.low, told.high) == pytest.approx((1.03, 1.05))
    assert str(told).startswith("modern tools/call c=1")
    assert "+4.00% (+3.00% to +5.00%)" in str(told)


def test_all_variants_are_known() -> None:
    assert {name for q in QUESTIONS for name in (q.having, q.without)} == set(VARIANTS)
    assert {variant.cut for variant in VARIANTS.values()} == set(CUTS)


@pytest.mark.parametrize("name", CUTS)
def test_what_is_cut_is_there_and_leaves_a_program(name: str) -> None:
    cuts = CUTS[name]
    for module in {cut.module for cut in cuts}:
        spec = Finder(cuts).find_spec(module, fastlane.__path__)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_metrics_cut_leaves_nothing_that_counts() -> None:
    found = importlib.util.find_spec(LANE)
    assert found is not None
    assert found.origin is not None
    source = trimmed(Path(found.origin).read_text(), [cut for cut in CUTS["metrics"] if cut.module == LANE])
    over = source[source.index("def _over(") : source.index("def _count(")]
    assert not [word for word in ("tally", "usage", "_gathered", "heard", "settle()") if word in over]


@pytest.mark.parametrize("source", ["x = 1\n", "a\nb\na\n"])
def test_what_has_changed_is_not_cut(source: str) -> None:
    with pytest.raises(Stale, match="not once"):
        trimmed(source, [Cut("m", "a\n")])
