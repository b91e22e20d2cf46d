"""Which processes belong to a cluster, known by a mark in their environment, never by a number from a file.

A process identifier may have been given to another process since it was written down; what a process was started with
cannot. Every process of the node inherits the mark; commands that are run inside by `exec` do not have it.
"""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

MARK = "MCP_OPERATOR_NODE"
PROC = Path("/proc")
END_SECONDS = 120.0


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it: its number here, and its number in its innermost namespace."""

    pid: int
    depth: int
    inner_pid: int


def parse_environment(raw: bytes) -> dict[str, str]:
    """The content of /proc/PID/environ as a mapping; entries without "=" are dropped."""
    pairs = (entry.split(b"=", 1) for entry in raw.split(b"\0") if b"=" in entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, value in pairs}


def parse_namespace_pids(status: str) -> list[int]:
    """The NSpid line of /proc/PID/status, outermost first: proc_pid_status(5)."""
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return []


def inspect(pid: int, state: Path, proc: Path = PROC) -> Process | None:
    """The process if it is alive, readable and marked as one of the cluster in `state`."""
    folder = proc / str(pid)
    try:
        if parse_environment((folder / "environ").read_bytes()).get(MARK) != str(state):
            return None
        numbers = parse_namespace_pids((folder / "status").read_text())
    except OSError:
        return None
    return Process(pid, len(numbers), numbers[-1]) if numbers else None


def of_cluster(state: Path, proc: Path = PROC) -> list[Process]:
    """Every living process of the cluster in `state`."""
    candidates = (int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())
    return [process for process in (inspect(pid, state, proc) for pid in candidates) if process is not None]


def first(processes: list[Process]) -> Process | None:
    """The first process of the cluster's own PID namespace: the one whose end ends them all."""
    return next((process for process in processes if process.depth > 1 and process.inner_pid == 1), None)


def end_all(state: Path) -> int:
    """Kill every process of the cluster and wait until all are gone; returns how many there were.

    Each is held by a pidfd before it is looked at again, so the signal cannot reach a successor of its number.
    """
    ended = 0
    while processes := of_cluster(state):
        chosen = first(processes)
        for process in [chosen] if chosen else processes:
            ended += _end(process.pid, state)
    return ended


def _end(pid: int, state: Path) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if inspect(pid, state) is None:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        readable, _, _ = select.select([handle], [], [], END_SECONDS)
        if not readable:
            raise TimeoutError(f"process {pid} of the cluster did not end within {END_SECONDS:.0f} s of SIGKILL")
        return True
    finally:
        os.close(handle)
