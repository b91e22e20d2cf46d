"""What a request's `_meta` says of its client, and what the proxy says of it to a backend. Cached by the bytes.

The proxy is the backend's client: it sends its own version, name and the capabilities that it can answer for (those of
the client's that it relays), as the full path's sessions do.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    ClientCapabilities,
    DiscoverResult,
)
from mcp_types.methods import validate_client_request
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from mcp_operator_proxy.backends.connect import CLIENT_INFO
from mcp_operator_proxy.eras.capabilities import Capabilities
from mcp_operator_proxy.eras.translate import may_be_asked
from mcp_operator_proxy.fastlane.rewrite import without
from mcp_operator_proxy.tracing.context import BAGGAGE

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
ALL_LEVELS: Final = frozenset(LEVELS)
_OWN: Final = frozenset(
    {PROTOCOL_VERSION_META_KEY, CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY, SERVER_INFO_META_KEY}
)
RESULT_META: Final = _OWN | {"progressToken"}
"""`_meta` keys of a result that speak of one connection and end at it."""
_LEFT_OUT: Final = _OWN | {BAGGAGE}
_MODERN: Final = frozenset(MODERN_PROTOCOL_VERSIONS)
_CLIENT_INFO: Final = msgspec.json.encode(CLIENT_INFO.model_dump(by_alias=True, mode="json", exclude_none=True))
_CACHED: Final = 1024
_CACHED_BYTES: Final = 4096
"""A longer `_meta` is read each time: nobody fills the memory with what comes only once."""


def spoken_version(era: DiscoverResult) -> str | None:
    """The version in which a modern server is asked: the newest that both know."""
    return next((v for v in reversed(MODERN_PROTOCOL_VERSIONS) if v in era.supported_versions), None)


def capabilities(declared: ClientCapabilities | None) -> dict[str, Any]:
    """What the proxy declares to a backend for a client that declared `declared`: of what it relays, the same."""
    return Capabilities.of(declared, None).as_dict()


def client_meta(version: str, declared: dict[str, Any]) -> bytes:
    """The members of `_meta` by which the proxy names itself to a modern backend."""
    return b",".join(
        msgspec.json.encode(key) + b":" + value
        for key, value in (
            (PROTOCOL_VERSION_META_KEY, msgspec.json.encode(version)),
            (CLIENT_INFO_META_KEY, _CLIENT_INFO),
            (CLIENT_CAPABILITIES_META_KEY, msgspec.json.encode(declared)),
        )
    )


@dataclass(frozen=True, slots=True, eq=False)
class ModernMeta:
    """A valid `_meta` of a 2026-07-28 request. Told apart by identity, as each is read once."""

    version: str
    sent: bytes
    """The whole object for a modern backend, without a progress token."""
    levels: frozenset[str]
    """Log levels that the client wants to hear."""
    asks: bool
    """A server may ask the client something."""


class ModernMetas:
    """Reads `_meta` objects; a client repeats the same one, so each is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, str], ModernMeta | None] = {}

    def read(self, meta: bytes, spoken: str) -> ModernMeta | None:
        """`meta` for a backend that is spoken to in the version `spoken`; None where the full path has an error for it."""
        key = (meta, spoken)
        try:
            return self._known[key]
        except KeyError:
            found = _modern_meta(meta, spoken)
            if len(meta) <= _CACHED_BYTES:
                if len(self._known) >= _CACHED:
                    self._known.clear()
                self._known[key] = found
            return found


def _modern_meta(meta: bytes, spoken: str) -> ModernMeta | None:
    try:
        value = json.loads(meta)
        version = value[PROTOCOL_VERSION_META_KEY]
        if version not in _MODERN:
            return None
        validate_client_request("tools/call", version, {"name": "x", "_meta": value})
        declared = ClientCapabilities.model_validate(value[CLIENT_CAPABILITIES_META_KEY])
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError):
        return None
    sent = without(meta, _LEFT_OUT, client_meta(spoken, capabilities(declared)))
    if sent is None:
        return None
    level = value.get(LOG_LEVEL_META_KEY)
    levels = levels_from(level) if level in LEVELS else frozenset[str]()
    return ModernMeta(version, sent, levels, may_be_asked(value[CLIENT_CAPABILITIES_META_KEY]))


def levels_from(level: str) -> frozenset[str]:
    return frozenset(LEVELS[LEVELS.index(level) :])


def legacy_meta(meta: bytes | None, stamp: bytes, level: str) -> bytes | None:
    """A legacy request's `_meta` for a modern backend: with the proxy's own members and the session's log level."""
    more = stamp + b"," + msgspec.json.encode(LOG_LEVEL_META_KEY) + b":" + msgspec.json.encode(level)
    return b"{" + more + b"}" if meta is None else without(meta, _LEVELLED, more)


_LEVELLED: Final = _LEFT_OUT | {LOG_LEVEL_META_KEY}


def plain_meta(meta: bytes | None) -> bytes | None:
    """A legacy request's `_meta` for a legacy backend."""
    return meta if meta is None else without(meta, _LEVELLED | {"progressToken"})


def is_token(raw: bytes) -> bool:
    """Whether a progress token is a string or an integer, as it has to be."""
    return raw[:1] == b'"' or raw.isdigit() or (raw[:1] == b"-" and raw[1:].isdigit())
