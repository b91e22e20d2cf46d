"""A proxy's configuration folder, written as the kubelet writes a projected volume: all of it changes in one step."""

import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcp_operator_proxy.config import CONFIG_FILE

DATA: Final = "..data"


class ConfigFolder:
    """`config.json` and its secret files, readable for this user alone.

    Each version is a folder of its own; the symlink `..data` names the one in use and is replaced by a rename. The version
    before stays, as somebody may just be reading it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._versions = itertools.count(1)
        self._old: list[Path] = []
        path.mkdir(mode=0o700, parents=True)

    def write(self, config: str, secrets: Mapping[str, bytes]) -> None:
        """Put a new version in the place of the one in use. Raises OSError; then the old one stays."""
        version = self.path / f"..version-{next(self._versions)}"
        version.mkdir(mode=0o700)
        for name, content in {**secrets, CONFIG_FILE: config.encode()}.items():
            with os.fdopen(os.open(version / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
        link = self.path / "..data_tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(version.name)
        link.replace(self.path / DATA)
        self._old.append(version)
        while len(self._old) > 2:
            shutil.rmtree(self._old.pop(0))

    def remove(self) -> None:
        """Remove it with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)
