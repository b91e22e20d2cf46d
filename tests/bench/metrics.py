"""`make bench-metrics`: what the metrics cost the fast lane, as a ratio to the same lane without what only they need (`bench.cut`).

First by counted instructions (`bench.instructions`), which come out the same each time, whatever else the machine does. Then by
CPU time, the kernel's too: a proxy with metrics and one without, one backend, short rounds in turns, in an order that changes
from pair to pair. CPU time is that of the event loop's thread, in nanoseconds, from the kernel's scheduler.

    python -m bench.metrics [--processes 2] [--pairs 40] [--seconds 0.5] [--out build/bench/metrics.json]
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.callgrind import Missing
from bench.instructions import measured
from bench.load import Client, measure, opened
from bench.procs import NotReady, Process, backend
from bench.stats import percentile
from bench.targets import KEY, config, proxy, write_config
from bench.wire import TOOL, Era

CONCURRENCY: Final = 16


@dataclass(frozen=True)
class Cost:
    """Ratios of CPU time per call, with the metrics to without them, over pairs of rounds; microseconds per call."""

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
    """`pairs` are seconds of CPU per call: with the metrics, without them."""
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


async def round_of(clients: Sequence[Client], process: Process, seconds: float) -> float:
    """Seconds of CPU per call. Raises RuntimeError."""
    pid = process.pids()[0]
    await measure(clients, calls=CONCURRENCY, seconds=10)
    began = cpu(pid)
    found = await measure(clients, calls=10**9, seconds=seconds)
    if found.errors:
        raise RuntimeError(f"{found.errors} calls failed: {found.problems}")
    return (cpu(pid) - began) / found.calls


@contextmanager
def proxies(folder: Path, url: str, front: Era) -> Iterator[Sequence[tuple[str, Process]]]:
    """One with metrics, one without: their base URLs and processes."""
    with ExitStack() as stack:
        found = []
        for cut in ("nothing", "metrics"):
            settings = folder / front / cut / "config"
            write_config(settings, config({"a": f"{url}/a/mcp"}))
            found.append(stack.enter_context(proxy(settings, name=cut, program=["bench.cut", cut])))
        yield found


async def paired(front: Era, folder: Path, pairs: int, seconds: float) -> Cost:
    headers = {"authorization": f"Bearer {KEY}"}
    with (
        backend(folder / f"backend-{front}.log", era=front) as (url, _),
        proxies(folder, url, front) as both,
    ):
        clients = []
        for base, _ in both:
            made = await opened(
                f"{base}/mcp", front, CONCURRENCY, headers=headers, method="tools/call", tool=f"a_{TOOL}"
            )
            await measure(made, calls=2000, seconds=10)
            clients.append(made)
        found = []
        for number in range(pairs):
            order = (0, 1) if number % 2 else (1, 0)
            spent = {which: await round_of(clients[which], both[which][1], seconds) for which in order}
            found.append((spent[0], spent[1]))
        for client in (*clients[0], *clients[1]):
            await client.close()
    return cost(front, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="of each variant whose instructions are counted")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one round")
    parser.add_argument("--out", type=Path, default=Path("build/bench/metrics.json"))
    args = parser.parse_args()
    try:
        counted = measured(["metrics"], processes=args.processes)
    except (Missing, NotReady, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found: list[Cost] = []
    fronts: tuple[Era, ...] = ("legacy", "modern")
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for front in fronts:
            found.append(runner.run(paired(front, Path(folder), args.pairs, args.seconds)))
            print(f"CPU time: {found[-1]}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    told = {"instructions": [asdict(each) for each in counted], "cpu": [asdict(each) for each in found]}
    args.out.write_text(json.dumps(told, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
