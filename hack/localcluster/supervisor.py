"""Keeps the node's programs running, as an init system does on a real node."""

import json
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from localcluster.paths import Paths
from localcluster.progress import say

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
STEADY_SECONDS = 10.0


def next_pause(previous: float, ran_seconds: float) -> float:
    """Seconds until a program that ended is started again: doubled while it keeps ending early."""
    return FIRST_PAUSE if ran_seconds >= STEADY_SECONDS else min(max(previous * 2, FIRST_PAUSE), LONGEST_PAUSE)


class Supervisor:
    """One thread a program: start, wait, start again. `programs.json` in the state folder says what runs."""

    def __init__(self, paths: Paths, commands: Mapping[str, list[str]], environment: Mapping[str, str]) -> None:
        self._paths = paths
        self._commands = commands
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._running: dict[str, dict[str, int]] = {}

    def start(self, *names: str) -> None:
        """Start programs and keep them running; returns at once."""
        for name in names:
            threading.Thread(target=self._keep, args=(name,), name=name, daemon=True).start()

    def _keep(self, name: str) -> None:
        restarts, pause = 0, 0.0
        while True:
            started = time.monotonic()
            status = self._run(name, restarts)
            pause = next_pause(pause, time.monotonic() - started)
            say(f"{name} ended with status {status}; it is started again in {pause:.1f} s")
            time.sleep(pause)
            restarts += 1

    def _run(self, name: str, restarts: int) -> int:
        log = self._paths.logs / f"{name}.log"
        with (
            log.open("ab") as output,
            subprocess.Popen(
                self._commands[name],
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            self._record(name, process.pid, restarts)
            return process.wait()

    def _record(self, name: str, pid: int, restarts: int) -> None:
        with self._lock:
            self._running[name] = {"pid": pid, "restarts": restarts}
            partial = self._paths.programs.with_suffix(".partial")
            partial.write_text(json.dumps(self._running))
            partial.replace(self._paths.programs)


def read_programs(file: Path) -> dict[str, dict[str, int]]:
    """What runs on the node: process numbers (in the node's own namespace) and restarts, by program."""
    try:
        content: dict[str, dict[str, int]] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content
