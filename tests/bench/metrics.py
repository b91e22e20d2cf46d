"""`make bench-metrics`: what the fast lane's counting costs, as a ratio of CPU time per call with it and without it.

One proxy, one backend, the same connections: the counting is switched off and on (`bench.uncounted`) between short rounds, in
an order that changes from pair to pair, so that each pair meets the same machine. CPU time is that of the proxy's event loop,
in nanoseconds, from the kernel's scheduler.

    python -m bench.metrics [--pairs 40] [--seconds 0.5] [--out build/bench/metrics.json]
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import timeit
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.load import Client, measure, opened
from bench.procs import Process, backend, get
from bench.stats import percentile
from bench.targets import KEY, config, proxy, write_config
from bench.wire import TOOL, Era

CONCURRENCY: Final = 16
READINGS: Final = 3
"""Of the clock, in each call, for the metrics alone."""


@dataclass(frozen=True)
class Cost:
    """Ratios of CPU time per call, with the counting to without it, over pairs of rounds; microseconds per call."""

    front: Era
    pairs: int
    ratio: float
    """The median."""
    low: float
    """The first quartile."""
    high: float
    """The third one."""
    with_us: float
    without_us: float

    def __str__(self) -> str:
        spread = f"middle half {self.low:.3f} to {self.high:.3f}, {self.pairs} pairs"
        return (
            f"{self.front:6} {self.ratio:.3f} ({spread}): {self.with_us:.1f} µs a call, {self.without_us:.1f} without"
        )


def cost(front: Era, pairs: Sequence[tuple[float, float]]) -> Cost:
    """`pairs` are seconds of CPU per call: with the counting, without it."""
    ratios = [counted / plain for counted, plain in pairs]
    return Cost(
        front,
        len(pairs),
        ratio=statistics.median(ratios),
        low=percentile(ratios, 0.25),
        high=percentile(ratios, 0.75),
        with_us=statistics.median(counted for counted, _ in pairs) * 1e6,
        without_us=statistics.median(plain for _, plain in pairs) * 1e6,
    )


def cpu(pid: int) -> float:
    """Seconds that the process's first thread has run (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def requests(base: str) -> float:
    """What the proxy has counted."""
    lines = get(f"{base}/metrics")[1].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("mcp_tool_executions_total"))


async def round_of(clients: Sequence[Client], process: Process, seconds: float) -> tuple[float, int]:
    """Seconds of CPU per call, and the calls. Raises RuntimeError."""
    (pid, *_), calls = process.pids(), 10**9
    began = cpu(pid)
    found = await measure(clients, calls=calls, seconds=seconds)
    if found.errors:
        raise RuntimeError(f"{found.errors} calls failed: {found.problems}")
    return (cpu(pid) - began) / found.calls, found.calls


async def switched(process: Process, base: str, clients: Sequence[Client], *, counting: bool, seconds: float) -> float:
    """CPU seconds per call of a round. Raises RuntimeError where the proxy did not do as it was told."""
    os.kill(process.pids()[0], signal.SIGUSR2 if counting else signal.SIGUSR1)
    await measure(clients, calls=50, seconds=seconds)  # by the end of these it has heard the signal
    before = requests(base)
    spent, calls = await round_of(clients, process, seconds)
    counted = requests(base) - before
    if counted != (calls if counting else 0):
        raise RuntimeError(f"counting is {'on' if counting else 'off'}: {counted:g} of {calls} calls were counted")
    return spent


async def paired(front: Era, folder: Path, pairs: int, seconds: float) -> Cost:
    with backend(folder / f"backend-{front}.log", era=front) as (url, _):
        write_config(folder / front / "config", config({"a": f"{url}/a/mcp"}))
        with proxy(folder / front / "config", name=front, module="bench.uncounted") as (base, process):
            headers = {"authorization": f"Bearer {KEY}"}
            clients = await opened(
                f"{base}/mcp", front, CONCURRENCY, headers=headers, method="tools/call", tool=f"a_{TOOL}"
            )
            await measure(clients, calls=2000, seconds=10)
            found = []
            for number in range(pairs):
                order = (True, False) if number % 2 else (False, True)
                spent = {
                    counting: await switched(process, base, clients, counting=counting, seconds=seconds)
                    for counting in order
                }
                found.append((spent[True], spent[False]))
            for client in clients:
                await client.close()
    return cost(front, found)


def clock_us() -> float:
    """Microseconds of the readings of the clock that a call has for its metrics."""
    number = 200_000
    return READINGS * min(timeit.repeat("time.perf_counter()", "import time", number=number, repeat=5)) / number * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one round")
    parser.add_argument("--out", type=Path, default=Path("build/bench/metrics.json"))
    args = parser.parse_args()
    found: list[Cost] = []
    fronts: tuple[Era, ...] = ("legacy", "modern")
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for front in fronts:
            found.append(runner.run(paired(front, Path(folder), args.pairs, args.seconds)))
            print(found[-1], flush=True)
    clock = clock_us()
    print(f"in both: {READINGS} readings of the clock a call, {clock:.2f} µs")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"clock_us": clock, "costs": [asdict(each) for each in found]}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
