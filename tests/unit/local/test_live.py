"""The table on a terminal."""

import io
from datetime import UTC, datetime

from rich.console import Console

from mcp_operator.engine.keys import Key
from mcp_operator.local.live import LiveScreen
from mcp_operator.local.manifests import Diagnostic
from mcp_operator.local.table import Endpoint, View, row

STATUS = {
    "hosting": "Stdio",
    "tools": {"count": 2},
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "Crashing", "message": "[red]it exited[/red] with code 1"}
    ],
}


def test_it_shows_everything() -> None:
    out = io.StringIO()
    with LiveScreen("title", Console(file=out, force_terminal=True, width=160, color_system=None)) as screen:
        screen.show(
            View(
                (row(Key("McpServer", "team", "time"), STATUS, datetime.now(UTC)),),
                (Endpoint("tools", "http://127.0.0.1:8080/mcp"),),
                (Diagnostic("a.yaml", 3, "not YAML"),),
            )
        )
    text = out.getvalue()
    for part in (
        "title",
        "http://127.0.0.1:8080/mcp",
        '"mcpServers"',
        "MCPSERVER",
        "LATENCY",
        "team/time",
        "Crashing",
        "a.yaml:3: not YAML",
    ):
        assert part in text
    assert "[red]it exited[/red] with code 1" in text, "what a server says is text, never markup"
