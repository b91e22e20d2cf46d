"""`mcp-operator run` as a process beside the cluster that KUBECONFIG names, with its rights.

with operating(tmp_path / "log", "--namespaces", "team-a") as operator:
    until(operator.idle)
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.backends import free_port
from support.ending import end

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.2
END_SECONDS = 60.0
ANSWER_SECONDS = 30.0
ONCE = {"interval": "24h", "timeout": "1s", "failureThreshold": 1}
"""Health settings of a server that nobody is to probe again and again."""


def until(condition: Callable[[], Any], *, within: float = 60, why: Callable[[], object] | None = None) -> Any:
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true after {within} s: {why() if why else found}"
        time.sleep(POLL_SECONDS)
    return found


@dataclass(frozen=True)
class Operator:
    """A process of the operator that is at work."""

    port: int

    def idle(self) -> bool:
        """Whether it has looked at something, and nothing waits."""
        if not self.ready():
            return False
        lines = self._metrics()  # of one moment: a key may go from the one to the other
        busy = _sum(lines, "workqueue_depth") + _sum(lines, "controller_active_workers")
        return _sum(lines, "controller_reconcile_total") > 0 and busy == 0

    def ready(self) -> bool:
        """Whether it has listed what there is and is at work."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=ANSWER_SECONDS) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric's samples, of those that carry the label (`method="PATCH"`)."""
        return _sum(self._metrics(), name, label)

    def _metrics(self) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=ANSWER_SECONDS) as answer:
            return list(answer.read().decode().splitlines())


def _sum(lines: list[str], name: str, label: str = "") -> float:
    samples = [line.rpartition(" ") for line in lines if line.partition("{")[0].partition(" ")[0] == name]
    return sum(float(value) for series, _, value in samples if label in series)


@contextmanager
def operating(log: Path, *flags: str) -> Iterator[Operator]:
    """An operator that has begun its work. One that ends by itself is a failure. `log` has what it says."""
    port = free_port()
    command = [sys.executable, "-m", "mcp_operator", "run", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--egress-allow", "loopback", *flags]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}{os.pathsep}{ROOT / 'proxy_image'}"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        operator = Operator(port)
        until(operator.ready, within=90, why=lambda: log.read_text()[-4000:])
        yield operator
        assert process.poll() is None, log.read_text()[-4000:]
    finally:
        end(process, END_SECONDS)
