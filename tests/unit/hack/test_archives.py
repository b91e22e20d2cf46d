"""Image archives."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from localcluster.archives import archive, images_of, layer


def read(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_archive_is_whole_and_deterministic() -> None:
    content = archive("localhost/pause:static", "pause", b"binary", "x86_64")
    assert content == archive("localhost/pause:static", "pause", b"binary", "x86_64")
    files = read(content)
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["localhost/pause:static"]
    configuration = json.loads(files[entry["Config"]])
    assert configuration["architecture"] == "amd64"
    assert configuration["config"]["Entrypoint"] == ["/pause"]
    (layer_name,) = entry["Layers"]
    assert configuration["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(files[layer_name]).hexdigest()}"]
    assert read(files[layer_name]) == {"pause": b"binary"}


def test_the_binary_can_be_executed() -> None:
    with tarfile.open(fileobj=io.BytesIO(layer("pause", b"binary"))) as tar:
        assert tar.getmember("pause").mode == 0o755


def test_images_are_told_apart_by_content(tmp_path: Path) -> None:
    for name, binary in (("a.tar", b"one"), ("b.tar", b"two"), ("c.tar", b"one")):
        (tmp_path / name).write_bytes(archive("x:dev", "x", binary, "x86_64"))
    first, second, third = (images_of(tmp_path / name) for name in ("a.tar", "b.tar", "c.tar"))
    assert set(first) == {"x:dev"}
    assert first != second
    assert first == third


@pytest.mark.parametrize("content", [b"", b"no archive", layer("x", b"no manifest")])
def test_other_formats_have_no_known_images(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(content)
    assert images_of(file) == {}
