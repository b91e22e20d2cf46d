"""What `hack/stores`, `hack/prometheus` and `hack/chromium` do alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localcluster import chromium, debian, prometheus

CHROMIUM = {"chromium": chromium.PACKAGES["chromium"]}


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one folder of PATH: not even apt-get is there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("packages", [prometheus.PACKAGES, CHROMIUM], ids="-".join)
def test_nothing_is_done_where_all_is_there(programs: Path, packages: dict[str, str]) -> None:
    for name in packages.values():
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    assert debian.command(packages, lambda: pytest.fail("nothing is to be prepared")) == 0


def test_what_cannot_be_installed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    happened = []

    @contextmanager
    def meanwhile() -> Iterator[None]:
        happened.append("before")
        try:
            yield
        finally:
            happened.append("after")

    assert debian.command({"mcp-none": "no-such-program"}, meanwhile) == 1
    assert happened == ["before", "after"]
    assert "error: please install what is missing: no-such-program (Debian: mcp-none)" in capsys.readouterr().err
