"""Which HTTP paths of a proxy are led to from outside: those of its MCP endpoints. `/status` and `/metrics` are not."""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

ROOT_PATHS: Final = ("/", "/sse", "/messages")
"""What an endpoint at `/` answers to: itself, and the two paths of HTTP+SSE."""


def exposed(paths: Iterable[str]) -> Iterator[tuple[Literal["Exact", "Prefix"], str]]:
    """How each path is matched, sorted. An endpoint has everything below its path, but for one at `/`: there the proxy's own are."""
    for path in sorted(set(paths)):
        if path == "/":
            yield from (("Exact", own) for own in ROOT_PATHS)
        else:
            yield "Prefix", path
