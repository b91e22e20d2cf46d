"""Archives of images: writes those of one static binary on nothing, as `docker load` and containerd read them.

The format is the Docker Image Specification 1.2 ("combined image JSON + filesystem changeset format").
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer(name: str, binary: bytes) -> bytes:
    """A layer with one executable in the root; the same bytes give the same layer."""
    return _tar({name: (binary, 0o755)})


def archive(image: str, name: str, binary: bytes, machine: str) -> bytes:
    """The archive of `image`, whose entry point is `/name`; `machine` is that of uname(1)."""
    content = layer(name, binary)
    configuration = {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": [f"/{name}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    encoded = json.dumps(configuration, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [image], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": (content, 0o644),
        config_name: (encoded, 0o644),
        "manifest.json": (json.dumps(manifest).encode(), 0o644),
    }
    return _tar(files)


def write(target: Path, image: str, binary: Path, machine: str) -> None:
    """Write the archive for a binary on disk."""
    target.write_bytes(archive(image, binary.name, binary.read_bytes(), machine))


def images_of(archive: Path) -> dict[str, str]:
    """The names in an archive of the docker format with what identifies their contents; empty for other formats."""
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile("manifest.json")
            entries = json.load(member) if member is not None else []
        return {name: str(entry["Config"]) for entry in entries for name in entry["RepoTags"] or []}
    except (KeyError, ValueError, TypeError, tarfile.TarError):
        return {}


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()
