"""For whom a proxy calls a server that has a process for each user, said over TCP: a header that a shared key signs.

    mcp-operator-caller: v1 SECONDS QUERY SIGNATURE

`QUERY` is what a URL says on a private socket (`user=KEY`; `gone=KEY` ends that user's process), SECONDS the time of the request,
SIGNATURE the HMAC-SHA256 (RFC 2104) of all before it, in hex. Each request is signed anew, so that one that was overheard is soon
worth nothing.

A proxy that asks a bridge for what processes wrote proves by the same key that it may, in another form which stands for that
one request alone:

    mcp-operator-request: request-v1 SECONDS NONCE METHOD TARGET SIGNATURE
"""

import hmac
import os
from collections import deque
from typing import Final

HEADER: Final = "mcp-operator-caller"
GONE: Final = "gone"
"""Names a user in the query of a DELETE: the user's session with the gateway has ended, and so shall the process."""
MAX_SKEW: Final = 300.0
"""Seconds that the clocks of two nodes may differ, a request's way included."""
LEAST_KEY: Final = 32
REQUEST_HEADER: Final = "mcp-operator-request"
_VERSION: Final = "v1"
_REQUEST_VERSION: Final = "request-v1"
_NONCE: Final = 16
_MOST_SEEN: Final = 10_000


class NotBelieved(Exception):
    """The header does not prove who calls. The text says why, and nothing of the key."""


def signed(key: str, query: str, now: float) -> str:
    """The value of the header. `query` has no space."""
    said = f"{_VERSION} {int(now)} {query}"
    return f"{said} {_signature(key, said)}"


def believed(key: str, value: str, now: float) -> str:
    """The query of a header's value. Raises NotBelieved."""
    said, _, signature = value.rpartition(" ")
    if not hmac.compare_digest(_signature(key, said).encode(), signature.encode()):
        raise NotBelieved("its signature is not made with this server's key")
    parts = said.split(" ")
    if len(parts) != 3 or parts[0] != _VERSION or not parts[1].isdecimal():
        raise NotBelieved("it has another form than this version's")
    if abs(now - int(parts[1])) > MAX_SKEW:
        raise NotBelieved(f"it was signed more than {MAX_SKEW:g} s ago, or clocks differ by that")
    return parts[2]


def signed_request(key: str, method: str, target: str, now: float) -> str:
    """The value of `REQUEST_HEADER` for one request. `target` is path and query as they go over the wire."""
    said = f"{_REQUEST_VERSION} {int(now)} {os.urandom(_NONCE).hex()} {method} {target}"
    return f"{said} {_signature(key, said)}"


class RequestsOnce:
    """Believes signed requests, each once: one that was overheard is worth nothing at the same bridge."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._ends: deque[tuple[float, str]] = deque()

    def believe(self, key: str, value: str, method: str, target: str, now: float) -> None:
        """Raises NotBelieved where the header's value is not signed with `key`, for just this request, now and for the first time."""
        said, _, signature = value.rpartition(" ")
        if not hmac.compare_digest(_signature(key, said).encode(), signature.encode()):
            raise NotBelieved("its signature is not made with this server's key")
        parts = said.split(" ")
        if len(parts) != 5 or parts[0] != _REQUEST_VERSION or not parts[1].isdecimal():
            raise NotBelieved("it has another form than this version's")
        if parts[3:] != [method, target]:
            raise NotBelieved("it was signed for another request")
        if abs(now - int(parts[1])) > MAX_SKEW:
            raise NotBelieved(f"it was signed more than {MAX_SKEW:g} s ago, or clocks differ by that")
        self._note(parts[2], now)

    def _note(self, nonce: str, now: float) -> None:
        while self._ends and self._ends[0][0] < now:
            self._seen.discard(self._ends.popleft()[1])
        if nonce in self._seen:
            raise NotBelieved("it was shown before")
        if len(self._seen) >= _MOST_SEEN:
            raise NotBelieved(f"more than {_MOST_SEEN} requests came within {2 * MAX_SKEW:g} s")
        self._seen.add(nonce)
        self._ends.append((now + 2 * MAX_SKEW, nonce))


def _signature(key: str, said: str) -> str:
    return hmac.digest(key.encode(), said.encode(), "sha256").hex()
