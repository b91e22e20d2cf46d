"""Builds one image from its Dockerfile to an archive that clusters can load.

buildah's own layer cache decides what has to be done again: it compares instructions and the contents that they copy, so a
build without changes takes a second.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from images import base, machine, storage
from localcluster.errors import ClusterError
from localcluster.progress import ATTEMPTS_TO_FETCH, run, run_long, say

EXPECTED_SECONDS = 60.0


@dataclass(frozen=True)
class Image:
    """What to build: `name` is what pods write (`mcp-operator/proxy:dev`), `target` a stage of the Dockerfile ("" is the last)."""

    name: str
    dockerfile: Path
    context: Path
    target: str = ""
    arguments: tuple[str, ...] = field(default=())


def archive_path(cache: Path, image: Image) -> Path:
    """Where the image's archive is kept."""
    return storage.folder(cache) / "archives" / f"{image.name.replace('/', '_').replace(':', '_')}.tar"


def stage_options(image: Image) -> list[str]:
    """The options that `docker build` and `buildah build` share; base and platform are added by the engines."""
    target = [f"--target={image.target}"] if image.target else []
    arguments = [f"--build-arg={argument}" for argument in image.arguments]
    return [f"--file={image.dockerfile}", *target, *arguments]


def buildah_options(image: Image, base_name: str, mounts: Sequence[machine.Mount], id_file: str) -> list[str]:
    """The command line after `buildah`. Without user namespaces or a registry: chroot isolation; what is there is not pulled."""
    head = ["build", "--isolation=chroot", "--layers", "--pull=false", f"--iidfile={id_file}"]
    volumes = [f"--volume={mount.option()}" for mount in mounts]
    given = any(argument.startswith("BASE=") for argument in image.arguments)
    base_argument = [] if given else [f"--build-arg=BASE={base_name}"]
    return [*head, f"--tag=localhost/{image.name}", *volumes, *base_argument, *stage_options(image), str(image.context)]


def docker_options(image: Image) -> list[str]:
    """The command line after `docker`: the Dockerfile's own base, which Docker pulls."""
    return ["build", f"--tag={image.name}", *stage_options(image), str(image.context)]


def check(image: Image) -> None:
    """`ClusterError` when the inputs are not there."""
    if not image.dockerfile.is_file():
        raise ClusterError(f"{image.name}: there is no Dockerfile {image.dockerfile}")
    if not image.context.is_dir():
        raise ClusterError(f"{image.name}: the context {image.context} is no folder")


def build(image: Image, cache: Path) -> Path:
    """Build the image and return the path of its archive, which is rewritten only when the image changed."""
    check(image)
    archive = archive_path(cache, image)
    archive.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("docker") is not None and _succeeds(["docker", "info"]):
        _build_with_docker(image, cache, archive)
    elif os.geteuid() == 0 and platform.system() == "Linux":
        _build_with_buildah(image, cache, archive)
    else:
        raise ClusterError("images are built by Docker, or by root on Linux: neither is the case here")
    return archive


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _log(cache: Path, archive: Path) -> Path:
    return cache / "logs" / f"image-{archive.stem}.log"


def _build_with_buildah(image: Image, cache: Path, archive: Path) -> None:
    base_name = base.provide(cache)
    with storage.session(cache) as buildah, tempfile.TemporaryDirectory(prefix="mcp-operator-settings-") as folder:
        id_file = Path(folder) / "image-id"
        storage.prune(buildah)
        mounts = machine.mounts(Path(folder), os.environ)
        run_long(
            f"building {image.name}",
            [*buildah, *buildah_options(image, base_name, mounts, str(id_file))],
            log=_log(cache, archive),
            expected_seconds=EXPECTED_SECONDS,
            attempts=ATTEMPTS_TO_FETCH,  # layers that are done are in the cache
        )
        identifier = id_file.read_text().strip().removeprefix("sha256:")
        if _is_current(archive, identifier):
            return
        partial = archive.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        run([*buildah, "push", "--quiet", identifier, f"docker-archive:{partial}:{image.name}"])
        _publish(archive, partial, identifier)


def _build_with_docker(image: Image, cache: Path, archive: Path) -> None:
    log = _log(cache, archive)
    run_long(
        f"building {image.name}",
        ["docker", *docker_options(image)],
        log=log,
        expected_seconds=EXPECTED_SECONDS,
        attempts=ATTEMPTS_TO_FETCH,
    )
    identifier = run(["docker", "image", "inspect", "--format={{.Id}}", image.name]).strip().removeprefix("sha256:")
    if _is_current(archive, identifier):
        return
    partial = archive.with_suffix(".partial")
    run(["docker", "save", f"--output={partial}", image.name])
    _publish(archive, partial, identifier)


def _is_current(archive: Path, identifier: str) -> bool:
    note = archive.with_suffix(".id")
    return archive.exists() and note.exists() and note.read_text() == identifier


def _publish(archive: Path, partial: Path, identifier: str) -> None:
    """The note goes first and comes last, so that a killed run never leaves one that lies."""
    note = archive.with_suffix(".id")
    note.unlink(missing_ok=True)
    partial.replace(archive)
    note.write_text(identifier)
    say(f"wrote {archive} ({archive.stat().st_size / 1e6:.0f} MB)")
