"""Manifest files on disk: which there are, what they hold now, and when that may have changed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final

from watchfiles import awatch

from mcp_operator.local.manifests import MAX_BYTES, SUFFIXES, FileContent, read_manifests, unreadable

POLL_SECONDS: Final = 2.0
"""Files are looked at this often even if nothing is heard of them: some file systems tell nothing."""
DEBOUNCE_MS: Final = 100
LOOKS: Final = 20
PAUSE_SECONDS: Final = 0.05


class NotThere(Exception):
    """A path that was given does not exist, or can't be used. The text says which and why."""


class ManifestFiles:
    """Files, and folders whose own files with the suffixes .yaml, .yml and .json count (those in folders below do not).

    Raises NotThere.
    """

    def __init__(self, paths: Sequence[Path], namespace: str) -> None:
        self._paths = list(dict.fromkeys(paths))
        self._namespace = namespace
        self._known: dict[Path, tuple[bytes, FileContent]] = {}
        self._listed: dict[Path, list[Path]] = {}
        self._texts: dict[Path, bytes] = {}
        for path in self._paths:
            if not path.exists():
                raise NotThere(f"{path}: there is no such file or folder")
            if not path.is_dir() and not path.is_file():
                raise NotThere(f"{path}: neither a file nor a folder")

    def read(self) -> list[FileContent]:
        """What every file holds, in the order of the paths and, in a folder, of the names. Blocks.

        Of files that change, it waits until two looks agree: some editors empty a file before they write it anew.
        """
        contents, texts = self._look()
        if self._texts and texts != self._texts:
            for _ in range(LOOKS):
                time.sleep(PAUSE_SECONDS)
                before = texts
                contents, texts = self._look()
                if texts == before:
                    break
        self._texts = texts
        return contents

    def _look(self) -> tuple[list[FileContent], dict[Path, bytes]]:
        contents: dict[Path, FileContent] = {}
        for path in self._paths:
            files, trouble = self._list(path)
            contents |= {file.resolve(): content for file in files if (content := self._read(file)) is not None}
            if trouble:
                contents[path] = FileContent(str(path), diagnostics=unreadable(str(path), trouble).diagnostics)
        self._known = {file: known for file, known in self._known.items() if file.resolve() in contents}
        return list(contents.values()), {file: text for file, (text, _) in self._known.items()}

    async def changes(self) -> AsyncIterator[None]:
        """Yield when a file may have changed, and every `POLL_SECONDS`; several changes at once are one."""
        changed = asyncio.Event()
        watching = asyncio.create_task(self._listen(changed))
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await changed.wait()
                changed.clear()
                yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    def _list(self, path: Path) -> tuple[list[Path], str | None]:
        """The files of a path. Of a folder that can't be listed they are those of before, and the reason is said."""
        if not path.is_dir() and path not in self._listed:
            return ([path] if path.exists() or path.is_symlink() else []), None
        try:
            files = sorted(file for file in path.iterdir() if _is_manifest(file))
        except OSError as error:
            return self._listed.get(path, []), f"{error.strerror}; what it held stays in use"
        self._listed[path] = files
        return files, None

    def _read(self, file: Path) -> FileContent | None:
        known = self._known.get(file)
        try:
            with file.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return known[1] if known and not file.parent.is_dir() else None
        except OSError as error:
            return unreadable(str(file), f"can't be read: {error.strerror}")
        if known is None or known[0] != content:
            known = self._known[file] = content, read_manifests(str(file), content, self._namespace)
        return known[1]

    async def _listen(self, changed: asyncio.Event) -> None:
        while True:
            folders = _watchable(self._paths)
            with contextlib.suppress(OSError, RuntimeError):
                async for _ in awatch(
                    *folders,
                    watch_filter=None,
                    debounce=DEBOUNCE_MS,
                    step=50,
                    rust_timeout=1000,
                    recursive=False,
                ):
                    changed.set()
                    if _watchable(self._paths) != folders:
                        break
            await asyncio.sleep(POLL_SECONDS)


def _watchable(paths: Iterable[Path]) -> list[Path]:
    """Folders to watch: of a file its own, as editors put a new file in the place of the old."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    return list(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def _is_manifest(file: Path) -> bool:
    return file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()
