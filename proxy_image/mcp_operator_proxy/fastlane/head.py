"""The head of an HTTP/1.1 request to a backend, as bytes. Pure."""

from typing import Final

from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.http import OWN_HEADERS

_UNSAFE: Final = ("\r", "\n", "\0")
BOTH_KINDS: Final = "application/json, text/event-stream"


def is_plain(target: Target) -> bool:
    """Whether prepared bytes over HTTP/1.1 reach the target: no HTTP/2, no credentials in its URL, sound headers."""
    sound = not any(bad in text for pair in _headers(target).items() for text in pair for bad in _UNSAFE)
    return sound and not target.http2 and "@" not in target.url.partition("?")[0]


def head(target: Target, authority: str, path: str, *, method: str = "POST", accept: str = BOTH_KINDS) -> bytes:
    """Request line and headers but for those of the single request, each with its line end."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"host: {authority}",
        f"accept: {accept}",
        "accept-encoding: identity",
        *(["content-type: application/json"] if method == "POST" else []),
        *(f"{name}: {value}" for name, value in _headers(target).items()),
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def _headers(target: Target) -> dict[str, str]:
    return {name: value for name, value in target.headers.items() if name.lower() not in OWN_HEADERS}
