"""Panels, their places and variables, in the shape of Grafana's JSON model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Body = dict[str, Any]
Kind = Literal["stat", "timeseries", "state-timeline", "table", "heatmap"]

WIDTH: Final = 24
"""Columns of Grafana's grid."""
SOURCE: Final[Body] = {"type": "prometheus", "uid": "${datasource}"}
GOOD_IS_LOW: Final = ((None, "green"), (1.0, "red"))


@dataclass(frozen=True)
class Query:
    """`legend` may hold labels, as `{{label}}`. An instant one is asked for the end of the time range alone."""

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """`unit` is an id of Grafana's units; `steps` are thresholds: from which value on which colour."""

    kind: Kind
    title: str
    queries: tuple[Query, ...]
    unit: str
    about: str = ""
    width: int = 8
    height: int = 7
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    words: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Text and colour in the place of values."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """Values of a label; each may be chosen, several or all. `pattern`: the part of a value that is meant."""

    name: str
    query: str
    pattern: str = ""


def stat(title: str, expr: str, unit: str, about: str = "", **more: Any) -> Panel:
    return Panel("stat", title, (Query(expr, instant=True),), unit, about, width=4, height=4, **more)


def lines(title: str, unit: str, *queries: tuple[str, str], about: str = "", **more: Any) -> Panel:
    """`queries`: expression and legend."""
    return Panel("timeseries", title, tuple(Query(*query) for query in queries), unit, about, **more)


def table(title: str, unit: str, *exprs: str, about: str = "", **more: Any) -> Panel:
    return Panel("table", title, tuple(Query(expr, instant=True) for expr in exprs), unit, about, **more)


def quantiles(title: str, buckets: str, about: str = "", **more: Any) -> Panel:
    """The 50th, 95th and 99th percentile; `buckets` are rates that have the label `le`, summed up."""
    shown = [(f"histogram_quantile({q}, {buckets})", f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]
    return lines(title, "s", *shown, about=about, **more)


def dashboard(uid: str, title: str, about: str, variables: Iterable[Variable], rows: Iterable[Row]) -> Body:
    """Places panels from left to right, and gives each an id of its own."""
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["mcp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "links": [
            {"type": "dashboards", "title": "MCP", "tags": ["mcp"], "asDropdown": True, "keepTime": True, "icon": ""}
        ],
        "annotations": {"list": []},
        "templating": {"list": [_source(), *map(_variable, variables)]},
        "panels": _placed(list(rows)),
    }


def _source() -> Body:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
    }


def _variable(variable: Variable) -> Body:
    return {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "regex": variable.pattern,
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _placed(rows: Sequence[Row]) -> list[Body]:
    found: list[Body] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        found.append({"id": len(found) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": place})
        found[-1]["panels"] = []
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            found.append({"id": len(found) + 1, "gridPos": place, **_panel(panel)})
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return found


def _panel(panel: Panel) -> Body:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [_target(panel, query, chr(ord("A") + number)) for number, query in enumerate(panel.queries)],
        "transformations": _transformations(panel),
    }


def _defaults(panel: Panel) -> Body:
    steps = [{"value": value, "color": colour} for value, colour in panel.steps]
    found: Body = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, "mappings": []}
    if panel.words:
        options = {value: {"text": text, "color": colour} for value, (text, colour) in panel.words.items()}
        found["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        found |= {"min": 0, "color": {"mode": "palette-classic"}}
        found["custom"] = {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never", "spanNulls": False}
    else:
        found["color"] = {"mode": "thresholds"}
    return found


def _options(panel: Panel) -> Body:
    match panel.kind:
        case "stat":
            calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            return {"reduceOptions": calculation, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
        case "timeseries":
            legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "state-timeline":
            legend = {"displayMode": "list", "placement": "bottom", "showLegend": False}
            return {"mergeValues": True, "showValue": "never", "rowHeight": 0.8, "legend": legend}
        case "table":
            return {"showHeader": True, "cellHeight": "sm"}
        case "heatmap":
            return {"calculate": False, "yAxis": {"unit": "s"}, "color": {"mode": "scheme", "scheme": "Oranges"}}


def _target(panel: Panel, query: Query, ref: str) -> Body:
    shape = {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series")
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": query.instant,
        "range": not query.instant,
        "format": shape,
    }


def _transformations(panel: Panel) -> list[Body]:
    if panel.kind != "table":
        return []
    hidden = {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": hidden}]
