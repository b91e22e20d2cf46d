"""Showing a `View` as lines, one for each thing that changed; and what every way of showing has to do."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol, Self, TextIO

from mcp_operator.engine.keys import Key
from mcp_operator.local.manifests import Diagnostic, Severity
from mcp_operator.local.table import Endpoint, Row, View, client_config


class Screen(AbstractContextManager["Screen"], Protocol):
    """Where views are shown. Use it as a context manager."""

    def show(self, view: View) -> None: ...

    def say(self, text: str) -> None:
        """A line that stands for itself."""


class PlainScreen:
    """One line for each thing that changed: for logs and pipes."""

    def __init__(self, out: TextIO | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._out = out or sys.stdout
        self._clock = clock
        self._rows: dict[Key, str] = {}
        self._diagnostics: tuple[Diagnostic, ...] = ()
        self._endpoints: tuple[Endpoint, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, view: View) -> None:
        if view.endpoints != self._endpoints:
            self._endpoints = view.endpoints
            for endpoint in view.endpoints:
                self.say(f"{endpoint.name}: {endpoint.url}")
            if view.endpoints:
                self.say(f"for an MCP client:\n{client_config(view.endpoints)}")
        for diagnostic in view.diagnostics:
            if diagnostic not in self._diagnostics:
                self.say(str(diagnostic))
        for gone in self._diagnostics:
            if gone not in view.diagnostics and gone.severity is Severity.ERROR:
                self.say(f"{gone.place}: mended or gone: {gone.message}")
        self._diagnostics = view.diagnostics
        lines = {row.key: _line(row) for row in view.rows}
        for key, line in lines.items():
            if self._rows.get(key) != line:
                self.say(line)
        for key in self._rows.keys() - lines.keys():
            self.say(f"{key} is gone")
        self._rows = lines

    def say(self, text: str) -> None:
        self._out.write(f"{self._clock().astimezone():%H:%M:%S} {text}\n")
        self._out.flush()


def _line(row: Row) -> str:
    told = {name: value for name, value in row.cells.items() if value and name not in {"Reason", "Message"}}
    facts = " ".join(f"{name.lower()}={value}" for name, value in told.items())
    return f"{row.key} {facts} {row.cells['Reason']}: {row.cells['Message']}"
