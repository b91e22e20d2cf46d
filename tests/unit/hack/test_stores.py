"""The programs of the stores that tests start."""

import os
from pathlib import Path

import pytest

from localcluster import debian, stores


def test_the_servers_programs_are_found_wherever_debian_keeps_its_version(tmp_path: Path) -> None:
    program = tmp_path / "17" / "bin" / "initdb"
    assert not debian.installed(f"{tmp_path}/*/bin/initdb")
    program.parent.mkdir(parents=True)
    program.touch()
    assert debian.installed(f"{tmp_path}/*/bin/initdb")


def test_nothing_is_done_where_all_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("redis-server", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert stores.packages() == {"redis-server": "redis-server", "postgresql": "initdb"}
    assert debian.missing(stores.packages()) == []
    assert stores.main() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_the_package_makes_no_database_meanwhile(tmp_path: Path) -> None:
    settings = tmp_path / "createcluster.d" / "ours.conf"
    with stores.no_database(settings):
        assert "create_main_cluster = false" in settings.read_text().splitlines()
    assert not settings.exists()


def test_make_installs_the_stores_before_the_unit_tests() -> None:
    lines = (Path(__file__).parents[3] / "Makefile").read_text().splitlines()
    assert any(line.startswith("unit: ") and "stores" in line.split("##")[0].split() for line in lines)
