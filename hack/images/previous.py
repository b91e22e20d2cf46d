"""Images of the version before this one, from the repository's history: what tests upgrade from."""

import os
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

from images import catalogue, storage
from images.build import Image
from localcluster.errors import ClusterError

TAG = "previous"
NEEDED = ("mcp-operator/operator", "mcp-operator/proxy")
"""Repositories of the images that the upgrade test runs."""


def ref(text: str | None = None) -> str:
    """The commit or tag that images.toml names."""
    found = tomllib.loads(catalogue.LIST.read_text() if text is None else text).get("previous", {}).get("ref")
    if not isinstance(found, str):
        raise ClusterError("images.toml names no previous version: [previous] ref = …")
    return found


def retagged(images: list[Image]) -> list[Image]:
    """Those that are needed, with the tag of the previous version."""
    named = [(image, image.name.rpartition(":")[0]) for image in images]
    return [replace(image, name=f"{name}:{TAG}") for image, name in named if name in NEEDED]


def names() -> list[str]:
    """Of the images, as pods write them."""
    return [f"{name}:{TAG}" for name in NEEDED]


def sources(cache: Path) -> Path:
    """A folder with the files of that version, made once.

    Raises ClusterError where the history does not reach so far back, as in a shallow clone, or there is none.
    """
    commit = ref()
    folder = storage.folder(cache) / "previous" / commit
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        archive = Path(temporary) / "files.tar"
        command = ["git", "-C", str(catalogue.ROOT), "archive", f"--output={archive}", commit]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
        except OSError as error:
            raise ClusterError(f"the previous version needs git: {error}") from error
        if done.returncode != 0:
            raise ClusterError(f"the history holds no {commit}: {done.stderr.strip()} (git fetch --unshallow)")
        partial = Path(temporary) / "files"
        with tarfile.open(archive) as files:
            files.extractall(partial, filter="data")
        shutil.move(partial, folder)
    return folder


def images(cache: Path) -> list[Image]:
    """The images to build. Raises ClusterError as `sources` does."""
    root = sources(cache)
    return retagged(catalogue.parse((root / catalogue.LIST.relative_to(catalogue.ROOT)).read_text(), root))


def _environment() -> dict[str, str]:
    """git may refuse a repository of another user; reading an archive of it does no harm."""
    setting = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    return {**os.environ, **setting}
