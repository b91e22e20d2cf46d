"""The programs of Prometheus that tests start."""

from pathlib import Path

import pytest

from localcluster import debian, prometheus


def test_nothing_is_done_where_it_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian, "_install", lambda *_: pytest.fail("nothing is missing"))
    for name in prometheus.PACKAGES.values():
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prometheus.main() == 0


def test_make_installs_it_before_the_unit_tests() -> None:
    lines = (Path(__file__).parents[3] / "Makefile").read_text().splitlines()
    assert any(line.startswith("unit: ") and "prometheus" in line.split("##")[0].split() for line in lines)
