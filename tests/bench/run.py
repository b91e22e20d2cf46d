"""`make bench`: every target over the same backend and load generator in one run; rows, a table and a plot in build/bench.

python -m bench.run [--quick] [--out build/bench]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, get_args

import psutil

from bench import peers, scale
from bench.load import ALL_CALLS
from bench.procs import backend, module_env
from bench.render import findings, markdown, plot
from bench.stats import Row, Sample, failed, row
from bench.targets import FAST, FULL, STOCK_1, STOCK_2, Endpoint, Target, started
from bench.wire import TOOL, Era

ROUNDS: Final = 3
LOAD_SECONDS: Final = 150.0
DIRECT: Final = Target("direct", lambda *_: None, concurrencies=(1, 16, 64))  # type: ignore[arg-type,return-value]


def noise() -> str:
    """What else goes on here: figures of one machine at one moment."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load average {load}, {psutil.cpu_percent(0.5):.0f} % of the CPUs busy before"


def sample(endpoint: Endpoint, front: Era, concurrency: int, target: Target, counts: str, *, seconds: float) -> Sample:
    """One measurement by a load generator of its own."""
    argv = [sys.executable, "-m", "bench.load", endpoint.url, "--front", front, "-c", str(concurrency)]
    argv += ["--tool", endpoint.tool, "--calls", str(ALL_CALLS), "--seconds", str(seconds), "--counts", counts]
    argv += ["--warm-up", str(max(target.warm_up, 2 * concurrency))]
    for name, value in endpoint.headers.items():
        argv += ["--header", f"{name}: {value}"]
    for pid in endpoint.process.pids():
        argv += ["--pid", str(pid)]
    try:
        done = subprocess.run(
            argv, env=module_env(), capture_output=True, text=True, timeout=LOAD_SECONDS + seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return failed(f"no answer within {LOAD_SECONDS:g} s")
    if done.returncode:
        return failed(f"the load generator failed: {done.stderr[-300:]}")
    return Sample.from_json(done.stdout)


def compare(
    targets: Sequence[Target],
    front: Era,
    folder: Path,
    *,
    rounds: int,
    factor: float,
    server: str = "starlette",
    era: str | None = None,
) -> list[Row]:
    """Rows of `targets`, `DIRECT` for the backend itself, measured in turns so that all meet the same machine.

    The backend speaks the front's era alone unless `era` says otherwise.
    """
    label = f"{front}/streamable-http" + ("" if server == "starlette" else f" ({server})")
    rows = []
    with (
        backend(folder / "backend.log", era=era or front, server=server) as (base, process),
        started([t for t in targets if t is not DIRECT], base, front, folder) as endpoints,
    ):
        counts = f"{base}/counts"
        direct = Endpoint(f"{base}/mcp", process, TOOL)
        for concurrency in (1, 16, 64):
            samples: dict[str, list[Sample]] = {}
            for _ in range(rounds):
                for target in targets:
                    if concurrency not in target.concurrencies:
                        continue
                    known = samples.setdefault(target.name, [])
                    endpoint = direct if target is DIRECT else endpoints[target.name]
                    if any(s.calls == 0 for s in known):
                        continue  # it does not answer: asking again takes the others' time
                    if isinstance(endpoint, Exception):
                        known.append(failed(f"not started: {endpoint}"))
                    else:
                        known.append(
                            sample(endpoint, front, concurrency, target, counts, seconds=target.seconds * factor)
                        )
            for name, known in samples.items():
                found = row(known, target=name, front=front, backend=label, concurrency=concurrency)
                rows.append(found)
                _say(found)
    return rows


def barer(folder: Path, *, rounds: int, factor: float) -> dict[str, str]:
    """The fast lane over servers that do still less than a Python MCP server can: what is left is the proxy's own cost."""
    found = {}
    for server in ("uvicorn", "raw"):
        rows = compare([DIRECT, FAST], "modern", folder, rounds=rounds, factor=factor, server=server)
        rps = {(r.target, r.concurrency): r.rps or 0.0 for r in rows}
        found[server] = ", ".join(
            f"c={c}: {rps[FAST.name, c] / rps[DIRECT.name, c]:.2f} of {rps[DIRECT.name, c]:,.0f}/s" for c in (1, 16, 64)
        )
    return found


def _say(found: Row) -> None:
    rps, p50 = found.rps or 0.0, found.p50_ms or 0.0
    text = f"{found.target:28} {found.front:6} c={found.concurrency:<3} {rps:10,.1f}/s  p50 {p50:8.3f} ms"
    print(text + (f"  errors {found.errors}: {(found.reason or '')[:160]}" if found.errors else ""), flush=True)


def write(rows: Sequence[Row], extra: dict[str, object], noises: Sequence[str], *, rounds: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "proxy.json").write_text(json.dumps([asdict(found) for found in rows], indent=1) + "\n")
    (out / "proxy-extra.json").write_text(json.dumps({"noise": list(noises), **extra}, indent=1) + "\n")
    text = f"# Benchmark of the proxy\n\n{'; '.join(noises)}\n\n{markdown(rows, STOCK_2.name)}\n"
    text += "".join(f"## {name}\n\n{findings(value)}\n" for name, value in extra.items() if isinstance(value, dict))
    (out / "proxy.md").write_text(text)
    title = f"One process each, the same backend and load generator; medians of {rounds}"
    plot(rows, title, "; ".join(noises), [out / "proxy.png", out / "proxy.svg"])
    print("\n" + text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without peers, one round, half the time")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--only", help="targets whose names contain this (and direct)")
    parser.add_argument("--skip-scale", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    rounds, factor = (1, 0.5) if args.quick else (ROUNDS, 1.0)
    began, noises = time.perf_counter(), [noise()]
    print(noises[0], flush=True)
    rows: list[Row] = []
    own = [t for t in (FAST, FULL, STOCK_1, STOCK_2) if not args.only or args.only in t.name]
    others = [] if args.quick else [t for t in peers.PEERS if not args.only or args.only in t.name]
    with tempfile.TemporaryDirectory(prefix="mcp-bench-") as temporary:
        folder = Path(temporary)
        for front in get_args(Era):
            rows += compare([DIRECT, *own], front, folder, rounds=rounds, factor=factor)
            for peer in others:
                rows += compare([peer], front, folder, rounds=rounds, factor=factor, era="both")
        extra: dict[str, object] = {}
        if any(t is FAST for t in own):
            extra["share of direct over barer backends"] = barer(folder, rounds=rounds, factor=factor)
        if not args.skip_scale:
            extra |= scale.measure_all(folder, quick=args.quick)
    noises.append(f"after: load average {os.getloadavg()[0]:.1f}")
    extra["took"] = {"seconds": round(time.perf_counter() - began, 1), "rounds": rounds}
    write(rows, extra, noises, rounds=rounds, out=args.out)


if __name__ == "__main__":
    main()
