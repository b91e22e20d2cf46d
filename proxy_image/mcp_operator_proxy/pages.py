"""Lists in pages. Pure.

A cursor says after which entry a page begins, so that it is good for any process and outlives changes of the list
elsewhere. When its entry has gone the list is not what the client has begun to read, and the cursor is refused.
"""

import base64
import binascii
from collections.abc import Mapping
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
_VERSION = "1"


class BadCursor(ValueError):
    """Not a cursor of this list, or not any more."""


def page(entries: Mapping[str, T], cursor: str | None, size: int | None) -> tuple[list[T], str | None]:
    """The page at `cursor` (None: the first) of at most `size` entries, and the cursor of the next; None after the last.

    Raises BadCursor.
    """
    names = list(entries) if cursor is not None or (size is not None and size < len(entries)) else []
    start = 0
    if cursor is not None:
        name = _decode(cursor)
        if name is None or name not in entries:
            raise BadCursor("the cursor is of a list that has changed, or of none: list again from the first page")
        start = names.index(name) + 1
    end = len(entries) if size is None else min(start + size, len(entries))
    found = list(islice(entries.values(), start, end))
    return found, _encode(names[end - 1]) if end < len(entries) else None


def _encode(name: str) -> str:
    return base64.urlsafe_b64encode((_VERSION + name).encode()).rstrip(b"=").decode()


def _decode(cursor: str) -> str | None:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    name = text[1:]
    return name if text[:1] == _VERSION and _encode(name) == cursor.rstrip("=") else None  # base64 has many spellings
