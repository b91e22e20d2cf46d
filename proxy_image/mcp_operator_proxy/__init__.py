"""The proxy: one MCP endpoint per route over many MCP servers, reconfigured while it runs.

As a library: `ToolProxy` and its values and errors, imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp_operator_proxy.bridge.stderr import LogLine
    from mcp_operator_proxy.library.errors import (
        CallError,
        CallRefused,
        CallTimeout,
        ConfigError,
        NoProcess,
        NotRunning,
        Problem,
        ServerDown,
        ToolFailed,
        ToolProxyError,
        UnknownServer,
        UnknownTool,
    )
    from mcp_operator_proxy.library.proxy import ToolProxy
    from mcp_operator_proxy.library.results import (
        CallStats,
        ConnectionTest,
        NameConflict,
        ReloadReport,
        ServerStats,
        ServerStatus,
        Stats,
        ToolCallResult,
    )

__version__ = "0.1.0"

__all__ = [
    "CallError",
    "CallRefused",
    "CallStats",
    "CallTimeout",
    "ConfigError",
    "ConnectionTest",
    "LogLine",
    "NameConflict",
    "NoProcess",
    "NotRunning",
    "Problem",
    "ReloadReport",
    "ServerDown",
    "ServerStats",
    "ServerStatus",
    "Stats",
    "ToolCallResult",
    "ToolFailed",
    "ToolProxy",
    "ToolProxyError",
    "UnknownServer",
    "UnknownTool",
]

_MODULES = ("library.results", "library.errors", "library.proxy", "bridge.stderr")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
