"""The bookkeeping of `make conformance`: what counts as good enough."""

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.results import (
    ALL,
    MUST_SUCCEED,
    BadExpectations,
    Run,
    Scenario,
    expected_failures,
    read_run,
    scenario,
    summary,
    verdict,
)
from conformance.suite import HERE

REVISION = "2025-11-25"
CHECKS = MUST_SUCCEED[REVISION]


def ran(what: str = REVISION, *, scored: tuple[str, ...] = ("a", "b"), **failed: str) -> Run:
    """A run in which `a`, `b` and `extra` ran; `failed` says which failed, and why."""
    names = ("a", "b", "extra")
    found = {name: Scenario(name, CHECKS, (failed[name],) if name in failed else ()) for name in names}
    return Run(what, found, names if what == ALL else scored)


def test_all_is_well() -> None:
    assert verdict([ran(), ran(ALL)], ran(ALL), frozenset()) == []


@pytest.mark.parametrize(
    ("runs", "plain", "expected", "problems"),
    [
        pytest.param([ran(a="a-1: no")], ran(ALL), [], ["2025-11-25: a: a-1: no"], id="a failure"),
        pytest.param([ran(extra="x: no")], ran(ALL), ["extra"], [], id="an expected failure"),
        pytest.param([ran(extra="x: no")], ran(ALL), [], ["2025-11-25: extra: x: no"], id="an unexpected one"),
        pytest.param([ran(a="a: no")], ran(ALL), ["a"], ["2025-11-25: a: a: no"], id="what is required has no excuse"),
        pytest.param([ran()], ran(ALL), ["extra"], ["stale: extra is expected to fail and does not"], id="stale"),
        pytest.param([ran()], ran(ALL), ["gone"], ["stale: gone is expected to fail and does not"], id="no such one"),
        pytest.param([ran(scored=("a", "c"))], ran(ALL), [], ["2025-11-25: c: it did not run"], id="it did not run"),
        pytest.param([ran(ALL, b="b: no")], ran(ALL, b="b: no"), ["b"], [], id="as bad as without the proxy"),
        pytest.param([ran(ALL, b="b: no")], ran(ALL), ["b"], ["all: b passes without the proxy"], id="worse"),
    ],
)
def test_verdict(runs: list[Run], plain: Run, expected: list[str], problems: list[str]) -> None:
    assert verdict(runs, plain, frozenset(expected)) == problems


def test_a_suite_that_ran_nothing_fails() -> None:
    assert verdict([Run(ALL, {}, ())], ran(ALL), frozenset())[0] == "all: the suite ran nothing"


def test_skipped_subscriptions_fail() -> None:
    """The suite counts a skipped check as no failure; the checks on subscriptions have to run."""
    skipped = Run(REVISION, {"a": Scenario("a")}, ("a",))
    assert verdict([skipped], ran(ALL), frozenset()) == [
        f"2025-11-25: the check {check} did not run and succeed" for check in sorted(CHECKS)
    ]


def test_a_check_that_both_succeeds_and_fails_has_failed() -> None:
    twice = [{"id": "c", "status": "SUCCESS"}, {"id": "c", "status": "FAILURE", "errorMessage": "no"}]
    assert scenario("s", [*twice, {"id": "d", "status": "SKIPPED"}]) == Scenario("s", frozenset(), ("c: no",))


def test_read_run(tmp_path: Path) -> None:
    def write(folder: str, *checks: Any) -> None:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "checks.json").write_text(json.dumps(checks))

    write("server-resources-list-2026-11-21T14-07-05-199Z", {"id": "r", "status": "SUCCESS"})
    write("server-sep-2164-x-2026-11-21T14-07-05-199Z", {"id": "x", "status": "FAILURE", "errorMessage": "no"})
    required = tmp_path / "2025-11-25.yaml"
    required.write_text("server: [resources-list, ping]\nclient: [other]\n")
    found = read_run(REVISION, tmp_path, required)
    assert found.counts() == {"passed": 1, "total": 2}
    assert found.failing == ("ping", "sep-2164-x")
    everything = read_run(ALL, tmp_path, None)
    assert everything.counts() == {"passed": 1, "total": 2}
    assert summary([everything], {ALL: ran(ALL)}) == {"all": {"passed": 1, "total": 2, "plain_passed": 3}}


@pytest.mark.parametrize(
    "text", ["[]", "server: a", "server: [1]", "client: []", "server: [a, a]", "", "{server: [], x: 1}"]
)
def test_a_wrong_file_of_expected_failures_is_refused(text: str) -> None:
    with pytest.raises(BadExpectations):
        expected_failures(text)


def test_the_committed_files() -> None:
    expected_failures((HERE / "expected-failures.yaml").read_text())
    lock = json.loads((HERE / "package-lock.json").read_text())
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    assert "://" not in json.dumps(lock), "the lock file names a host"
