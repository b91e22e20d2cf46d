import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from mcp_operator_proxy.configfiles import INDEX_FILE, PART_BYTES, pack
from mcp_operator_proxy.secretfiles import secret_files
from mcp_operator_proxy.swap.read import read_folder
from mcp_operator_proxy.swap.validate import ConfigRejected, NotThereYet


def config(*files: str) -> str:
    headers = [{"name": f"X-{i}", "secret": {"file": file}} for i, file in enumerate(files)]
    return json.dumps({"servers": [{"id": "ns/a", "headers": headers}]})


def project(folder: Path, name: str, files: Mapping[str, str | bytes]) -> None:
    """As the kubelet does: a new folder, then the link `..data` renamed onto it."""
    (folder / name).mkdir()
    for file, content in files.items():
        (folder / name / file).write_bytes(content.encode() if isinstance(content, str) else content)
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    (folder / "..data_tmp").symlink_to(name)
    (folder / "..data_tmp").rename(folder / "..data")


def test_a_projected_volume(tmp_path: Path) -> None:
    project(tmp_path, "..2026_1", {"config.json": config("a"), "a": "hush"})
    assert read_folder(tmp_path).secrets == {"a": "hush"}
    project(tmp_path, "..2026_2", {"config.json": config("b"), "b": "hush2\n"})
    snapshot = read_folder(tmp_path)
    assert snapshot.config == config("b").encode()
    assert snapshot.secrets == {"b": "hush2"}
    assert "hush" not in repr(snapshot)


def large(*files: str) -> str:
    """A config that takes two ConfigMaps, even compressed."""
    return json.dumps({**json.loads(config(*files)), "noise": random.Random(1).randbytes(PART_BYTES).hex()})


def test_a_large_one_is_put_together(tmp_path: Path) -> None:
    first, second = pack(large("a"), "r1")
    project(tmp_path, "..2026_1", {**first, **second, "a": "hush", "wanted-revision": "r1"})
    snapshot = read_folder(tmp_path)
    assert snapshot.config == large("a").encode()
    assert (snapshot.secrets, snapshot.wanted) == ({"a": "hush"}, "r1")
    project(tmp_path, "..2026_2", {**first, "a": "hush"})
    with pytest.raises(NotThereYet, match="piece 2 of 2 of revision r1 has not arrived yet") as caught:
        read_folder(tmp_path)
    assert caught.value.revision == "r1"
    project(tmp_path, "..2026_3", {INDEX_FILE: "?"})
    with pytest.raises(ConfigRejected, match="is no index"):
        read_folder(tmp_path)


@pytest.mark.parametrize(("text", "wanted"), [("abc", "abc"), ("abc+3", "abc"), ("", ""), ("\n", ""), (None, None)])
def test_which_revision_is_wanted(tmp_path: Path, text: str | None, wanted: str | None) -> None:
    project(tmp_path, "..1", {"config.json": config(), **({} if text is None else {"wanted-revision": text})})
    assert read_folder(tmp_path).wanted == wanted


def test_what_is_wanted_is_no_part_of_the_configuration(tmp_path: Path) -> None:
    project(tmp_path, "..1", {"config.json": config(), "wanted-revision": "a"})
    before = read_folder(tmp_path)
    project(tmp_path, "..2", {"config.json": config(), "wanted-revision": "b"})
    assert read_folder(tmp_path) == before


def test_a_plain_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config("token", ".hidden", "missing"))
    (tmp_path / "token").write_text("two\nlines\n\n")
    (tmp_path / ".hidden").write_text("dot names are allowed")
    (tmp_path / "other").write_bytes(b"\xff is not read")
    assert read_folder(tmp_path).secrets == {"token": "two\nlines\n", ".hidden": "dot names are allowed"}


@pytest.mark.parametrize(
    ("content", "files"),
    [
        ("nonsense", set()),
        ("[" * 100_000, set()),
        ("[]", set()),
        ('{"servers": 3}', set()),
        ('{"servers": [1, {"headers": [2, {"secret": 3}, {"secret": {"file": 4}}]}]}', set()),
        (config("a", "../b", "c/d", ".."), {"a"}),
    ],
    ids=range(6),
)
def test_which_files_a_config_names(content: str, files: set[str]) -> None:
    assert secret_files(content.encode()) == files


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigRejected, match=r"there is no config\.json"):
        read_folder(tmp_path)
    with pytest.raises(ConfigRejected, match=r"there is no config\.json"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigRejected, match=r"config\.json cannot be read"):
        read_folder(tmp_path)


def test_a_secret_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config("bin"))
    (tmp_path / "bin").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigRejected, match="the secret file bin is not UTF-8 text"):
        read_folder(tmp_path)
