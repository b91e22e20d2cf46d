"""buildah's storage in the cache: the machine's own images are never touched, and no mount outlives a command."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.locks import exclusive
from localcluster.mounts import on_overlay
from localcluster.progress import run, say

MOST_IMAGES = 200


def folder(cache: Path) -> Path:
    """Where images are kept; made when absent."""
    target = cache / "images"
    target.mkdir(parents=True, exist_ok=True)
    return target


def command(cache: Path, run_root: str) -> list[str]:
    """The start of every buildah command line.

    It has a mount namespace of its own, and a run root that is thrown away: what a killed build left mounted or counted
    cannot confuse the next one.
    """
    root = folder(cache) / "storage"
    driver = "vfs" if on_overlay(folder(cache)) else "overlay"
    return ["unshare", "--mount", "buildah", f"--root={root}", f"--runroot={run_root}", f"--storage-driver={driver}"]


@contextmanager
def session(cache: Path) -> Iterator[list[str]]:
    """Use of the storage, one process at a time: yields the start of a command line.

    Working containers that a killed build left are removed first.
    """
    with (
        exclusive(folder(cache) / "storage.lock", "building an image"),
        tempfile.TemporaryDirectory(prefix="mcp-operator-build-") as run_root,
    ):
        buildah = command(cache, run_root)
        subprocess.run([*buildah, "rm", "--all"], capture_output=True, check=False)
        yield buildah


def image_id(cache: Path, image: str) -> str | None:
    """The identifier of an image in the storage, or None."""
    with session(cache) as buildah:
        query = [*buildah, "inspect", "--type=image", "--format={{.FromImageID}}", image]
        answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def prune(buildah: list[str]) -> None:
    """Remove layers that no image needs, once many have gathered; builds after that do more work again."""
    if len(run([*buildah, "images", "--all", "--quiet"]).splitlines()) > MOST_IMAGES:
        say("removing layers of earlier builds from the image storage")
        subprocess.run([*buildah, "rmi", "--prune"], capture_output=True, check=False)
