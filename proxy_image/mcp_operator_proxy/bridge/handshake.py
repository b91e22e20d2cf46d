"""How the bridge opens a server in either era, and what its clients are told of it.

What a server says of itself is kept as it said it: an `InitializeResult`, or a `DiscoverResult` of the 2026-07-28 era.
"""

import asyncio
import contextlib
from typing import Any, Final

from mcp_operator_proxy import __version__
from mcp_operator_proxy.bridge import jsonrpc, modern
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.process import StartError
from mcp_operator_proxy.bridge.versions import HANDSHAKE_VERSIONS, LATEST_HANDSHAKE

LIST_CHANGED: Final = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}


_GONE: Final = frozenset({jsonrpc.SERVER_EXITED, jsonrpc.SERVER_UNAVAILABLE})
_GONE_SECONDS: Final = 1.0


class Refused(StartError):
    """The server answered, but not to this era's opening."""


async def open_server(connection: Connection, name: str, seconds: float, *, discover_first: bool) -> Message:
    """Open a started connection in the era that it knows, trying one and then the other; what the server says of itself.

    Raises:
        Refused: it answered both with an error.
        StartError: it ended, or did not answer in time.
    """
    first, second = (discover, initialize) if discover_first else (initialize, discover)
    try:
        return await first(connection, name, seconds)
    except Refused as refused:
        try:
            return await second(connection, name, seconds)
        except Refused as again:
            raise (again if discover_first else refused) from None  # what `initialize` was told says more


async def initialize(connection: Connection, name: str, seconds: float) -> Message:
    """Open as a client of the handshake eras, without capabilities; returns the `InitializeResult`. Raises StartError."""
    params = {
        "protocolVersion": LATEST_HANDSHAKE,
        "capabilities": {},
        "clientInfo": {"name": "mcp-operator-bridge", "version": __version__},
    }
    response = await connection.request("initialize", params, seconds)
    if response is None:
        raise too_slow(connection, name, seconds)
    await _until_gone(response, connection)
    result = _checked(response, name, connection, "initialize")
    if not isinstance(result.get("protocolVersion"), str):
        raise StartError(f"MCP server {name} answered initialize without a protocolVersion")
    await connection.send(jsonrpc.notification("notifications/initialized"))
    return result


async def discover(connection: Connection, name: str, seconds: float) -> Message:
    """Open as a client of the 2026-07-28 era; returns the `DiscoverResult`. Raises StartError."""
    response = await connection.request(modern.DISCOVER, modern.envelope(), seconds)
    if response is None:
        raise too_slow(connection, name, seconds, modern.DISCOVER)
    await _until_gone(response, connection)
    result = _checked(response, name, connection, modern.DISCOVER)
    if modern.mutual(result.get("supportedVersions")) is None:
        raise Refused(f"MCP server {name} speaks no protocol version that is known here")
    connection.speaks_modern()
    return result


def too_slow(connection: Connection, name: str, seconds: float, what: str = "initialize") -> StartError:
    tail = " | ".join(connection.last_stderr())
    heard = f"last standard error: {tail}" if tail else "it wrote nothing to standard error"
    return StartError(f"MCP server {name} did not answer {what} within {seconds:g} s; {heard}")


async def _until_gone(response: Message, connection: Connection) -> None:
    """Of a process that ends instead of answering, all is known a moment after its calls have failed."""
    error = response.get("error")
    if isinstance(error, dict) and error.get("code") in _GONE:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_SECONDS):
                await connection.wait_closed()


def _checked(response: Message, name: str, connection: Connection, what: str) -> Message:
    if "error" in response:
        error = response["error"] if isinstance(response["error"], dict) else {}
        text = str(error.get("message", "no message"))[:1000]
        if error.get("code") in _GONE and not connection.alive:
            gone = connection.exit
            raise StartError(f"MCP server {name} {gone}" if gone else text, gone.code if gone else None)
        raise Refused(f"MCP server {name} refused {what}: {text} ({error.get('code')})")
    result = response["result"]
    if not isinstance(result, dict) or not isinstance(result.get("capabilities"), dict):
        raise StartError(f"MCP server {name} answered {what} without capabilities")
    return result


def version_of(result: Message) -> str | None:
    """The protocol version that is spoken with the server."""
    return modern.mutual(result.get("supportedVersions")) or result.get("protocolVersion")


def info_of(result: Message) -> Any:
    """Name and version of the server."""
    meta = result.get("_meta")
    return result.get("serverInfo") or (meta.get(modern.SERVER_INFO) if isinstance(meta, dict) else None)


def other_era(message: Message, result: Message | None) -> Message:
    """The JSON-RPC error for a request of an era that the server does not speak."""
    discovery = result is not None and modern.is_discovery(result)
    params = jsonrpc.params_of(message)
    requested = modern.meta_of(message).get(modern.VERSION) or params.get("protocolVersion") or ""
    supported = result["supportedVersions"] if discovery and result is not None else list(HANDSHAKE_VERSIONS)
    how = "needs no initialize" if discovery else "is opened with initialize"
    return jsonrpc.error(
        message.get("id"),
        jsonrpc.UNSUPPORTED_PROTOCOL_VERSION,
        f"Unsupported protocol version: this server {how}",
        {"supported": supported, "requested": str(requested)},
    )


def for_sessions(result: Message) -> Message:
    """The server's InitializeResult as its sessions see it.

    Lists may change whenever the server is started again, and the bridge says so. Tasks are taken away: a task's
    id and `tasks/list` know nothing of sessions, so one session would see another's.
    """
    capabilities = {k: v for k, v in result["capabilities"].items() if k != "tasks"}
    return {**result, "capabilities": _telling(capabilities)}


def for_clients(result: Message) -> Message:
    """The server's DiscoverResult as its clients see it, for the same reason."""
    return {**result, "capabilities": _telling(result["capabilities"])}


def _telling(capabilities: Message) -> Message:
    told = {f: {**capabilities[f], "listChanged": True} for f in LIST_CHANGED if isinstance(capabilities.get(f), dict)}
    return {**capabilities, **told}
