"""Where two legs of an exchange differ: what the proxy has rewritten. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from mcp_operator_proxy.inspector.models import Rewrite

MOST: Final = 100
"""Differences of one exchange that are told."""


def rewrites(client: tuple[Any, Any], backend: tuple[Any, Any]) -> list[Rewrite]:
    """Of request and response of either leg: requests from what the client has sent to what the server got, responses from
    what the server has answered to what the client got. A side that is not there, or was cut, is not compared."""
    found: list[Rewrite] = []
    for name, before, after in (
        ("request", client[0], backend[0]),
        ("response", _last(backend[1]), _last(client[1])),
    ):
        if not isinstance(before, dict) or not isinstance(after, dict):
            continue
        for path, old, new in _differences(name, before, after):
            if len(found) >= MOST:
                return found
            found.append(Rewrite(before=old, after=new, path=path))
    return found


def _last(value: Any) -> Any:
    """Of several messages of a stream the last one is the response."""
    return value[-1] if isinstance(value, list) and value else value


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _differences(_member(path, key), before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{index}]", old, new)
    elif before != after or type(before) is not type(after):
        yield path, before, after


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if key.isidentifier() else f'{path}["{key}"]'
