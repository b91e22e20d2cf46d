"""For whom a proxy calls a server that has a process for each user, said over TCP: a header that a shared key signs.

    mcp-operator-caller: v1 SECONDS QUERY SIGNATURE

`QUERY` is what a URL says on a private socket (`user=KEY`; `gone=KEY` ends that user's process), SECONDS the time of the request,
SIGNATURE the HMAC-SHA256 (RFC 2104) of all before it, in hex. Each request is signed anew, so that one that was overheard is soon
worth nothing.
"""

import hmac
from typing import Final

HEADER: Final = "mcp-operator-caller"
GONE: Final = "gone"
"""Names a user in the query of a DELETE: the user's session with the gateway has ended, and so shall the process."""
MAX_SKEW: Final = 300.0
"""Seconds that the clocks of two nodes may differ, a request's way included."""
LEAST_KEY: Final = 32
_VERSION: Final = "v1"


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


def _signature(key: str, said: str) -> str:
    return hmac.digest(key.encode(), said.encode(), "sha256").hex()
