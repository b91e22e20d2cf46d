"""What the suite found, and whether that is good enough. Pure, but for reading the files that the suite wrote."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

REVISIONS: Final = ("2025-11-25", "2026-07-28")
ALL: Final = "all"
MAX_WHY: Final = 200
MUST_SUCCEED: Final[Mapping[str, frozenset[str]]] = {
    "2025-11-25": frozenset({"resources-subscribe", "resources-unsubscribe"}),
    "2026-07-28": frozenset(
        {
            "sep-2575-server-sends-subscription-ack",
            "sep-2575-server-tags-subscription-id",
            "sep-2575-server-honors-notification-filter",
            "sep-2575-server-sends-prompts-list-changed-on-subscription",
            "sep-2575-server-sends-tools-list-changed-on-subscription",
        }
    ),
}
"""Checks on subscriptions by revision. The suite skips some where a server declares nothing, and takes that for passed."""
_FOLDER: Final = re.compile(r"^server-(?P<scenario>.+?)-\d{4}-\d{2}-\d{2}T[\dZ-]+$")


class BadExpectations(ValueError):
    """The file of expected failures is not what it should be."""


@dataclass(frozen=True)
class Scenario:
    """One scenario of one run."""

    name: str
    succeeded: frozenset[str] = frozenset()
    """Ids of the checks that ran and did not fail."""
    failed: tuple[str, ...] = ()
    """`id: why` of those that failed."""

    @property
    def passed(self) -> bool:
        """As the suite counts: no check failed."""
        return not self.failed


@dataclass(frozen=True)
class Run:
    """All scenarios of one run by name. `scored` are those that the revision requires; in the run of all, all are."""

    what: str
    scenarios: Mapping[str, Scenario]
    scored: tuple[str, ...]

    @property
    def passed(self) -> tuple[str, ...]:
        return tuple(name for name in self.scored if name in self.scenarios and self.scenarios[name].passed)

    @property
    def failing(self) -> tuple[str, ...]:
        """Scenarios that failed, and scored ones that did not run."""
        found = [name for name, scenario in self.scenarios.items() if not scenario.passed]
        return tuple(sorted({*found, *(name for name in self.scored if name not in self.scenarios)}))

    def counts(self) -> dict[str, int]:
        return {"passed": len(self.passed), "total": len(self.scored)}


def read_run(what: str, folder: Path, required: Path | None) -> Run:
    """What the suite wrote into `folder`. `required` is its list of the scenarios that a revision requires."""
    scenarios: dict[str, Scenario] = {}
    for file in sorted(folder.glob("server-*/checks.json")):
        match = _FOLDER.match(file.parent.name)
        if match is not None:
            found = scenario(match["scenario"], json.loads(file.read_text()))
            scenarios[found.name] = found
    scored = yaml.safe_load(required.read_text())["server"] if required is not None else sorted(scenarios)
    return Run(what, scenarios, tuple(scored))


def scenario(name: str, checks: Iterable[Mapping[str, Any]]) -> Scenario:
    checks = list(checks)
    failed = tuple(f"{c['id']}: {c.get('errorMessage') or ''}"[:MAX_WHY] for c in checks if c["status"] == "FAILURE")
    ids = {c["id"] for c in checks if c["status"] == "SUCCESS"}
    return Scenario(name, frozenset(ids - {c["id"] for c in checks if c["status"] == "FAILURE"}), failed)


def expected_failures(text: str) -> frozenset[str]:
    """The scenarios that may fail, from YAML: `server: [name, …]`, as the suite itself reads it. Raises BadExpectations."""
    data = yaml.safe_load(text)
    names = data.get("server") if isinstance(data, dict) and set(data) == {"server"} else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadExpectations("expected failures are a mapping of `server` to a list of scenario names")
    if len(set(names)) != len(names):
        raise BadExpectations("a scenario is listed twice")
    return frozenset(names)


def verdict(runs: Iterable[Run], plain: Run, expected: frozenset[str]) -> list[str]:
    """What is wrong with the runs through the proxy; nothing where all is well.

    `plain` is the run of all scenarios against the server itself. An expected failure excuses a scenario that is not
    scored; one that no longer fails is stale, and that is wrong too.
    """
    runs = list(runs)
    problems = [problem for run in runs for problem in _shortfalls(run, expected)]
    failing = {name for run in runs for name in run.failing}
    problems += [f"stale: {name} is expected to fail and does not" for name in sorted(expected - failing)]
    everything = next((run for run in runs if run.what == ALL), None)
    if everything is not None:
        worse = sorted(set(plain.passed) - set(everything.passed))
        problems += [f"all: {name} passes without the proxy" for name in worse]
    return problems


def _shortfalls(run: Run, expected: frozenset[str]) -> Iterable[str]:
    if not run.scenarios:
        yield f"{run.what}: the suite ran nothing"
    for name in run.failing:
        excused = name in expected and (run.what == ALL or name not in run.scored)
        if not excused:
            why = run.scenarios[name].failed if name in run.scenarios else ("it did not run",)
            yield f"{run.what}: {name}: {'; '.join(why)}"
    ran = {check for found in run.scenarios.values() for check in found.succeeded}
    for check in sorted(MUST_SUCCEED.get(run.what, frozenset()) - ran):
        yield f"{run.what}: the check {check} did not run and succeed"


def summary(runs: Iterable[Run], plain: Mapping[str, Run]) -> dict[str, dict[str, int]]:
    """The content of build/conformance.json."""
    return {run.what: {**run.counts(), "plain_passed": len(plain[run.what].passed)} for run in runs}
