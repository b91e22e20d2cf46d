"""The operator as a process of the benchmark: how it is started, and what it says of itself."""

import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.operator.world import World
from bench.procs import NotReady, Process, free_port, get, module_env, running
from mcp_operator.api import meta
from support.controlplane import ControlPlane


@dataclass(frozen=True)
class Counters:
    """What the operator had done when it was asked."""

    writes: int
    """Requests to the API server that change something: statuses, children, annotations of pods, Events."""
    probes: int
    """Of McpServers."""
    waiting: int
    """Keys in line or being reconciled."""


def counters(metrics: str) -> Counters:
    """Read them from `/metrics`."""
    return Counters(
        writes=_total(metrics, r'mcp_operator_api_requests_total{code="[^"]*",method="(?!GET")[A-Z]+"}'),
        probes=_total(metrics, rf'mcp_operator_probes_total{{kind="{meta.SERVER.kind}",outcome="[^"]*"}}'),
        waiting=_total(metrics, "workqueue_depth") + _total(metrics, "controller_active_workers"),
    )


def _total(metrics: str, series: str) -> int:
    return int(sum(float(value) for value in re.findall(rf"^{series} (\S+)$", metrics, re.MULTILINE)))


class Operator:
    """The operator's process, and the most memory that it was seen to have."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._ps = psutil.Process(process.pids()[0])
        self._metrics = f"http://127.0.0.1:{port}/metrics"
        self.peak = 0

    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        times = self._ps.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        found = int(self._ps.memory_info().rss)
        self.peak = max(self.peak, found)
        return found

    async def sample(self) -> None:
        while True:
            self.rss()
            await asyncio.sleep(0.5)

    async def counters(self) -> Counters:
        """Raises NotReady where it does not answer."""
        status, body = await asyncio.to_thread(get, self._metrics, seconds=30.0)
        if status != 200:
            raise NotReady(f"the operator's /metrics answers {status}: {self.process.tail()}")
        return counters(body.decode())


@contextlib.contextmanager
def operator(server: ControlPlane, world: World, folder: Path, profile: Path | None) -> Iterator[Operator]:
    """`mcp-operator run` against the API server, with a hosts file in which the proxies' Services stand."""
    hosts = folder / "hosts"
    hosts.write_text(world.hosts())
    port = free_port()
    python = [sys.executable, *(["-m", "cProfile", "-o", str(profile)] if profile else []), "-m", "mcp_operator"]
    argv = [
        *python,
        "run",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--identity",
        "bench",
        "--log-level",
        "warning",
        "--egress-allow",
        "loopback",
    ]
    argv = [*_own_mounts(), "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts), *argv]
    environment = module_env(KUBECONFIG=str(server.kubeconfig))
    with running(argv, folder / "operator.log", environment) as process:
        process.wait_until(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200)
        yield Operator(process, port)


def _own_mounts() -> list[str]:
    """Run what follows where a mount is nobody else's."""
    if shutil.which("unshare") is None:
        raise NotReady(
            "the proxies' names need a hosts file of the operator's own, and there is no unshare (util-linux)"
        )
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
