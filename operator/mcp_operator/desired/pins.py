"""The ConfigMap beside a server's record: the approved definitions themselves, so that a change can be shown as a diff, and the
record once more, in case that the status is lost.

As long as there is a status, it alone says what is approved, and a definition counts only under its own digest: whoever edits the
ConfigMap can make a diff impossible, but not wrong.
"""

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from mcp_operator.api.pinning import MOST_PINNED
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.pins import Record
from mcp_operator.compile.servers import pins_name
from mcp_operator.desired.common import Object, metadata
from mcp_operator_proxy.pinning.definition import digest_of

FILE: Final = "pins.json.gz"
ROOM: Final = 700 * 1024
"""Bytes of the content, compressed; a ConfigMap holds 1 MiB of base64."""
MOST_READ: Final = 64 * 1024 * 1024
"""Bytes of what it holds, unpacked."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ConfigMap holds: the record, and canonical definitions by their digests."""

    record: Record | None = None
    definitions: Mapping[str, str] = field(default_factory=dict)


def pins_object(server: McpServer, record: Record, definitions: Iterable[str]) -> Object:
    """The ConfigMap with the canonical definitions, the shortest of them where there is no room for all."""
    content = _content(record.at, tuple(record.tools.items()), tuple(sorted(set(definitions))))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(server, pins_name(server)),
        "binaryData": {FILE: content},
    }


@lru_cache(maxsize=64)
def _content(at: datetime, tools: tuple[tuple[str, str], ...], definitions: tuple[str, ...]) -> str:
    kept = sorted(definitions, key=lambda text: (len(text), text))
    packed = _packed(at, tools, kept)
    while len(packed) > ROOM and kept:
        kept = kept[: len(kept) * 3 // 4]
        packed = _packed(at, tools, kept)
    return base64.b64encode(packed).decode()


def _packed(at: datetime, tools: tuple[tuple[str, str], ...], definitions: list[str]) -> bytes:
    held = {
        "pinnedAt": at.isoformat(),
        "tools": dict(tools),
        "definitions": [json.loads(text) for text in sorted(definitions)],
    }
    return gzip.compress(json.dumps(held, indent=1).encode(), mtime=0)


def kept_in(body: Mapping[str, Any]) -> Kept:
    """What the ConfigMap holds; what cannot be read is nothing."""
    return _read(str((body.get("binaryData") or {}).get(FILE, "")))


@lru_cache(maxsize=64)
def _read(text: str) -> Kept:
    try:
        held = json.loads(zlib.decompressobj(wbits=31).decompress(base64.b64decode(text), MOST_READ))
        texts = [json.dumps(one, sort_keys=True, separators=(",", ":")) for one in held["definitions"]]
        at = datetime.fromisoformat(held["pinnedAt"])
        tools = {str(tool): str(digest) for tool, digest in held["tools"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error, RecursionError):
        return Kept()
    definitions = {digest_of(one): one for one in texts}
    record = Record(at, dict(sorted(tools.items()))) if at.tzinfo and len(tools) <= MOST_PINNED else None
    return Kept(record, definitions)
