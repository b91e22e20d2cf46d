"""Mutual exclusion between processes; the kernel frees a lock when its holder dies, however it dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.progress import say


@contextmanager
def exclusive(path: Path, purpose: str) -> Iterator[None]:
    """Hold an flock(2) on `path`; says so once when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that is {purpose}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
