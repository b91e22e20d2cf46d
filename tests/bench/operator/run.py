"""`make bench-operator`: worlds of 100, 500 and 2,000 McpServers on a real API server; figures in build/bench/operator.json.

python -m bench.operator.run [--sizes 100,500,2000] [--out build/bench]
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

import psutil

from bench.operator.figures import Figures, Plan
from bench.operator.measure import measure

SIZES: Final = (100, 500, 2000)
QUICK: Final = Plan(changes=15, idle_seconds=20.0)


def noise() -> str:
    """What else goes on here: figures of one machine at one moment."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load average {load}, {psutil.cpu_percent(0.5):.0f} % of the CPUs busy before"


def summary(curve: Sequence[Figures], notes: Sequence[str]) -> dict[str, Any]:
    """What `build/bench/operator.json` holds: the figures of the largest world by name, and those of all sizes."""
    largest = curve[-1]
    return {
        f"converge_{largest.servers}_s": largest.converge_s,
        "change_p95_s": largest.change_p95_s,
        "rss_mb": largest.rss_mb,
        "idle_cpu_percent": largest.idle_cpu_percent,
        "config_writes_max": largest.config_writes_max,
        "idle_writes": largest.idle_writes,
        "restart_writes": largest.restart_writes,
        "change_cpu_ratio": _ratio(curve[0].change_cpu_ms, largest.change_cpu_ms),
        "curve": [asdict(figures) for figures in curve],
        "notes": list(notes),
    }


def _ratio(small: float, large: float) -> float | None:
    """What a change costs in the largest world, in terms of the smallest: about 1 where unrelated resources cost nothing."""
    return round(large / small, 2) if small > 0 else None


def table(curve: Sequence[Figures]) -> str:
    """One line a figure, one column a size."""
    names = [field.name for field in fields(Figures)]
    rows = [[name, *(f"{getattr(figures, name):g}" for figures in curve)] for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(len(curve) + 1)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of McpServers, ascending")
    parser.add_argument("--quick", action="store_true", help="fewer changes, a shorter look at rest")
    parser.add_argument("--profile", type=Path, help="write a profile of the operator (cProfile) here: slower")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    base = QUICK if args.quick else Plan()
    plan = Plan(base.changes, base.idle_seconds, args.profile)
    notes = [noise()]
    print(notes[0], flush=True)
    began = time.perf_counter()
    sizes = sorted(int(text) for text in args.sizes.split(","))
    with tempfile.TemporaryDirectory(prefix="mcp-bench-", dir=_memory()) as temporary:
        plans = {
            size: plan if size == sizes[-1] else replace(plan, idle_seconds=plan.idle_seconds / 2) for size in sizes
        }
        curve = [measure(size, Path(temporary) / str(size), plans[size]) for size in sizes]
    notes.append(f"took {time.perf_counter() - began:.0f} s; load average after: {os.getloadavg()[0]:.1f}")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "operator.json").write_text(json.dumps(summary(curve, notes), indent=1) + "\n")
    print(f"\n{table(curve)}\n{notes[-1]}")


def _memory() -> str | None:
    """A folder in memory, where there is one: etcd waits for each write to its disk."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() and os.access(shm, os.W_OK) else None


if __name__ == "__main__":
    main()
