"""Showing a `View` on a terminal, live."""

from datetime import UTC, datetime
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mcp_operator.local.manifests import Severity
from mcp_operator.local.table import KINDS, Endpoint, Row, View, age, client_config, columns

_COLOURS: Final = {"True": "green", "False": "red"}


class LiveScreen:
    """A table that is drawn anew on every change and twice a second; what is said stands above it and stays."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._view = View()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._console = console or Console()
        self._live = Live(
            get_renderable=self._render, console=self._console, refresh_per_second=2, vertical_overflow="ellipsis"
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, view: View) -> None:
        self._view = view
        if view.endpoints != self._endpoints:
            self._endpoints = view.endpoints
            self.say(f"For an MCP client:\n{client_config(view.endpoints)}")
        self._live.refresh()

    def say(self, text: str) -> None:
        self._console.print(Text(text))

    def _render(self) -> RenderableType:
        view, now = self._view, datetime.now(UTC)
        parts: list[RenderableType] = [Text(self._title, style="bold")]
        parts += [Text(f"  {endpoint.name}  {endpoint.url}", style="cyan") for endpoint in view.endpoints]
        for kind in KINDS:
            if rows := view.of(kind):
                parts += [Text(""), self._table(kind, rows, now)]
        if view.diagnostics:
            parts.append(Text(""))
            parts += [Text(str(d), style="red" if d.severity is Severity.ERROR else "dim") for d in view.diagnostics]
        return Group(*parts)

    def _table(self, kind: str, rows: list[Row], now: datetime) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column(kind.upper(), no_wrap=True)
        namespaced = any(row.key.namespace != "default" for row in rows)
        shown = columns(kind)
        for column in shown:
            table.add_column(column.name.upper(), no_wrap=not column.wide, overflow="fold")
        for row in rows:
            name = f"{row.key.namespace}/{row.key.name}" if namespaced else row.key.name
            cells = [age(row.created, now) if c.name == "Age" else row.cells[c.name] for c in shown]
            table.add_row(Text(name), *(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
        return table
