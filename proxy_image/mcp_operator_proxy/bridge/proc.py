"""The process table of Linux. Source: proc(5), `/proc/pid/stat`."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    pid: int
    state: str
    """One letter: `Z` and `X` have ended."""
    parent: int
    group: int


def entries() -> Iterator[Entry]:
    """All processes that this one can see; none where there is no /proc."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir("/proc")  # noqa: PTH208 - called in a loop
    for name in names:
        if name.isdigit() and (entry := _entry(int(name))) is not None:
            yield entry


def _entry(pid: int) -> Entry | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # it has gone
        return None
    state, parent, group, *_ = stat.rpartition(b")")[2].split()
    return Entry(pid, state.decode(), int(parent), int(group))
