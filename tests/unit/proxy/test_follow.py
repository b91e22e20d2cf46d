"""A configuration folder followed while it changes, as the kubelet, an editor and a script change it."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_operator_proxy.configfiles import pack
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.swap import watch
from mcp_operator_proxy.swap.watch import follow
from mcp_operator_proxy.tasks import cancel
from support.backends import eventually

SECRET = {
    "servers": [
        {"id": "ns/a", "url": "http://127.0.0.1:9/mcp", "headers": [{"name": "X", "secret": {"file": "token"}}]}
    ]
}


def text(revision: str, **more: Any) -> str:
    return json.dumps({"revision": revision, **more})


def large(revision: str) -> str:
    """A configuration that takes two ConfigMaps, even compressed."""
    draw = random.Random(revision)
    overrides = [{"name": f"t{n}", "description": draw.randbytes(700).hex()} for n in range(1600)]
    entry = {"server": "ns/a", "prefix": "a", "tools": {"overrides": overrides}}
    route = {"name": "McpRoute/ns/r", "path": "/mcp", "servers": [entry]}
    return text(revision, servers=[{"id": "ns/a", "url": "http://127.0.0.1:9/mcp"}], routes=[route])


@contextlib.asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[Proxy]:
    async with Proxy() as proxy:
        task = asyncio.create_task(follow(proxy, folder))
        try:
            yield proxy
        finally:
            await cancel([task])


async def uses(proxy: Proxy, revision: str) -> None:
    status = await proxy.wait_for(revision, 60)
    assert (status.revision, status.rejected) == (revision, None)


def project(folder: Path, generation: int, files: Mapping[str, str | bytes]) -> None:
    name = f"..2026_{generation}"
    (folder / name).mkdir()
    for file, content in files.items():
        (folder / name / file).write_bytes(content.encode() if isinstance(content, str) else content)
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    (folder / "..data_tmp").symlink_to(name)
    (folder / "..data_tmp").rename(folder / "..data")


async def test_a_projected_volume_flips(tmp_path: Path) -> None:
    project(tmp_path, 1, {"config.json": text("r1")})
    async with followed(tmp_path) as proxy:
        await uses(proxy, "r1")
        for generation in range(2, 5):
            project(tmp_path, generation, {"config.json": text(f"r{generation}")})
            await uses(proxy, f"r{generation}")


async def test_half_a_set_is_never_taken_into_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces of a large configuration come one after the other, each in a ConfigMap of its own, the index last."""
    monkeypatch.setattr(watch, "SECRET_SECONDS", 0.2)
    one, two = (pack(large(revision), revision) for revision in ("r1", "r2"))
    project(tmp_path, 1, {**one[0], **one[1]})
    async with followed(tmp_path) as proxy:
        await uses(proxy, "r1")
        project(tmp_path, 2, {**one[0], **two[1]})
        await eventually(lambda: proxy.rejected)
        assert proxy.rejected is not None
        assert proxy.rejected.message == "piece 2 of 2 of revision r1 has not arrived yet"
        assert proxy.status().revision == "r1"
        project(tmp_path, 3, {**two[0], **two[1]})
        await uses(proxy, "r2")
        assert proxy.status().swaps == 2


async def test_a_new_process_is_ready_with_the_revision_that_is_asked_of_it(tmp_path: Path) -> None:
    project(tmp_path, 1, {"config.json": text("r1"), "wanted-revision": "r2"})
    async with followed(tmp_path) as proxy:
        assert proxy.why_not_ready() == "no configuration yet"
        await uses(proxy, "r1")
        assert proxy.why_not_ready() == "revision r1 is in use, r2 is on its way"
        project(tmp_path, 2, {"config.json": text("r2"), "wanted-revision": "r2+1"})
        await uses(proxy, "r2")
        assert proxy.why_not_ready() is None
        project(tmp_path, 3, {"config.json": text("r2"), "wanted-revision": "r3"})
        await eventually(lambda: proxy.readiness._wanted == "r3")
        assert proxy.why_not_ready() is None


async def test_files_written_and_renamed_in_place(tmp_path: Path) -> None:
    async with followed(tmp_path) as proxy:
        await eventually(lambda: proxy.rejected)
        assert "there is no config.json" in str(proxy.rejected)
        (tmp_path / "config.json").write_text(text("r1"))
        await uses(proxy, "r1")
        (tmp_path / "new").write_text(text("r2"))
        (tmp_path / "new").rename(tmp_path / "config.json")
        await uses(proxy, "r2")
        (tmp_path / "config.json").unlink()
        await eventually(lambda: proxy.rejected)
        assert proxy.status().revision == "r2"


async def test_a_bad_file_is_refused_and_a_good_one_clears_that(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(text("r1"))
    async with followed(tmp_path) as proxy:
        await uses(proxy, "r1")
        config.write_text(text("r2", srvers=[]))
        status = await proxy.wait_for("r2", 60)
        assert status.revision == "r1"
        assert status.rejected is not None
        assert status.rejected.message == "srvers: unknown field"
        config.write_text('{"revision": "r3"')
        await eventually(lambda: proxy.rejected and "not JSON" in proxy.rejected.message)
        config.write_text(text("r1"))
        await eventually(lambda: proxy.rejected is None)
        assert proxy.status().swaps == 1


async def test_a_secret_that_comes_after_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text("r1"))
    async with followed(tmp_path) as proxy:
        await uses(proxy, "r1")
        (tmp_path / "config.json").write_text(text("r2", **SECRET))
        await asyncio.sleep(0)
        (tmp_path / "token").write_text("abc\n")
        await uses(proxy, "r2")
        backend = proxy.state.backends["ns/a"]  # type: ignore[union-attr]
        assert backend.resolved.headers == {"X": "abc"}
        (tmp_path / "token").write_text("def")
        await eventually(lambda: backend.resolved.headers == {"X": "def"})
        assert proxy.status().swaps == 3


async def test_a_secret_that_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECRET_SECONDS", 0.2)
    (tmp_path / "config.json").write_text(text("r1", **SECRET))
    async with followed(tmp_path) as proxy:
        status = await proxy.wait_for("r1", 60)
        assert status.rejected is not None
        assert status.rejected.message == "servers[0].headers[0] of ns/a: there is no secret file token for header X"
        (tmp_path / "token").write_text("abc")
        await eventually(lambda: proxy.rejected is None)
        await uses(proxy, "r1")


async def test_a_folder_that_cannot_be_watched_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no inotify here")

    monkeypatch.setattr(watch, "awatch", refuse)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.05)
    (tmp_path / "config.json").write_text(text("r1"))
    async with followed(tmp_path) as proxy:
        await uses(proxy, "r1")
        (tmp_path / "config.json").write_text(text("r2"))
        await uses(proxy, "r2")
