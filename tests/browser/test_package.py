"""The page as it is shipped: built once, the same each time, and in the wheel."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import inspector_page
from mcp_operator_proxy.inspector.pages import INDEX, STATIC

ROOT = Path(__file__).resolve().parents[2]


def built(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_page_without_changes_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    inspector_page.build()
    before = (STATIC / INDEX).stat().st_mtime_ns
    monkeypatch.setattr(inspector_page, "run", None)
    inspector_page.build()
    assert (STATIC / INDEX).stat().st_mtime_ns == before


def test_the_same_sources_make_the_same_page(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": inspector_page.search_path(os.environ), "UI_OUT": str(tmp_path / "static")}
    inspector_page.run(["npm", "run", "--silent", "build"], environment)
    assert built(tmp_path / "static") == built(STATIC)


def test_the_page_has_nothing_inline_and_names_no_other_host() -> None:
    page = (STATIC / INDEX).read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith("/ui/"), address


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert uv is not None
    patient = {
        "UV_HTTP_RETRIES": "8",
        "UV_HTTP_TIMEOUT": "60",
    }  # it fetches what builds, and registries fail now and then
    subprocess.run(
        [uv, "build", "--quiet", "--wheel", f"--out-dir={tmp_path}", str(ROOT)],
        env={**os.environ, **patient},
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"mcp_operator_proxy/inspector/static/{name}" for name in built(STATIC)} <= names
    assert not any("node_modules" in name or name.endswith(".tsx") for name in names)
