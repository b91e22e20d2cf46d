"""Rows as `kubectl get` shows them, ages, and what is pasted into an MCP client."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from mcp_operator.engine.keys import Key
from mcp_operator.local.manifests import Diagnostic
from mcp_operator.local.screen import PlainScreen
from mcp_operator.local.table import Endpoint, View, age, client_config, columns, endpoints_of, look, row

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Key("McpServer", "default", "time")
STATUS = {
    "hosting": "Stdio",
    "tools": {"count": 2},
    "probe": {"latency": "3.2ms"},
    "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "the spec is valid"},
        {"type": "Ready", "status": "False", "reason": "Crashing", "message": "it exited with code 1"},
    ],
}


def test_the_columns_are_those_of_kubectl() -> None:
    assert [column.name for column in columns("McpServer")] == [
        "Ready",
        "Kind",
        "Tools",
        "Latency",
        "Age",
        "Reason",
        "Message",
    ]
    assert row(KEY, STATUS, NOW).cells == {
        "Ready": "False",
        "Kind": "Stdio",
        "Tools": "2",
        "Latency": "3.2ms",
        "Reason": "Crashing",
        "Message": "it exited with code 1",
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".tools.count", 2),
        ('.conditions[?(@.type=="Ready")].reason', "Crashing"),
        ('.conditions[?(@.type=="Healthy")].reason', None),
        (".nothing.there", None),
    ],
)
def test_looks_up_the_paths_of_printer_columns(path: str, value: object) -> None:
    assert look(STATUS, path) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (900, "15m"),
        (7200, "120m"),
        (11000, "3h"),
        (200_000, "2d"),
    ],
)
def test_ages_as_kubectl_shows_them(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_no_age_of_what_never_was() -> None:
    assert age(None, NOW) == ""


def test_endpoints_are_named_after_proxy_and_path() -> None:
    proxy = Key("McpProxy", "default", "tools")
    found = endpoints_of(proxy, "http://127.0.0.1:8080", "/mcp", ["/a/mcp", "/mcp", "/b/c"], qualified=False)
    assert [(e.name, e.url) for e in found] == [
        ("tools", "http://127.0.0.1:8080/mcp"),
        ("tools-a", "http://127.0.0.1:8080/a/mcp"),
        ("tools-b-c", "http://127.0.0.1:8080/b/c"),
    ]
    assert endpoints_of(proxy, "http://x", "/mcp", ["/mcp"], qualified=True)[0].name == "default-tools"


def test_the_client_configuration_is_json() -> None:
    config = json.loads(client_config([Endpoint("tools", "http://127.0.0.1:8080/mcp")]))
    assert config == {"mcpServers": {"tools": {"type": "http", "url": "http://127.0.0.1:8080/mcp"}}}


def test_where_a_key_is_needed_the_client_configuration_has_a_place_for_it() -> None:
    endpoints = endpoints_of(Key("McpProxy", "a", "tools"), "http://x", "/mcp", ["/mcp"], qualified=False, keyed=True)
    (entry,) = json.loads(client_config(endpoints))["mcpServers"].values()
    assert entry == {"type": "http", "url": "http://x/mcp", "headers": {"X-API-Key": "<your key>"}}


def test_plain_lines_tell_each_change_once() -> None:
    out = io.StringIO()
    screen = PlainScreen(out, clock=lambda: NOW)
    endpoints = (Endpoint("tools", "http://127.0.0.1:8080/mcp"),)
    trouble = (Diagnostic("a.yaml", 3, "not YAML"),)
    rows = (row(KEY, STATUS, NOW),)

    def shown(view: View) -> str:
        out.truncate(0)
        out.seek(0)
        screen.show(view)
        return out.getvalue()

    first = shown(View(rows, endpoints, trouble))
    assert "tools: http://127.0.0.1:8080/mcp" in first
    assert '"mcpServers"' in first
    assert "a.yaml:3: not YAML" in first
    assert (
        "McpServer/default/time ready=False kind=Stdio tools=2 latency=3.2ms Crashing: it exited with code 1" in first
    )
    assert shown(View(rows, endpoints, trouble)) == ""
    assert "a.yaml:3: mended or gone" in shown(View(rows, endpoints))
    assert "McpServer/default/time is gone" in shown(View((), endpoints))
