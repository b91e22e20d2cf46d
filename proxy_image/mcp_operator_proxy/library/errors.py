"""What the library raises. No message holds a credential."""

from collections.abc import Iterable
from dataclasses import dataclass

from mcp_operator_proxy.library.results import ToolCallResult
from mcp_operator_proxy.report import ErrorReport


class ToolProxyError(Exception):
    """Every error of the library."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a config: where (`mcpServers.time.args[0]`), and what to write instead."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(ToolProxyError, ValueError):
    """A config that is not used, with all of its problems. What was in use before stays."""

    def __init__(self, problems: Iterable[Problem], source: str = "config") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


class CallError(ToolProxyError):
    """A call of a tool that has no result. `tool` is the name that was called."""

    def __init__(self, tool: str, message: str, *, server: str | None = None) -> None:
        super().__init__(f"{tool}: {message}")
        self.tool = tool
        self.server = server


class UnknownTool(CallError):
    """The proxy shows no tool of that name (any more)."""


class ToolFailed(CallError):
    """The tool ran and says that it failed; `result` is all that it says."""

    def __init__(self, tool: str, result: ToolCallResult, *, server: str | None = None) -> None:
        super().__init__(tool, result.text or "the tool failed without a word", server=server)
        self.result = result


class CallTimeout(CallError, TimeoutError):
    """There was no answer in time. The tool may have run."""


class ServerDown(CallError):
    """The tool's server could not be reached, or did not answer as an MCP server does.

    `executed` is False where the tool certainly did not run.
    """

    def __init__(
        self, tool: str, report: ErrorReport, *, server: str | None = None, executed: bool | None = None
    ) -> None:
        super().__init__(tool, report.message, server=server)
        self.error = report
        self.executed = executed


class CallRefused(CallError):
    """The server answered with a JSON-RPC error."""

    def __init__(self, tool: str, code: int, message: str, *, server: str | None = None) -> None:
        super().__init__(tool, message, server=server)
        self.code = code


class UnknownServer(ToolProxyError, KeyError):
    """There is no server of that name in the config."""

    def __str__(self) -> str:
        return str(self.args[0])


class NoProcess(ToolProxyError):
    """The server is no stdio server, or is switched off, so there is no process of it."""


class NotRunning(ToolProxyError, RuntimeError):
    """The proxy has not been started, or has been closed."""
