"""`make bench-traces`: what traces cost in the fast lane.

First what they cost where they are off, by counted instructions, as a ratio to a lane without them (`bench.instructions`). Then
what they cost where they are on, as ratios of CPU time per call to that without tracing. One proxy, one backend, one collector,
the same connections: the configuration is swapped between short rounds, off, on with no call sampled, and on with every call
sampled, in an order that changes from one to the next, so that each meets the same machine. CPU time is that of all threads of
the proxy, the exporter's too, in nanoseconds, from the kernel's scheduler.

    python -m bench.traces [--processes 2] [--rounds 10] [--seconds 0.5] [--out build/bench/traces.json]
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop

from bench import instructions
from bench.callgrind import Missing
from bench.load import Client, measure, opened
from bench.procs import NotReady, Process, backend, free_port, get, module_env, running
from bench.stats import percentile
from bench.targets import KEY, config, proxy, write_config
from bench.wire import TOOL, Era

CONCURRENCY: Final = 16
MODES: Final[Mapping[str, float | None]] = {"off": None, "unsampled": 0.0, "sampled": 1.0}
"""The ratio of sampled calls; None: without tracing."""
SETTLE_SECONDS: Final = 1.5
"""After a round, in each mode, for the exporter to have sent what waits: a second at most."""
_SPANS: Final = "mcp_proxy_spans_total{"


@dataclass(frozen=True)
class Cost:
    """Of one mode: ratios of CPU time per call to that of `off` in the same round, and microseconds."""

    front: Era
    mode: str
    rounds: int
    ratio: float
    """The median."""
    low: float
    """The first quartile."""
    high: float
    """The third one."""
    us: float
    off_us: float

    def __str__(self) -> str:
        spread = f"middle half {self.low:.3f} to {self.high:.3f}, {self.rounds} rounds"
        return (
            f"{self.front:6} {self.mode:9} {self.ratio:.3f} ({spread}): {self.us:.1f} µs a call, {self.off_us:.1f} off"
        )


def costs(front: Era, rounds: Sequence[Mapping[str, float]]) -> list[Cost]:
    """`rounds` are seconds of CPU per call by mode."""
    found = []
    for mode in MODES:
        if mode == "off":
            continue
        ratios = [spent[mode] / spent["off"] for spent in rounds]
        found.append(
            Cost(
                front,
                mode,
                len(rounds),
                ratio=statistics.median(ratios),
                low=percentile(ratios, 0.25),
                high=percentile(ratios, 0.75),
                us=statistics.median(spent[mode] for spent in rounds) * 1e6,
                off_us=statistics.median(spent["off"] for spent in rounds) * 1e6,
            )
        )
    return found


def cpu(pid: int) -> float:
    """Seconds that the process's threads have run (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def spans(base: str) -> dict[str, float]:
    """What has become of the proxy's spans."""
    lines = get(f"{base}/metrics")[1].decode().splitlines()
    series = (line.rpartition(" ") for line in lines if line.startswith(_SPANS))
    return {name.split('"')[1]: float(value) for name, _, value in series}


@contextmanager
def collector(log: Path) -> Iterator[str]:
    """One that takes everything and looks at nothing, as a process of its own."""
    port = free_port()
    with running([sys.executable, "-m", "bench.traces", "--collect", str(port)], log, module_env()) as process:
        base = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: get(base)[0] == 200)
        yield base


def collect(port: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    uvicorn.run(app, port=port, log_level="warning", lifespan="off")


class Bench:
    """Rounds on one proxy, which follows the configurations in `folder`."""

    def __init__(self, base: str, process: Process, folder: Path, servers: Mapping[str, str], to: str) -> None:
        self._base = base
        self._pid = process.pids()[0]
        self._folder = folder
        self._servers = servers
        self._to = to
        self._revisions = count(1)

    async def swapped(self, ratio: float | None) -> None:
        """Raises RuntimeError where the proxy does not take it."""
        revision = f"r{next(self._revisions)}"
        tracing = {} if ratio is None else {"tracing": {"endpoint": self._to, "sampleRatio": ratio}}
        write_config(self._folder, config(self._servers, **{**tracing, "revision": revision}))
        url = f"{self._base}/status?wait={revision}&timeout=20"
        status, body = await asyncio.to_thread(get, url, None, 30.0)
        if status != 200 or json.loads(body)["revision"] != revision:
            raise RuntimeError(f"the configuration was not taken: {body[:400]!r}")

    async def round(self, clients: Sequence[Client], mode: str, seconds: float) -> float:
        """Seconds of CPU per call. Raises RuntimeError where a call failed, or was traced otherwise than it should be."""
        await self.swapped(MODES[mode])
        await measure(clients, calls=CONCURRENCY, seconds=10)
        before, began = spans(self._base), cpu(self._pid)
        found = await measure(clients, calls=10**9, seconds=seconds)
        await asyncio.sleep(SETTLE_SECONDS)
        spent, after = cpu(self._pid) - began, spans(self._base)
        if found.errors:
            raise RuntimeError(f"{found.errors} calls failed: {found.problems}")
        told = sum(after.values()) - sum(before.values())
        if (told > 0) != (mode == "sampled"):
            raise RuntimeError(f"{mode}: {told:g} spans of {found.calls} calls")
        return spent / found.calls


async def measured(front: Era, folder: Path, rounds: int, seconds: float) -> list[Cost]:
    settings = folder / front / "config"
    with backend(folder / f"backend-{front}.log", era=front) as (url, _), collector(folder / "collector.log") as to:
        servers = {"a": f"{url}/a/mcp"}
        write_config(settings, config(servers))
        with proxy(settings, name=front) as (base, process):
            bench = Bench(base, process, settings, servers, to)
            headers = {"authorization": f"Bearer {KEY}"}
            clients = await opened(
                f"{base}/mcp", front, CONCURRENCY, headers=headers, method="tools/call", tool=f"a_{TOOL}"
            )
            await measure(clients, calls=2000, seconds=10)
            found = []
            for number in range(rounds):
                order = list(MODES)[number % 3 :] + list(MODES)[: number % 3]
                found.append({mode: await bench.round(clients, mode, seconds) for mode in order})
            for client in clients:
                await client.close()
            lost = {outcome: value for outcome, value in spans(base).items() if outcome != "exported" and value}
            print(f"{front:6} spans that were not exported: {lost or 'none'}", flush=True)
    return costs(front, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="of each variant whose instructions are counted")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one round")
    parser.add_argument("--out", type=Path, default=Path("build/bench/traces.json"))
    parser.add_argument("--collect", type=int, help="be the collector, on this port")
    args = parser.parse_args()
    if args.collect is not None:
        collect(args.collect)
        return 0
    try:
        off = instructions.measured(["traces"], processes=args.processes)
    except (Missing, NotReady, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found: list[Cost] = []
    fronts: tuple[Era, ...] = ("legacy", "modern")
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for front in fronts:
            for cost in runner.run(measured(front, Path(folder), args.rounds, args.seconds)):
                found.append(cost)
                print(cost, flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    told = {"off": [asdict(cost) for cost in off], "on": [asdict(cost) for cost in found]}
    args.out.write_text(json.dumps(told, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
