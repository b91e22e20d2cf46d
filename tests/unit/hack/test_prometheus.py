"""The programs of Prometheus that tests start."""

from pathlib import Path


def test_make_installs_it_before_the_unit_tests() -> None:
    lines = (Path(__file__).parents[3] / "Makefile").read_text().splitlines()
    assert any(line.startswith("unit: ") and "prometheus" in line.split("##")[0].split() for line in lines)
