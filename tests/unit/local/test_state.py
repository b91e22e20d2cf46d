"""The state folder: private, locked, gone at the end; what a killed run left goes at the next start."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mcp_operator.local.state import PREFIX, StateInUse, state_folder


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_a_temporary_one_is_private_and_goes() -> None:
    with state_folder(None) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "proxies" / "secret").write_text("x")
    assert not folder.exists()


def test_a_chosen_one_keeps_its_logs(tmp_path: Path) -> None:
    chosen = tmp_path / "state"
    with state_folder(chosen):
        (chosen / "proxies" / "secret").write_text("x")
        (chosen / "logs" / "time.log").write_text("x")
    assert not (chosen / "proxies").exists()
    assert (chosen / "logs" / "time.log").exists()


def test_two_can_not_share_one(tmp_path: Path) -> None:
    with state_folder(tmp_path / "state"), pytest.raises(StateInUse, match="in use"), state_folder(tmp_path / "state"):
        pass


def test_what_a_killed_run_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    script = (
        "import os, sys; from mcp_operator.local.state import state_folder\n"
        "with state_folder(None) as folder: print(folder, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        with state_folder(None):
            assert theirs.exists()
        other.kill()
    assert theirs.exists()
    foreign = tmp_path / f"{PREFIX}link"
    foreign.symlink_to(tmp_path)
    with state_folder(None):
        assert not theirs.exists()
    assert foreign.is_symlink()


def test_without_a_runtime_folder_it_is_among_the_temporary_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with state_folder(None) as folder:
        assert folder.parent == Path(tempfile.gettempdir())
        assert folder.stat().st_uid == os.getuid()
