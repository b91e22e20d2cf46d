"""A configuration folder: all of it changes in one step, for this user alone."""

import stat
from pathlib import Path

from mcp_operator.local.folder import ConfigFolder
from mcp_operator_proxy.swap.read import read_folder


def config(file: str) -> str:
    return f'{{"servers": [{{"headers": [{{"secret": {{"file": "{file}"}}}}]}}]}}'


def test_the_proxy_reads_what_was_written_and_nothing_of_before(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path / "x")
    for number in range(4):
        folder.write(config(f"token.{number}"), {f"token.{number}": b"secret %d" % number})
        snapshot = read_folder(folder.path)
        assert snapshot.config.decode() == config(f"token.{number}")
        assert snapshot.secrets == {f"token.{number}": f"secret {number}"}


def test_who_reads_the_version_before_may_end_his_reading(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path / "x")
    folder.write("{}", {"token": b"one"})
    reading = (folder.path / "..data").resolve()
    folder.write("{}", {"token": b"two"})
    assert (reading / "token").read_bytes() == b"one"
    folder.write("{}", {"token": b"three"})
    assert not reading.exists()


def test_only_this_user_can_read_it(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path / "x")
    folder.write("{}", {"token": b"one"})
    modes = {
        path: stat.S_IMODE(path.stat().st_mode) for path in [folder.path, *(folder.path / "..data").resolve().iterdir()]
    }
    assert modes.pop(folder.path) == 0o700
    assert set(modes.values()) == {0o600}
    folder.remove()
    assert not folder.path.exists()
