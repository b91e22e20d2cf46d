"""The chart's dashboards as files: up to date, well-formed as Grafana's JSON model wants it, and about series that there are.

That each query returns something: test_prometheus.py.
"""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.__main__ import FOLDER, texts
from support.prometheus import promtool

ROOT = Path(__file__).parents[3]
ALERTS = sorted((ROOT / "charts" / "mcp-operator" / "alerts").glob("*.yaml"))
FILES = sorted(FOLDER.glob("*.json"))
METRIC = re.compile(r"\b((?:mcp|workqueue|controller)_\w+)\b(?!\s*=|\")")
UNITS = {"none", "s", "reqps", "ops", "percentunit", "bytes"}
Body = dict[str, Any]

each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def panels(path: Path) -> list[Body]:
    return list(json.loads(path.read_text())["panels"])


def expressions(path: Path) -> list[str]:
    return [target["expr"] for panel in panels(path) for target in panel.get("targets", ())]


def test_they_are_up_to_date() -> None:
    assert {path.name: path.read_text() for path in FILES} == texts(), "run make dashboards"


@each
def test_each_has_an_id_and_a_place_of_its_own(path: Path) -> None:
    ids = [panel["id"] for panel in panels(path)]
    assert len(ids) == len(set(ids))
    for panel in panels(path):
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels(path)], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@each
def test_each_panel_says_what_it_shows_and_asks_the_chosen_source(path: Path) -> None:
    shown = [panel for panel in panels(path) if panel["type"] != "row"]
    titles = [panel["title"] for panel in shown]
    assert len(titles) == len(set(titles))
    for panel in shown:
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS
        steps = defaults["thresholds"]["steps"]
        values = [step["value"] for step in steps]
        assert values[0] is None
        assert values[1:] == sorted(values[1:])
        assert panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each
def test_variables_are_declared_and_used(path: Path) -> None:
    body = json.loads(path.read_text())
    variables = body["templating"]["list"]
    declared = {variable["name"] for variable in variables} - {"datasource"}
    assert variables[0]["type"] == "datasource"
    asked = [*expressions(path), *(v["query"]["query"] for v in variables if v["type"] == "query")]
    named = {name for text in asked for name in re.findall(r"\$(\w+)", text)}
    assert named - {"1", "__rate_interval", "__range"} == declared


def test_each_dashboard_has_its_own_id_and_title() -> None:
    bodies = [json.loads(path.read_text()) for path in FILES]
    assert len({body["uid"] for body in bodies}) == len({body["title"] for body in bodies}) == len(bodies) == 4
    assert [f"{body['uid']}.json" for body in bodies] == [path.name for path in FILES]


def test_they_are_small_enough_for_a_config_map() -> None:
    assert all(path.stat().st_size < 2**19 for path in FILES)


def test_every_metric_that_is_named_is_documented() -> None:
    alerts = [
        rule["expr"]
        for path in ALERTS
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    named = {
        name for expr in (*alerts, *(e for path in FILES for e in expressions(path))) for name in METRIC.findall(expr)
    }
    named -= {"mcp_proxy"}  # the label
    text = (ROOT / "docs" / "operations.md").read_text().partition("## Metrics")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {name for cell in rows for name in re.findall(r"`(\w+)`", cell)}
    assert len(named) > 40
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} - documented == set()


@each
def test_promql_is_well_formed(path: Path, tmp_path: Path) -> None:
    """promtool reads it as a recording rule."""
    rules = []
    for number, expr in enumerate(expressions(path)):
        filled = expr.replace("$__rate_interval", "1m").replace("$__range", "1h")
        rules.append({"record": f"query:{number}", "expr": re.sub(r"\$(namespace|proxy|server)\b", ".*", filled)})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
