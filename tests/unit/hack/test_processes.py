"""Processes are known by what they were started with, not by their number."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import processes
from localcluster.processes import MARK, Process, first, inspect, of_cluster, parse_environment, parse_namespace_pids

STATE = Path("/s/cluster")


def make_process(proc: Path, pid: int, environment: bytes, namespace_pids: str) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "environ").write_bytes(environment)
    (folder / "status").write_text(f"Name:\tx\nNSpid:\t{namespace_pids}\nThreads:\t1\n")


def marked(state: str) -> bytes:
    return f"PATH=/bin\0{MARK}={state}\0".encode()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", {}),
        (b"A=1\0B=two=2\0", {"A": "1", "B": "two=2"}),
        (b"broken\0A=\0", {"A": ""}),
        (b"A=\xff\0", {"A": "\udcff"}),
    ],
)
def test_parse_environment(raw: bytes, expected: dict[str, str]) -> None:
    assert parse_environment(raw) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [("Name:\tx\nNSpid:\t41\t1\n", [41, 1]), ("NSpid:\t41\n", [41]), ("Name:\tx\n", []), ("", [])],
)
def test_parse_namespace_pids(status: str, expected: list[int]) -> None:
    assert parse_namespace_pids(status) == expected


def test_only_marked_processes_of_this_cluster_are_found(tmp_path: Path) -> None:
    make_process(tmp_path, 10, marked("/s/cluster"), "10")
    make_process(tmp_path, 11, marked("/s/cluster"), "11\t1")
    make_process(tmp_path, 12, marked("/s/cluster"), "12\t7")
    make_process(tmp_path, 13, marked("/another/cluster"), "13\t1")
    make_process(tmp_path, 14, b"PATH=/bin\0", "14")
    make_process(tmp_path, 15, b"", "15")
    (tmp_path / "self").mkdir()
    found = of_cluster(STATE, tmp_path)
    assert sorted(process.pid for process in found) == [10, 11, 12]
    assert first(found) == Process(pid=11, depth=2, inner_pid=1)


def test_a_number_that_another_process_has_now_is_nobody(tmp_path: Path) -> None:
    make_process(tmp_path, 10, b"PATH=/bin\0", "10")
    assert inspect(10, STATE, tmp_path) is None
    assert inspect(11, STATE, tmp_path) is None


def test_without_a_namespace_there_is_no_first(tmp_path: Path) -> None:
    make_process(tmp_path, 10, marked("/s/cluster"), "10")
    assert first(of_cluster(STATE, tmp_path)) is None


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()


def start(children: list[subprocess.Popen[bytes]], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process that has said that it runs (its environment can be read from then on)."""
    program = "import sys; print(flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    children.append(child)
    assert child.stdout is not None
    child.stdout.readline()
    return child


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs a Linux /proc")
def test_end_all_kills_real_processes_of_the_cluster_and_no_others(
    tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    ours = start(children, {**os.environ, MARK: str(tmp_path)})
    other = start(children, {**os.environ, MARK: str(tmp_path / "other")})
    assert processes.end_all(tmp_path) == 1
    assert ours.wait() == -signal.SIGKILL
    assert other.poll() is None
    for child in (ours, other):
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        child.stdout.close()
    assert processes.end_all(tmp_path) == 0
