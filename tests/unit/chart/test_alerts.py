"""The chart's alerts, by promtool: they are well-formed, each fires when it should and is silent when it should not, and says
what to do. The cases stand in `alerts/`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.prometheus import promtool

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "charts" / "mcp-operator" / "alerts").glob("*.yaml"))
CASES = Path(__file__).parent / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
SEVERITIES = {"critical", "warning"}
Rule = dict[str, Any]


def rules(path: Path) -> list[Rule]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALL: dict[str, Rule] = {rule["alert"]: rule for path in RULES for rule in rules(path)}


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(CASES.glob("*.yaml")):
        for alert, found in yaml.safe_load(path.read_text()).items():
            yield from ((alert, case) for case in found)


def _promtool_test(alert: str, case: dict[str, Any]) -> Rule:
    """In the shape of promtool's unit tests: one case is one test, with series of its own."""
    expected = (
        [{"exp_labels": case["fires"], "exp_annotations": {"summary": case["summary"]}}] if "fires" in case else []
    )
    return {
        "name": f"{alert}: {case.get('silent', 'fires')}",
        "interval": "1m",
        "input_series": [{"series": series, "values": str(values)} for series, values in case["series"].items()],
        "alert_rule_test": [{"alertname": alert, "eval_time": case["at"], "exp_alerts": expected}],
    }


def test_the_rules_are_well_formed() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(ALL) == sum(len(rules(path)) for path in RULES), "an alert's name is its own"


@pytest.mark.parametrize("name", ALL)
def test_each_fires_and_is_silent_when_it_should(name: str, tmp_path: Path) -> None:
    """promtool compares all annotations; here the summary alone is looked at, which has the same variables."""
    rule = {**ALL[name], "annotations": {"summary": ALL[name]["annotations"]["summary"]}}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "tested", "rules": [rule]}]}))
    tests = [_promtool_test(name, case) for alert, case in cases() if alert == name]
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(content))
    done = promtool("test", "rules", tmp_path / "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_cases_of_both_kinds_for_each() -> None:
    fires = {alert for alert, case in cases() if "fires" in case}
    silent = {alert for alert, case in cases() if "silent" in case}
    assert fires == silent == ALL.keys()


def test_the_ones_that_everybody_needs_are_there() -> None:
    named = "MCPServerDown HighToolExecutionErrors OAuthTokenRefreshFailures ProxyNotProgrammed SlowSwap OperatorStuck"
    assert set(named.split()) <= ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_each_says_what_it_means_and_what_to_do(name: str) -> None:
    rule = ALL[name]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"].endswith(f"/runbooks.html#{name.lower()}")
    assert len(rule["annotations"]["description"]) > 80
    assert "for" in rule or "increase(" in rule["expr"], "one bad look is no reason to wake somebody"


def test_each_has_its_runbook_with_commands_and_there_are_no_others() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOKS.read_text(), re.MULTILINE | re.DOTALL))
    assert list(sections) == sorted(ALL, key=str.lower)
    for name, text in sections.items():
        assert re.search(r"^```sh\n.*^```$", text, re.MULTILINE | re.DOTALL), f"{name}: which commands?"
