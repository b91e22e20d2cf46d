"""What differs between two definitions, for people: a line for each place, `path: old -> new`. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mcp_operator_proxy.pinning.visible import is_hidden, visible

MOST_CHARACTERS: Final = 2000
"""Of a whole diff."""
MOST_OF_A_VALUE: Final = 300
DEEPEST: Final = 40
"""Levels that are looked into; what lies deeper is shown as one value."""
_CONTEXT: Final = 20
"""Characters of what two texts have in common that are shown around what differs."""
_ALIKE: Final = 12
"""So short a piece that differs is shown in code points where it is not ASCII: it may look like the other one."""
_PLAIN: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_NOTHING: Final = "(nothing)"
_MISSING: Final = object()


def difference(before: str, after: str) -> str:
    """What differs between two canonical definitions, in at most `MOST_CHARACTERS` characters, one line for each place.

    An empty `before` is none. No line holds a character that can't be seen.
    """
    old = json.loads(before) if before else {}
    lines: list[str] = []
    room = MOST_CHARACTERS - 40
    found = list(_differences(old, json.loads(after), "", 0))
    for place, line in enumerate(found):
        room -= len(line) + 1
        if room < 0:
            lines.append(f"and {len(found) - place} more differences" if place else line[:MOST_CHARACTERS])
            break
        lines.append(line)
    return "\n".join(lines)


def _differences(old: Any, new: Any, path: str, depth: int) -> Iterator[str]:
    if old is not _MISSING and new is not _MISSING and _same(old, new):
        return
    both = (old, new)
    if depth < DEEPEST and all(isinstance(value, Mapping) for value in both):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key, _MISSING), new.get(key, _MISSING), _joined(path, key), depth + 1)
    elif depth < DEEPEST and all(isinstance(value, list) for value in both) and not all(map(_is_flat, both)):
        for index in range(max(len(old), len(new))):
            one, other = (value[index] if index < len(value) else _MISSING for value in both)
            yield from _differences(one, other, f"{path}[{index}]", depth + 1)
    elif isinstance(old, str) and isinstance(new, str):
        yield f"{path}: {' -> '.join(_texts(old, new))}"
    else:
        yield f"{path}: {_value(old)} -> {_value(new)}"


def _same(old: Any, new: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values."""
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def _is_flat(items: Sequence[Any]) -> bool:
    return not any(isinstance(item, Mapping | list) for item in items)


def _joined(path: str, key: str) -> str:
    if not _PLAIN.fullmatch(key):
        return f"{path}[{_clipped(visible(key))}]"
    return f"{path}.{key}" if path else key


def _value(value: Any) -> str:
    if value is _MISSING:
        return _NOTHING
    if isinstance(value, str):
        return _clipped(visible(value))
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return _clipped(visible(text)[1:-1].replace('\\"', '"') if any(map(is_hidden, text)) else text)


def _clipped(text: str) -> str:
    rest = len(text) - MOST_OF_A_VALUE
    return text if rest <= 0 else f"{text[:MOST_OF_A_VALUE]}… ({rest} characters more)"


def _texts(old: str, new: str) -> tuple[str, str]:
    """Both, without most of what they have in common."""
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    most = min(len(old), len(new)) - start
    end = next((i for i in range(most) if old[-1 - i] != new[-1 - i]), most)
    cores = old[start : len(old) - end], new[start : len(new) - end]
    foreign = all(len(core) <= _ALIKE for core in cores)
    before, after = old[:start], old[len(old) - end :]
    head = before if len(before) <= 2 * _CONTEXT else "…" + before[-_CONTEXT:]
    tail = after if len(after) <= 2 * _CONTEXT else after[:_CONTEXT] + "…"
    shown = (f'"{visible(head)[1:-1]}{_clipped(visible(core, foreign=foreign)[1:-1])}' for core in cores)
    ends = f'{visible(tail)[1:-1]}"'
    one, other = shown
    return one + ends, other + ends
