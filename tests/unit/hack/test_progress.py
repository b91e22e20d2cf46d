"""Long commands: what is said of them, and that those that fetch something get another chance."""

import subprocess
from pathlib import Path

import pytest

from localcluster.debian import INSTALL
from localcluster.errors import ClusterError
from localcluster.progress import run_long

FLAKY = 'echo x >> "$0"; [ $(wc -l < "$0") -ge "$1" ] || { echo "no route to mirror"; exit 7; }'


@pytest.mark.parametrize(("good", "tried"), [(1, 1), (3, 3), (4, 3)])
def test_a_command_that_fails_is_run_again(tmp_path: Path, good: int, tried: int) -> None:
    """`good`: the attempt that succeeds; three are made at most."""
    count, said = tmp_path / "count", list[str]()
    command = ["sh", "-c", FLAKY, str(count), str(good)]
    options = {"log": tmp_path / "logs" / "log", "expected_seconds": 1, "report": said.append, "pause": 0.01}
    if good == tried:
        run_long("fetching", command, attempts=3, **options)
        assert said[-1].startswith("fetching: done in")
    else:
        with pytest.raises(ClusterError, match=r"exit status 7 .*\nno route to mirror"):
            run_long("fetching", command, attempts=3, **options)
    assert len(count.read_text().splitlines()) == tried
    again = [line for line in said if "again in" in line]
    assert [line.splitlines()[-1] for line in again] == [
        f"fetching: again in {pause} s" for pause in (0.01, 0.02)[: tried - 1]
    ]
    assert all("no route to mirror" in line for line in again)


def test_a_command_is_run_once_unless_more_is_asked_for(tmp_path: Path) -> None:
    count = tmp_path / "count"
    with pytest.raises(ClusterError, match="exit status 7"):
        run_long("once", ["sh", "-c", FLAKY, str(count), "2"], log=tmp_path / "log", expected_seconds=1)
    assert len(count.read_text().splitlines()) == 1


@pytest.mark.parametrize("fails", ["", "update"])
def test_packages_are_installed_after_their_lists(tmp_path: Path, fails: str) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/said\nfor word; do [ "$word" = "{fails}" ] && exit 100; done\nexit 0\n'
    )
    apt.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", INSTALL, "install", "redis-server", "runc"], env=environment, check=False)
    options = "-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
    installed = [f"{options} install -y --no-install-recommends redis-server runc"]
    assert (tmp_path / "said").read_text().splitlines() == [f"{options} update", *([] if fails else installed)]
    assert done.returncode == (100 if fails else 0)
