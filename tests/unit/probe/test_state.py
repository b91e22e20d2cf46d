"""Folding probe results: sequences of good and bad probes, what they publish, and which of them are worth a write."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.probe.facts import ProbeResult, ServerFacts, clip
from mcp_operator.probe.state import (
    REST,
    SAMPLES,
    ServerHealth,
    fold,
    known_before,
    published_latency,
    same_error,
    settling,
)
from mcp_operator_proxy.backends.digest import digest
from mcp_operator_proxy.report import ErrorClass, ErrorReport

FACTS = ServerFacts(
    protocol_version="2025-11-25", transport="sse", server_name="a", tools=("x", "y"), digest="sha256:1"
)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def good(seconds: float = 0.012, facts: ServerFacts = FACTS, after: timedelta = timedelta(0)) -> ProbeResult:
    return ProbeResult(time=NOON + after, seconds=seconds, facts=facts)


def bad(message: str = "nothing listens", error_class: ErrorClass = "ConnectionRefused") -> ProbeResult:
    return ProbeResult(time=NOON, seconds=1, error=ErrorReport(error_class=error_class, message=message))


def run(results: list[ProbeResult], threshold: int = 3, success_threshold: int = 1) -> tuple[ServerHealth, list[bool]]:
    state, told = ServerHealth(), []
    for minute, result in enumerate(results):
        at = ProbeResult(
            time=NOON + timedelta(minutes=minute), seconds=result.seconds, facts=result.facts, error=result.error
        )
        state, changed = fold(state, at, threshold, success_threshold)
        told.append(changed)
    return state, told


Y, N = True, False
SEQUENCES = {
    #                        probes, threshold, worth telling,       healthy, failures
    "first good":            ("g",       3, [Y],                      True,  0),
    "nothing changes":       ("ggggggg", 3, [Y, N, N, N, N, N, N],    True,  0),
    "first bad":             ("b",       3, [Y],                      None,  1),
    "never good":            ("bbbbb",   3, [Y, Y, Y, N, N],          False, 3),
    "a blip":                ("gbg",     3, [Y, Y, Y],                True,  0),
    "dies":                  ("gbbbb",   3, [Y, Y, Y, Y, N],          False, 3),
    "almost":                ("gbbgbb",  3, [Y, Y, Y, Y, Y, Y],       True,  2),
    "returns":               ("gbbbbg",  3, [Y, Y, Y, Y, N, Y],       True,  0),
    "strict":                ("gbg",     1, [Y, Y, Y],                True,  0),
    "strict and dead":       ("gbb",     1, [Y, Y, N],                False, 1),
    "unknown until decided": ("bb",      3, [Y, Y],                   None,  2),
}  # fmt: skip


@pytest.mark.parametrize(("probes", "threshold", "told", "healthy", "failures"), SEQUENCES.values(), ids=SEQUENCES)
def test_sequences(probes: str, threshold: int, told: list[bool], healthy: bool | None, failures: int) -> None:
    state, changes = run([good() if probe == "g" else bad() for probe in probes], threshold)
    assert changes == told
    assert (state.healthy, state.consecutive_failures) == (healthy, failures)
    assert (state.error is None) == (probes[-1] == "g")
    assert (state.facts is None) == ("g" not in probes), "what a good probe found is kept while the server fails"
    last_told = max(minute for minute, changed in enumerate(changes) if changed)
    assert state.time == NOON + timedelta(minutes=last_told)
    assert state.last_probe == NOON + timedelta(minutes=len(probes) - 1)


RECOVERIES = {
    #                        probes, needed, worth telling,            healthy, recovering
    "not yet":              ("bbgg",     3, [Y, Y, Y, N],              False,   True),
    "long enough":          ("bbggg",    3, [Y, Y, Y, N, Y],           True,    False),
    "back to the start":    ("bbggbgg",  3, [Y, Y, Y, N, Y, Y, N],     False,   True),
    "a failure meanwhile":  ("bbgb",     3, [Y, Y, Y, Y],              False,   False),
    "one is enough":        ("bbg",      1, [Y, Y, Y],                 True,    False),
    "the first ever":       ("g",        3, [Y],                       True,    False),
    "never was unhealthy":  ("bg",       3, [Y, Y],                    True,    False),
    "a blip":               ("gbg",      3, [Y, Y, Y],                 True,    False),
}  # fmt: skip


@pytest.mark.parametrize(("probes", "needed", "told", "healthy", "recovering"), RECOVERIES.values(), ids=RECOVERIES)
def test_recoveries(probes: str, needed: int, told: list[bool], healthy: bool | None, recovering: bool) -> None:
    """Two failures make it unhealthy; `needed` good probes in a row make it healthy again."""
    state, changes = run([good() if probe == "g" else bad() for probe in probes], 2, needed)
    assert changes == told
    assert (state.healthy, state.recovering) == (healthy, recovering)


DOUBTS = {
    # "d" is a doubt: others begin to say that they do not reach it; "D" one that begins while the next probe is under way
    #                        events,  worth telling,     doubted
    "a good probe ends it": ("gdg",   [Y, Y],            False),
    "so does a bad one":    ("gdb",   [Y, Y],            False),
    "it is told once":      ("gdgg",  [Y, Y, N],         False),
    "of a known failure":   ("bbbdb", [Y, Y, Y, Y],      False),
    "during a probe":       ("gDgg",  [Y, N, Y],         False),
    "and not yet ended":    ("gDg",   [Y, N],            True),
    "before and during":    ("gdDgg", [Y, N, Y],         False),
    "before the first":     ("dg",    [Y],               False),
}  # fmt: skip


@pytest.mark.parametrize(("events", "told", "doubted"), DOUBTS.values(), ids=DOUBTS)
def test_doubts(events: str, told: list[bool], doubted: bool) -> None:
    """A probe that began before a doubt does not end it; the end of a doubt is told and moves no time."""
    state, changes, during = ServerHealth(), [], False
    for event in events:
        if event in "dD":
            state, during = replace(state, doubted=True), event == "D"
            continue
        before = state
        state, changed = fold(state, good() if event == "g" else bad(), 3, doubted=during)
        assert state != before or state.time is before.time
        changes.append(changed)
        during = False
    assert (changes, state.doubted) == (told, doubted)


def test_a_threshold_that_is_edited_meanwhile() -> None:
    state, _ = run([good(), bad(), bad()], threshold=5)
    assert state.healthy is True
    state, changed = fold(state, bad(), 2)
    assert (state.healthy, state.consecutive_failures, changed) == (False, 2, True)
    state, changed = fold(state, bad(), 5)
    assert state.healthy is False, "what was unhealthy does not become healthy by an edit"


@pytest.mark.parametrize(
    "other",
    [
        {"tools": ("x",)},
        {"digest": "sha256:2"},
        {"server_version": "2"},
        {"protocol_version": "2026-07-28"},
        {"transport": "streamable-http"},
        {"prompts": 1},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_facts_are_worth_telling(other: dict[str, object]) -> None:
    changed = ServerFacts(**{**{name: getattr(FACTS, name) for name in FACTS.__slots__}, **other})  # type: ignore[arg-type]
    state, told = run([good(), good(facts=changed), good(facts=changed)])
    assert told == [True, True, False]
    assert state.facts == changed


ERRORS = {
    "the same": ("HTTP 500", "HTTP 500", False),
    "another status": ("the server answered HTTP 500", "the server answered HTTP 503", True),
    "another code": ("answered with error -32603: no", "answered with error -32600: no", True),
    "another request id": ("error -32603: failed (request 7f3a-99)", "error -32603: failed (request 01bc-42)", False),
    "another time": ("too many calls at 12:00:01", "too many calls at 12:00:31", False),
    "other words": ("no licence", "no database", True),
}


@pytest.mark.parametrize(("first", "second", "differs"), ERRORS.values(), ids=ERRORS)
def test_which_errors_are_news(first: str, second: str, differs: bool) -> None:
    state, told = run([bad(first, "ProtocolError"), bad(second, "ProtocolError")], threshold=1)
    assert told == [True, differs]
    assert state.error is not None
    assert state.error.message == (second if differs else first)


def test_another_class_is_news() -> None:
    assert not same_error(bad("a", "Timeout").error, bad("a", "HTTPError").error)
    assert not same_error(None, bad().error)
    assert same_error(None, None)


LATENCIES = {
    "the first is shown":                  ([0.012],                      [0.012]),
    "not the next ones":                   ([0.012, 0.5, 0.5, 0.5],       [0.012] * 4),
    "five that agree":                     ([0.012] * 6,                  [0.012] * 6),
    "a slow start settles":                ([0.3] + [0.012] * 4,          [0.3, 0.3, 0.3, 0.3, 0.012]),
    "a start like the rest does not":      ([0.019] + [0.011] * 5,        [0.019] * 6),
    "one outlier":                         ([0.012] * 5 + [2.0],          [0.012] * 6),
    "it moves when the median does":       ([0.012] * 5 + [0.06] * 3,     [0.012] * 7 + [0.06]),
    "one bucket is not enough":            ([0.012] * 5 + [0.03] * 5,     [0.012] * 10),
    "and back":                            ([0.012] * 5 + [0.06] * 5 + [0.012] * 3, [0.012] * 7 + [0.06] * 5 + [0.012]),
    "two digits":                          ([0.0123456],                  [0.012]),
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "shown"), LATENCIES.values(), ids=LATENCIES)
def test_latency(seconds: list[float], shown: list[float]) -> None:
    state, published = ServerHealth(), []
    for number, value in enumerate(seconds):
        before = state
        state, changed = fold(state, good(value, after=number * REST), 3)
        assert changed == (state.latency_seconds != before.latency_seconds)
        published.append(state.latency_seconds)
    assert published == shown


def test_a_settled_latency_rests() -> None:
    """A machine that gets busy for some minutes is no reason to write a status; one that stays busy is."""
    state, _ = run([good()] * SAMPLES)
    assert not settling(state)
    for second in range(60):
        state, changed = fold(state, good(0.5, after=timedelta(seconds=second)), 3)
        assert not changed
    state, changed = fold(state, good(0.5, after=2 * REST), 3)
    assert (changed, state.latency_seconds) == (True, 0.5)


def test_a_latency_from_before_a_restart_rests_too() -> None:
    """The first probes of a new process, on a machine that is busy with its start, are no reason to write every status."""
    state = known_before(0.012, NOON)
    for second in range(2 * SAMPLES):
        state, _ = fold(state, good(0.5, after=timedelta(seconds=second)), 3)
        assert state.latency_seconds == 0.012
    state, changed = fold(state, good(0.5, after=REST), 3)
    assert (changed, state.latency_seconds) == (True, 0.5)


def test_settling_ends_with_enough_samples_or_a_failure() -> None:
    state, _ = run([good()])
    assert settling(state)
    assert not settling(run([good(), bad()])[0])
    assert not settling(ServerHealth())


@given(st.lists(st.floats(min_value=0.010, max_value=0.0199), min_size=1, max_size=50))
def test_wavering_within_a_factor_of_two_writes_once(seconds: list[float]) -> None:
    _, told = run([good(value) for value in seconds])
    assert told == [True] + [False] * (len(seconds) - 1)


@given(
    st.lists(st.floats(min_value=1e-6, max_value=1e4), min_size=1, max_size=SAMPLES), st.none() | st.floats(1e-6, 1e4)
)
def test_latency_is_always_a_number(samples: list[float], published: float | None) -> None:
    assert published_latency(published, tuple(samples)) > 0


def test_a_threshold_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        fold(ServerHealth(), good(), 0)


def test_a_result_is_good_or_bad() -> None:
    error = ErrorReport(error_class="Timeout", message="slow")
    for facts, reason in ((None, None), (FACTS, error)):
        with pytest.raises(ValueError, match="either"):
            ProbeResult(time=NOON, seconds=1, facts=facts, error=reason)


TOOL = {"name": "a", "description": "d", "inputSchema": {"type": "object", "properties": {"x": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"_meta": {"seen": "now"}}, True),
        ({"annotations": None}, True),
        ({"description": "e"}, False),
        ({"title": "A"}, False),
        ({"annotations": {"readOnlyHint": True}}, False),
        ({"outputSchema": {"type": "object"}}, False),
        ({"inputSchema": {"properties": {"x": {"type": "string"}}, "type": "object"}}, True),
        ({"inputSchema": {"type": "object"}}, False),
    ],
)
def test_what_the_digest_covers(change: dict[str, object], same: bool) -> None:
    assert (digest([TOOL | change]) == digest([TOOL])) is same


def test_the_digest_does_not_know_order() -> None:
    tools = [TOOL | {"name": name} for name in "abc"]
    assert len({digest(order) for order in itertools.permutations(tools)}) == 1
    assert digest(tools) != digest(tools[:2])
    assert digest([]) != digest([TOOL])


@pytest.mark.parametrize(("text", "kept"), [(None, ""), ("a" * 2000, "a" * 1024), ("a\nb\x1b[2J", "a\ufffdb\ufffd[2J")])
def test_texts_of_servers_fit_a_status(text: str | None, kept: str) -> None:
    assert clip(text) == kept
