"""When the inspector's page is built, and with which Node.js."""

import os
from pathlib import Path

import pytest

import inspector_page


@pytest.mark.parametrize(
    ("version", "enough"),
    [("v20.18.3\n", False), ("v20.19.0\n", True), ("v24.1.0\n", True), ("v18.20.0", False), ("", False), ("?", False)],
)
def test_which_node_is_new_enough(version: str, enough: bool) -> None:
    assert inspector_page.new_enough(version) is enough


def test_what_was_installed_or_built_is_no_source(tmp_path: Path) -> None:
    for name in ("src/main.tsx", "package.json", "node_modules/react/index.js", "dist/x.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = inspector_page.sources(tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in found] == ["package.json", "src/main.tsx"]


def test_the_digest_knows_names_and_contents(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("text")
    first = inspector_page.digest([one], tmp_path)
    assert inspector_page.digest([one], tmp_path) == first
    one.write_text("other text")
    changed = inspector_page.digest([one], tmp_path)
    one.rename(other)
    other.write_text("text")
    assert len({first, changed, inspector_page.digest([other], tmp_path)}) == 3


def test_the_machines_node_is_taken_where_it_is_new_enough(tmp_path: Path) -> None:
    for name, said in {"node": "v22.12.0", "npm": "11"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.defpath])
    assert inspector_page.search_path({"PATH": path}) == path
