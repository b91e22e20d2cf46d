"""The folder for what local mode writes: configurations, secrets, logs. Private, and gone at the end."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PREFIX: Final = "mcp-operator-local-"
_LOCK: Final = "lock"
_PARTS: Final = ("proxies", "logs")


class StateInUse(Exception):
    """Another local mode uses the folder."""


@contextlib.contextmanager
def state_folder(chosen: Path | None) -> Iterator[Path]:
    """A folder with `proxies/` and `logs/` that only this user can read.

    A temporary one is removed at the end; of a chosen one the logs stay. What a killed run left is removed at the start.

    Raises StateInUse, OSError.
    """
    root = chosen or _temporary()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _locks(lock):
            raise StateInUse(f"{root} is in use by another mcp-operator local")
        shutil.rmtree(root / "proxies", ignore_errors=True)
        for part in _PARTS:
            (root / part).mkdir(mode=0o700, exist_ok=True)
        try:
            yield root
        finally:
            shutil.rmtree(root / "proxies" if chosen else root, ignore_errors=True)
    finally:
        os.close(lock)


def _temporary() -> Path:
    """A new folder, in memory where the system has a place for that, so that secrets do not reach a disk."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime) if runtime and os.access(runtime, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    _sweep(base)
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))


def _sweep(base: Path) -> None:
    """Remove what killed runs of this user left: their folders, which nobody holds locked."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _locks(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
