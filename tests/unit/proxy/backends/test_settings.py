import pytest

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.backends.settings import UNKNOWN, CallSettings, settings_for
from mcp_operator_proxy.config import ProxyConfig, Server
from mcp_operator_proxy.table import build_table

SERVER = Server.model_validate(
    {
        "id": "ns/s",
        "url": "http://127.0.0.1/mcp",
        "callTimeoutSeconds": 20,
        "tools": [
            {"name": "slow_*", "callTimeoutSeconds": 90},
            {"name": "slow_read", "callTimeoutSeconds": 5, "idempotent": True, "cacheSeconds": 3},
            {"name": "*_write", "idempotent": False},
            {"name": "*", "cacheSeconds": 1},
        ],
    }
)


@pytest.mark.parametrize(
    ("tool", "annotations", "expected"),
    [
        ("now", None, CallSettings(20, idempotent=False, cache_seconds=1)),
        ("slow_read", None, CallSettings(90, idempotent=True, cache_seconds=3)),
        ("slow_write", {"readOnlyHint": True}, CallSettings(90, idempotent=False, cache_seconds=1)),
        ("now", {"readOnlyHint": True}, CallSettings(20, idempotent=True, cache_seconds=1)),
        ("now", {"idempotentHint": True}, CallSettings(20, idempotent=True, cache_seconds=1)),
        ("now", {"idempotentHint": False, "destructiveHint": False}, CallSettings(20, cache_seconds=1)),
        ("now", "nonsense", CallSettings(20, cache_seconds=1)),
    ],
)
def test_the_first_setting_that_decides(tool: str, annotations: object, expected: CallSettings) -> None:
    assert settings_for(SERVER, tool, annotations) == expected  # type: ignore[arg-type]


def test_of_an_unknown_server_nothing_is_assumed() -> None:
    assert settings_for(None, "now") == UNKNOWN == CallSettings(30, idempotent=False, cache_seconds=None)


def test_entries_of_a_table_carry_them() -> None:
    config = ProxyConfig.model_validate(
        {
            "revision": "r",
            "servers": [SERVER.model_dump(by_alias=True, mode="json")],
            "routes": [{"name": "McpRoute/ns/r", "path": "/mcp", "servers": [{"server": "ns/s", "prefix": "s"}]}],
        }
    )
    catalogue = Catalogue(
        tools=(
            {"name": "slow_read", "inputSchema": {}},
            {"name": "get", "inputSchema": {}, "annotations": {"readOnlyHint": True}},
        ),
        prompts=({"name": "ask"},),
        resources=({"uri": "file:///a", "name": "a"},),
    )
    table = build_table(config, {"ns/s": catalogue})["/mcp"]
    assert [(e.timeout, e.idempotent, e.cache_seconds) for e in table.tools.values()] == [(90, True, 3), (20, True, 1)]
    for entry in (*table.prompts.values(), *table.resources.values()):
        assert (entry.timeout, entry.idempotent, entry.cache_seconds) == (20, True, None)
