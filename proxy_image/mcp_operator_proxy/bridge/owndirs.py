"""A folder for each process of a user or session: processes that write files where all of them look would share them.

The process finds it in MCP_OWN_DIR, and `$(MCP_OWN_DIR)` in its command and its variables is replaced.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from mcp_operator_proxy.bridge.process import ProcessSpec

VARIABLE: Final = "MCP_OWN_DIR"
_REFERENCE: Final = f"$({VARIABLE})"

logger = logging.getLogger(__name__)


def with_own_dir(spec: ProcessSpec, folder: str) -> ProcessSpec:
    """What to run with `folder` as its own."""
    return replace(
        spec,
        command=tuple(part.replace(_REFERENCE, folder) for part in spec.command),
        environment=filled(spec.environment, folder),
    )


def filled(environment: Mapping[str, str], folder: str) -> Mapping[str, str]:
    return {**{name: value.replace(_REFERENCE, folder) for name, value in environment.items()}, VARIABLE: folder}


class OwnDirs:
    """Folders below `root` (None: a temporary one) that only this user of the machine may open. Those that `stay` are named after
    their owners; of others each is another one, and gone after `remove` or `close`."""

    def __init__(self, root: str | None = None, *, stay: bool = False) -> None:
        self._root = Path(root) if root is not None else None
        self._stay = stay

    def of(self, owner: str) -> str:
        """A folder of the owner's, made where it is not there. One that cannot be made is told of in the log and, by its process, in words
        of its own."""
        try:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="mcp-own-"))
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._stay:
                return tempfile.mkdtemp(prefix=f"{owner}-", dir=self._root)
            folder = self._root / owner
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            logger.error("no folder of its own for a process: %s", error)  # noqa: TRY400 - the trace says no more
            folder = (self._root or Path(tempfile.gettempdir())) / owner
        return str(folder)

    def remove(self, folder: str) -> None:
        """Remove a temporary folder."""
        if not self._stay:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        if not self._stay and self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None
