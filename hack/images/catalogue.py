"""The project's images: those that images.toml lists, and one for every folder with a Dockerfile below tests/e2e/images."""

import tomllib
from pathlib import Path

from images.build import Image
from localcluster.errors import ClusterError
from localcluster.paths import HACK

ROOT = HACK.parent
LIST = HACK / "images" / "images.toml"
TEST_IMAGES = ROOT / "tests" / "e2e" / "images"


def parse(text: str, root: Path) -> list[Image]:
    """The images of an images.toml; paths are relative to `root`. A wrong entry is a `ClusterError` that names it."""
    images = []
    for number, entry in enumerate(tomllib.loads(text).get("image", []), start=1):
        unknown = sorted(set(entry) - {"name", "dockerfile", "context", "target"})
        absent = sorted({"name", "dockerfile", "context"} - set(entry))
        if unknown or absent:
            raise ClusterError(f"images.toml, image {number}: unknown {unknown}, missing {absent}")
        images.append(
            Image(entry["name"], root / entry["dockerfile"], root / entry["context"], target=entry.get("target", ""))
        )
    return images


def test_images(folder: Path) -> list[Image]:
    """The images that only tests use, named after their folders."""
    dockerfiles = sorted(folder.glob("*/Dockerfile"))
    return [Image(f"mcp-operator-test/{file.parent.name}:dev", file, file.parent) for file in dockerfiles]


def everything() -> list[Image]:
    """All images of the project."""
    return [*parse(LIST.read_text(), ROOT), *test_images(TEST_IMAGES)]
