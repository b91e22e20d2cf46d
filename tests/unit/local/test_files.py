"""Files on disk: which count, what of those that can't be read, and one that is just being written."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_operator.local import files as module
from mcp_operator.local.files import ManifestFiles, NotThere
from mcp_operator.local.manifests import FileContent
from support.backends import eventually
from unit.local.harness import PROXY, tiny


def names(contents: list[FileContent]) -> list[str]:
    return [Path(content.path).name for content in contents]


def count(contents: list[FileContent]) -> int:
    return sum(len(content.manifests) for content in contents)


def test_a_folder_s_own_files_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "d.txt", ".hidden.yaml", "e.yaml~"):
        (tmp_path / name).write_text("{}" if name == "c.json" else PROXY)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "f.yaml").write_text(PROXY)
    os.mkfifo(tmp_path / "g.yaml")
    assert names(ManifestFiles([tmp_path], "default").read()) == ["a.yaml", "b.yml", "c.json"]


def test_a_file_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PROXY)
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    assert count(ManifestFiles([tmp_path / "a.yaml", tmp_path], "default").read()) == 1


@pytest.mark.parametrize("path", ["gone", "gone.yaml", "pipe.yaml"])
def test_what_is_no_file_and_no_folder(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(NotThere, match=path):
        ManifestFiles([tmp_path / path], "default")


def test_an_unreadable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(PROXY)
    files = ManifestFiles([tmp_path], "default")
    files.read()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    (content,) = files.read()
    assert content.unclear
    assert content.diagnostics[0].message == "can't be read: Permission denied"


def test_a_folder_that_goes_keeps_what_it_held_and_a_file_does_not(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "a.yaml"
    folder.mkdir()
    for path in (folder / "b.yaml", file):
        path.write_text(PROXY)
    files = ManifestFiles([folder, file], "default")
    assert count(files.read()) == 2
    file.unlink()
    assert count(files.read()) == 1
    folder.rename(tmp_path / "moved")
    kept = files.read()
    assert count(kept) == 1
    assert [d.message for c in kept for d in c.diagnostics] == ["No such file or directory; what it held stays in use"]
    (tmp_path / "moved").rename(folder)
    assert not any(content.diagnostics for content in files.read())


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer goes on at the first pause of the reader."""
    (tmp_path / "a.yaml").write_text(PROXY + tiny("one", "x"))
    files = ManifestFiles([tmp_path], "default")
    assert count(files.read()) == 2
    steps: list[Callable[[], object]] = [
        lambda: (tmp_path / "a.yaml").write_text(PROXY + tiny("one", "x") + tiny("two", "y"))
    ]
    monkeypatch.setattr(module.time, "sleep", lambda _: steps.pop()() if steps else None)
    (tmp_path / "a.yaml").write_text("")
    assert count(files.read()) == 3


async def test_hears_of_changes_also_by_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 600.0)
    file = tmp_path / "a.yaml"
    file.write_text(PROXY)
    changes = ManifestFiles([file], "default").changes()
    hearing = threading.Event()

    async def listen() -> None:
        async for _ in changes:
            hearing.set()

    listening = asyncio.create_task(listen())
    try:

        def renamed_and_heard() -> bool:
            (tmp_path / ".draft").write_text(PROXY)
            (tmp_path / ".draft").replace(file)
            return hearing.is_set()

        await eventually(renamed_and_heard)
    finally:
        listening.cancel()
        await asyncio.wait([listening])
