import math

import pytest

from bench.render import findings, markdown, ratio
from bench.stats import Row, Sample, failed, percentile, row


def sample(calls: int = 100, seconds: float = 1.0, **more: object) -> Sample:
    figures = {"p50": 0.001, "p99": 0.002, "longest": 0.003, "cpu_seconds": 0.05, **more}
    return Sample(calls=calls, seconds=seconds, **figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([1.0], 0.5, 1.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([4.0, 1.0, 2.0, 3.0], 0.5, 2.0), (range(1, 101), 0.99, 99)],
)
def test_percentiles_by_nearest_rank(values: list[float], share: float, found: float) -> None:
    assert percentile(values, share) == found


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_row_holds_medians_and_sums() -> None:
    samples = [sample(100, backend_requests=100), sample(300, backend_requests=301), sample(200, backend_requests=200)]
    found = row(samples, target="fast lane", front="legacy", backend="b", concurrency=16)
    assert (found.rps, found.p50_ms, found.p99_ms, found.errors) == (200.0, 1.0, 2.0, 0)
    assert found.cpu_ms_per_call == 0.25
    assert found.backend_requests_per_call == 1.002
    assert found.reason is None


def test_a_target_that_does_not_answer_has_a_row_with_the_reason() -> None:
    found = row([failed("not started: no such file")], target="x", front="modern", backend="b", concurrency=1)
    assert (found.rps, found.p50_ms, found.backend_requests_per_call, found.errors) == (None, None, None, 1)
    assert found.reason == "not started: no such file"


def test_samples_survive_their_way_between_processes() -> None:
    for one in (sample(errors=1, problems=("a", "b"), backend_requests=7), sample()):
        assert Sample.from_json(one.to_json()) == one
    assert math.isnan(Sample.from_json(failed("no").to_json()).p50)


def rows() -> list[Row]:
    common = {"front": "legacy", "backend": "b", "concurrency": 1}
    return [
        Row(target="direct", rps=1000.0, **common),  # type: ignore[arg-type]
        Row(target="fast lane", rps=500.0, p50_ms=0.2, cpu_ms_per_call=0.09, **common),  # type: ignore[arg-type]
        Row(target="stock create_proxy, 2 servers", rps=2.0, **common),  # type: ignore[arg-type]
        Row(target="peer", errors=1, reason="a|b\n c", **common),  # type: ignore[arg-type]
        Row(target="fast lane", rps=400.0, front="modern", backend="b", concurrency=1),
    ]


def test_ratios_compare_what_was_measured_in_the_same_way() -> None:
    found = rows()
    assert ratio(found[1], found, "direct") == 0.5
    assert ratio(found[1], found, "stock") == 250
    assert ratio(found[4], found, "direct") is None
    assert ratio(found[3], found, "direct") is None


def test_the_table_has_a_line_for_each_row_and_the_reasons() -> None:
    lines = markdown(rows(), "stock create_proxy, 2 servers").splitlines()
    assert lines[3] == "| fast lane | legacy | 1 | 500 | 0.20 | - | 0.090 | - | 0 | 0.500 | 250 |"
    assert lines[5].startswith("| peer | legacy | 1 | - | - |")
    assert lines[-1] == "- peer, legacy, c=1: a/b c"
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_other_findings_are_a_list() -> None:
    found = findings({"start": {"seconds": 1.23456}, "calls": 100_000, "each": [1, 2]})
    assert found == "- start: seconds 1.235\n- calls: 100,000\n- each: [1, 2]\n"
