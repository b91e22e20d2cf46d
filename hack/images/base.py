"""The base image: Debian with Python, made by mmdebstrap from Debian's packages, once."""

import os
import platform
from pathlib import Path

from images import storage
from localcluster.catalogue import digest
from localcluster.debian import IMAGES, ensure
from localcluster.locks import exclusive
from localcluster.progress import ATTEMPTS_TO_FETCH, run, run_long

SUITE = "trixie"
PACKAGES = ("python3", "python3-venv", "ca-certificates", "busybox-static")
# As in Debian's own slim images: nobody reads manuals in a container.
EXCLUDED = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
KEPT = "/usr/share/doc/*/copyright"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXPECTED_SECONDS = 70.0


def arguments(target: str) -> list[str]:
    """The mmdebstrap command line for a root file system in the tar archive `target`."""
    dpkg = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    head = ["mmdebstrap", "--variant=minbase", "--format=tar", f"--include={','.join(PACKAGES)}"]
    return [*head, *dpkg, f"--dpkgopt=path-include={KEPT}", '--aptopt=Apt::Install-Recommends "false"', SUITE, target]


def key(machine: str) -> str:
    """Changes when the base would be made differently."""
    return digest([machine.encode(), SEARCH_PATH.encode(), *(argument.encode() for argument in arguments(""))])


def name() -> str:
    """The base's name in the image storage, for `--build-arg BASE=`."""
    return f"localhost/mcp-operator-base:{SUITE}-{key(platform.machine())}"


def provide(cache: Path) -> str:
    """Make the base unless it is in the image storage; returns its name."""
    ensure(IMAGES, cache)
    image = name()
    with exclusive(storage.folder(cache) / "base.lock", "making the base image"):
        if storage.image_id(cache, image) is None:
            _make(cache, image)
    return image


def _make(cache: Path, image: str) -> None:
    archive = storage.folder(cache) / f"base-{key(platform.machine())}.tar"
    if not archive.exists():
        partial = archive.with_suffix(".partial.tar")
        partial.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]),
        }
        run_long(
            f"making the base image (Debian {SUITE} with Python)",
            arguments(str(partial)),
            log=cache / "logs" / "base.log",
            expected_seconds=EXPECTED_SECONDS,
            environment=environment,
            attempts=ATTEMPTS_TO_FETCH,
        )
        partial.replace(archive)
    with storage.session(cache) as buildah:
        container = run([*buildah, "from", "scratch"]).strip()
        run([*buildah, "add", "--quiet", container, str(archive), "/"])
        run([*buildah, "config", f"--env=PATH={SEARCH_PATH}", "--cmd=/bin/sh", container])
        run([*buildah, "commit", "--quiet", "--rm", container, image])
    archive.unlink()
