"""The 2026-07-28 era, as far as the bridge has to know it (pure): no handshake and no session, an envelope in each request.

Source: MCP 2026-07-28, "Base protocol", "Transports"; SEP-2575 (subscriptions), SEP-2243 (headers).
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mcp_operator_proxy import __version__
from mcp_operator_proxy.bridge import loglevels
from mcp_operator_proxy.bridge.jsonrpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    Message,
    RequestId,
    params_of,
)
from mcp_operator_proxy.bridge.versions import MODERN_VERSIONS

DISCOVER: Final = "server/discover"
LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_PREFIX: Final = "io.modelcontextprotocol/"
VERSION: Final = f"{_PREFIX}protocolVersion"
SUBSCRIPTION: Final = f"{_PREFIX}subscriptionId"
LOG_LEVEL: Final = f"{_PREFIX}logLevel"
SERVER_INFO: Final = f"{_PREFIX}serverInfo"
_NAMES: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_STATUS: Final = {
    **dict.fromkeys((PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, HEADER_MISMATCH), 400),
    **dict.fromkeys((MISSING_CAPABILITY, UNSUPPORTED_PROTOCOL_VERSION), 400),
    METHOD_NOT_FOUND: 404,
}
_FLAGS: Final = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}


def envelope(version: str = MODERN_VERSIONS[-1]) -> Message:
    """Params of a request of the bridge's own, as a client without capabilities."""
    return {
        "_meta": {
            VERSION: version,
            f"{_PREFIX}clientInfo": {"name": "mcp-operator-bridge", "version": __version__},
            f"{_PREFIX}clientCapabilities": {},
        }
    }


def meta_of(message: Message) -> Mapping[str, Any]:
    meta = params_of(message).get("_meta")
    return meta if isinstance(meta, dict) else {}


def has_envelope(message: Message) -> bool:
    """The version alone says so: no request of an older era has that key."""
    return VERSION in meta_of(message)


def is_discovery(result: Message) -> bool:
    """Whether this is what a server says to `server/discover`, not to `initialize`."""
    return "supportedVersions" in result


def mutual(versions: object) -> str | None:
    """The newest version of this era that a server lists and the bridge knows."""
    return next((v for v in reversed(MODERN_VERSIONS) if isinstance(versions, list) and v in versions), None)


def contradiction(headers: Mapping[str, str], message: Message) -> str | None:
    """The header that says something else than the body of a request, or None (SEP-2243)."""
    method = str(message["method"])
    wanted = {"mcp-protocol-version": meta_of(message).get(VERSION), "mcp-method": method}
    if method in _NAMES:
        wanted["mcp-name"] = params_of(message).get(_NAMES[method])
    return next((name for name, value in wanted.items() if _decoded(headers.get(name)) != value), None)


def _decoded(value: str | None) -> str | None:
    """A header's value: as it stands, or `=?base64?…?=` where it would not fit into a header."""
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value


def status_of(response: Message) -> int:
    """The HTTP status that goes with a response."""
    error = response.get("error")
    return _STATUS.get(error.get("code", 0), 200) if isinstance(error, dict) else 200


def is_of_subscription(notification: Message) -> bool:
    return SUBSCRIPTION in meta_of(notification)


def lists_only(listen: Message) -> bool:
    """Whether a `subscriptions/listen` asks for changes of lists, which are the same for all, and for no resource's."""
    return not _filter(listen).get("resourceSubscriptions")


def subscribed(listen: Message) -> list[str]:
    """The URIs whose updates it asks for."""
    uris = _filter(listen).get("resourceSubscriptions")
    return [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []


def wants_change(listen: Message, method: str) -> bool:
    """Whether it asks for this `list_changed`."""
    return _filter(listen).get(_FLAGS[method]) is True


def _filter(listen: Message) -> Message:
    found = params_of(listen).get("notifications")
    return found if isinstance(found, dict) else {}


def acknowledged(listen: Message) -> Message:
    """The first message on a stream of the bridge's own."""
    return of_subscription(listen, ACKNOWLEDGED, notifications=_filter(listen))


def of_subscription(listen: Message, method: str, **params: Any) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": {SUBSCRIPTION: listen["id"]}}}


def closed(request_id: RequestId) -> Message:
    """The result by which a stream ends in order."""
    return {"resultType": "complete", "_meta": {SUBSCRIPTION: request_id}}


def hearers(requests: Iterable[Message], level: object, *, alike: bool) -> list[int]:
    """Which of the requests in flight a log message is for, by index.

    On stdio nothing says which request it belongs to. So it goes to those that asked for its level, if that can be no
    stranger's: a single request is in flight, or all are `alike` (one user's).
    """
    asked = [meta_of(request).get(LOG_LEVEL) for request in requests]
    if len(asked) > 1 and not alike:
        return []
    return [
        index
        for index, wanted in enumerate(asked)
        if loglevels.is_level(wanted) and loglevels.wants(str(wanted), level)
    ]
