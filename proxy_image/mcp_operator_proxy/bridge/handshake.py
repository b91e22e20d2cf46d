"""The bridge's own `initialize` with a server that many sessions share, and what those sessions are told of it."""

from typing import Any, Final

from mcp_operator_proxy import __version__
from mcp_operator_proxy.bridge import jsonrpc
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.process import StartError
from mcp_operator_proxy.bridge.versions import LATEST_HANDSHAKE

LIST_CHANGED: Final = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}


async def initialize(connection: Connection, name: str, seconds: float) -> Message:
    """Open a started connection as a client without capabilities; returns the `InitializeResult`. Raises StartError."""
    params = {
        "protocolVersion": LATEST_HANDSHAKE,
        "capabilities": {},
        "clientInfo": {"name": "mcp-operator-bridge", "version": __version__},
    }
    response = await connection.request("initialize", params, seconds)
    if response is None:
        raise too_slow(connection, name, seconds)
    result = _checked(response, name, connection)
    await connection.send(jsonrpc.notification("notifications/initialized"))
    return result


def too_slow(connection: Connection, name: str, seconds: float) -> StartError:
    tail = " | ".join(connection.last_stderr())
    heard = f"last standard error: {tail}" if tail else "it wrote nothing to standard error"
    return StartError(f"MCP server {name} did not answer initialize within {seconds:g} s; {heard}")


def _checked(response: Message, name: str, connection: Connection) -> Message:
    if "error" in response:
        error = response["error"] if isinstance(response["error"], dict) else {}
        text = str(error.get("message", "no message"))[:1000]
        if error.get("code") == jsonrpc.SERVER_EXITED:
            raise StartError(text, connection.exit.code if connection.exit else None)
        raise StartError(f"MCP server {name} refused initialize: {text} ({error.get('code')})")
    result = response["result"]
    if not isinstance(result, dict) or not isinstance(result.get("protocolVersion"), str):
        raise StartError(f"MCP server {name} answered initialize without a protocolVersion")
    if not isinstance(result.get("capabilities"), dict):
        raise StartError(f"MCP server {name} answered initialize without capabilities")
    return result


def for_sessions(result: Message) -> Message:
    """The server's InitializeResult as its sessions see it.

    Lists may change whenever the server is started again, and the bridge says so. Tasks are taken away: a task's
    id and `tasks/list` know nothing of sessions, so one session would see another's.
    """
    capabilities: dict[str, Any] = {k: v for k, v in result["capabilities"].items() if k != "tasks"}
    for feature in LIST_CHANGED:
        if isinstance(capabilities.get(feature), dict):
            capabilities[feature] = {**capabilities[feature], "listChanged": True}
    return {**result, "capabilities": capabilities}
