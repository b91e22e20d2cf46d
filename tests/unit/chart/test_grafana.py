"""The dashboards against Grafana's own schema, as Grafana Labs publishes it for Python (`grafana-foundation-sdk`).

Its models are generated from Grafana's definitions: what a model drops, Grafana does not know; what does not fit a model's
annotations is a value that Grafana does not take; units are the ones that Grafana lists.
"""

import enum
import json
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.__main__ import FOLDER

plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins", reason="make venv installs it")
encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
runtime = pytest.importorskip("grafana_foundation_sdk.cog.runtime")
models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
units = pytest.importorskip("grafana_foundation_sdk.models.units")

ROOT = Path(__file__).parents[3]
FILES = sorted(FOLDER.glob("*.json"))
UNITS = {value for value in vars(units).values() if isinstance(value, str)}
Body = dict[str, Any]


def wrong(body: Body) -> list[str]:
    """What Grafana does not know, each with its place."""
    plugins.register_default_plugins()
    return [*_misfits(body, models.Dashboard, ""), *_unknown(body)]


def _dropped(body: Any, kept: Any, place: str) -> Iterator[str]:
    if isinstance(body, dict) and isinstance(kept, dict):
        for key, value in body.items():
            yield from (
                [f"{place}.{key}: no such field"] if key not in kept else _dropped(value, kept[key], f"{place}.{key}")
            )
    elif isinstance(body, list) and isinstance(kept, list):
        for number, (one, other) in enumerate(zip(body, kept, strict=True)):
            yield from _dropped(one, other, f"{place}[{number}]")
    elif body != kept:
        yield f"{place}: {body!r} became {kept!r}"


def _misfits(value: Any, hint: Any, place: str) -> Iterator[str]:
    """Where a value is none of those that the annotations allow. Enums are kept as what stands in the JSON."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, dict) and hasattr(hint, "from_json"):
        read = hint.from_json(value)  # models leave some parts unread
        yield from _dropped(value, json.loads(json.dumps(read, cls=encoder.JSONEncoder)), place)
        yield from _misfits(read, hint, place)
    elif origin in {typing.Union, types.UnionType}:
        yield from _of_one(value, arguments, place)
    elif origin is typing.Literal or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        allowed = arguments or tuple(member.value for member in hint)
        if value not in allowed:
            yield f"{place}: {value!r} is none of {allowed}"
    elif not _is_a(value, hint):
        yield f"{place}: {value!r} is no {hint}"
    else:
        for part, inner, of in _parts(value, arguments):
            yield from _misfits(inner, of, f"{place}{part}")


def _of_one(value: Any, hints: tuple[Any, ...], place: str) -> Iterator[str]:
    """A value fits one of several; where it fits none, what is said of the first that is of its kind."""
    found = [(_is_a(value, hint), list(_misfits(value, hint, place))) for hint in hints]
    if all(problems for _, problems in found):
        yield from next((problems for kind, problems in found if kind), found[0][1])


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind of an annotation, whatever is in it. JSON has one kind of numbers."""
    if hint in {Any, object}:
        return True
    kind = typing.get_origin(hint) or hint
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _parts(value: Any, arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any, Any]]:
    """Place, value and annotation of what is in a value."""
    if isinstance(value, list) and arguments:
        yield from ((f"[{number}]", item, arguments[0]) for number, item in enumerate(value))
    elif isinstance(value, dict) and arguments:
        yield from ((f".{key}", item, arguments[1]) for key, item in value.items())
    elif hasattr(value, "to_json"):
        for name, hint in typing.get_type_hints(type(value)).items():
            yield f".{name}", getattr(value, name), hint


def _unknown(body: Body) -> Iterator[str]:
    """What the schema leaves open: kinds of panels and units."""
    for panel in body["panels"]:
        if panel["type"] == "row":
            continue
        if runtime.panelcfg_config(panel["type"]) is None:
            yield f"{panel['title']}: there are no panels of type {panel['type']}"
        options = panel["options"]
        for unit in (panel["fieldConfig"]["defaults"].get("unit"), options.get("yAxis", {}).get("unit")):
            if unit is not None and unit not in UNITS:
                yield f"{panel['title']}: there is no unit {unit}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grafana_knows_all_of_it(path: Path) -> None:
    assert wrong(json.loads(path.read_text())) == []


def first(body: Body, kind: str) -> Body:
    return next(panel for panel in body["panels"] if panel["type"] == kind)


SPOILED: dict[str, tuple[Callable[[Body], object], str]] = {
    "field of the dashboard": (lambda body: body.update(refreshes="1m"), "refreshes: no such field"),
    "field of a panel": (lambda body: first(body, "stat").update(tip="x"), "tip: no such field"),
    "field of options": (lambda body: first(body, "stat")["options"].update(colour="x"), "colour: no such field"),
    "field of a query": (lambda body: first(body, "stat")["targets"][0].update(expression="x"), "no such field"),
    "custom field": (
        lambda body: first(body, "timeseries")["fieldConfig"]["defaults"]["custom"].update(lineWeight=1),
        "lineWeight: no such field",
    ),
    "value": (
        lambda body: first(body, "stat")["options"].update(colorMode="bright"),
        "'bright' is none of",
    ),
    "kind of value": (lambda body: body.update(editable="yes"), "editable: 'yes' is no"),
    "number": (lambda body: first(body, "stat")["gridPos"].update(w="4"), "w: '4' is no"),
    "type of panel": (lambda body: first(body, "stat").update(type="stats"), "there are no panels of type stats"),
    "unit": (
        lambda body: first(body, "stat")["fieldConfig"]["defaults"].update(unit="requests"),
        "there is no unit requests",
    ),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_what_grafana_does_not_know_is_noticed(spoiled: str) -> None:
    body = json.loads(FILES[0].read_text())
    spoil, says = SPOILED[spoiled]
    spoil(body)
    assert any(says in problem for problem in wrong(body)), wrong(body)
