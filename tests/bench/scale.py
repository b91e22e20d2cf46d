"""What is no comparison: lists of 1,000 tools, workers, memory over 100,000 calls, start-up, swaps of 1,000 servers."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.load import ALL_CALLS, measure, opened
from bench.procs import NotReady, Process, backend, counts, get, module_env
from bench.stats import Sample
from bench.targets import KEY, config, proxy, write_config
from bench.wire import TOOL

HEADERS: Final = {"authorization": f"Bearer {KEY}"}
SERVERS: Final = 1000
TOOLS_EACH: Final = 10
SETTLE_SECONDS: Final = 90.0


def load(
    url: str, *more: str, front: str = "legacy", concurrency: int = 16, seconds: float = 3.0
) -> "subprocess.Popen[str]":
    """A load generator that has been started; `outcome` waits for it."""
    argv = [sys.executable, "-m", "bench.load", url, "--front", front, "-c", str(concurrency)]
    argv += ["--calls", str(ALL_CALLS), "--seconds", str(seconds), "--header", f"authorization: Bearer {KEY}", *more]
    return subprocess.Popen(argv, env=module_env(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def outcome(running: "subprocess.Popen[str]") -> Sample:
    return Sample.from_json(running.communicate(timeout=300)[0])


def _found(sample: Sample) -> dict[str, Any]:
    return {
        "rps": round(sample.rps, 1),
        "p50_ms": round(sample.p50 * 1000, 3),
        "p99_ms": round(sample.p99 * 1000, 3),
        "cpu_ms_per_call": round(sample.cpu_ms_per_call, 4),
        "backend_requests": sample.backend_requests,
        "errors": sample.errors,
        **({"reason": sample.problems[0]} if sample.problems else {}),
    }


def tools_list(folder: Path, seconds: float) -> dict[str, Any]:
    """`tools/list` of 1,000 tools, at c=16, in both eras."""
    found: dict[str, Any] = {}
    with backend(folder / "backend.log", era="both", tools=SERVERS) as (base, _):
        write_config(folder / "config", config({"a": f"{base}/a/mcp"}))
        with proxy(folder / "config", name="list") as (url, process):
            for front in ("legacy", "modern"):
                more = ["--method", "tools/list", "--counts", f"{base}/counts"]
                more += [part for pid in process.pids() for part in ("--pid", str(pid))]
                found[front] = _found(outcome(load(f"{url}/mcp", *more, front=front, seconds=seconds)))
    return found


def workers(folder: Path, seconds: float) -> dict[str, Any]:
    """Calls at c=32 with one worker and with two; an error would be a session that a worker does not know."""
    found: dict[str, Any] = {}
    with backend(folder / "backend.log", era="both", server="raw") as (base, _):
        write_config(folder / "config", config({"a": f"{base}/a/mcp"}))
        for count in (1, 2):
            with proxy(folder / "config", "--workers", str(count), name=f"workers-{count}") as (url, process):
                more = ["--tool", f"a_{TOOL}", *(part for pid in process.pids() for part in ("--pid", str(pid)))]
                found[str(count)] = _found(outcome(load(f"{url}/mcp", *more, concurrency=32, seconds=seconds)))
    return found


def startup(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds from the start of the process to a `/readyz` that says yes, with two servers in the configuration."""
    took = []
    with backend(folder / "backend.log", era="both") as (base, _):
        write_config(folder / "config", config({"a": f"{base}/a/mcp", "b": f"{base}/b/mcp"}))
        for number in range(rounds):
            with proxy(folder / "config", name=f"start-{number}") as (_, process):
                took.append(process.ready_after)
    return {"seconds": round(statistics.median(took), 3), "each": [round(seconds, 3) for seconds in took]}


async def _memory(url: str, process: Process, sessions: int, calls: int) -> dict[str, Any]:
    mib = 1024 * 1024
    start = process.rss()
    clients = await opened(url, "legacy", sessions, headers=HEADERS, method="tools/call", tool=f"a_{TOOL}")
    firsts = []
    for first in range(0, sessions, 16):  # the first call of each opens its session with the server
        some = clients[first : first + 16]
        firsts.append(await measure(some, calls=2 * len(some), seconds=60))
    after_open = process.rss()
    # A thousand calls at once have a high-water mark of their own, which the first ones reach.
    warming = [(await measure(clients, calls=calls // 4, seconds=40), process.rss()) for _ in range(4)]
    points = [(await measure(clients, calls=calls // 4, seconds=40), process.rss()) for _ in range(4)]
    for client in clients:
        await client.close()
    closed = process.rss()
    return {
        "sessions": sessions,
        "calls": sum(sample.calls for sample in (*firsts, *(s for s, _ in (*warming, *points)))),
        "errors": sum(sample.errors for sample in (*firsts, *(s for s, _ in (*warming, *points)))),
        "reasons": [problem for sample, _ in (*warming, *points) for problem in sample.problems[:1]],
        "rss_start_mib": round(start / mib, 1),
        "rss_sessions_open_mib": round(after_open / mib, 1),
        "rss_per_session_kib": round((after_open - start) / 1024 / sessions, 1),
        "rss_warming_mib": [round(rss / mib, 1) for _, rss in warming],
        "rss_during_calls_mib": [round(rss / mib, 1) for _, rss in points],
        "rss_growth_over_calls_mib": round((points[-1][1] - points[0][1]) / mib, 1),
        "rss_after_close_mib": round(closed / mib, 1),
    }


def memory(folder: Path, sessions: int, calls: int) -> dict[str, Any]:
    """RSS with so many sessions open (each has a session of its own with the legacy server), and over so many calls."""
    with backend(folder / "backend.log", era="legacy") as (base, _):
        content = config({"a": f"{base}/a/mcp"})
        content["servers"][0]["maxConcurrency"] = sessions  # by default 256, and the others wait
        write_config(folder / "config", content)
        with (
            proxy(folder / "config", name="memory") as (url, process),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_memory(f"{url}/mcp", process, sessions, calls))


def _exposed(url: str) -> int:
    routes = json.loads(get(f"{url}/status", seconds=30)[1])["routes"]
    return sum(len(route["tools"]) for route in routes)


def _until(holds: Callable[[], bool]) -> None:
    began = time.perf_counter()
    while not holds():
        if time.perf_counter() - began > SETTLE_SECONDS:
            raise NotReady(f"not settled within {SETTLE_SECONDS:g} s")
        time.sleep(0.25)


def _swap(url: str, folder: Path, content: Mapping[str, Any], tools: int, seconds: float) -> dict[str, Any]:
    """Put a configuration in while clients call a tool that it leaves alone."""
    calling = load(f"{url}/mcp", "--tool", f"keep_{TOOL}", concurrency=4, seconds=seconds)
    time.sleep(1.0)  # the clients open their sessions and warm up
    began = time.perf_counter()
    write_config(folder, content)
    status = json.loads(get(f"{url}/status?wait={content['revision']}&timeout=30", seconds=60)[1])
    seen = time.perf_counter() - began
    _until(lambda: _exposed(url) == tools)
    settled = time.perf_counter() - began
    sample = outcome(calling)
    return {
        "swap_seconds": round(status["swapSeconds"], 3),
        "confirmed_after_seconds": round(seen, 3),
        "all_tools_shown_after_seconds": round(settled, 2),
        "longest_call_ms": round(sample.longest * 1000, 1),
        "p99_ms": round(sample.p99 * 1000, 2),
        "calls": sample.calls,
        "errors": sample.errors,
    }


def swaps(folder: Path, servers: int, seconds: float) -> dict[str, Any]:
    """Add `servers` servers of ten tools each, show them all otherwise, and take them away."""
    found: dict[str, Any] = {}
    with backend(folder / "backend.log", era="both", tools=TOOLS_EACH, server="raw") as (base, _):
        keep = {"keep": f"{base}/keep/mcp"}
        many = {**keep, **{f"s{number:04}": f"{base}/s{number:04}/mcp" for number in range(servers)}}
        settings = folder / "config"
        write_config(settings, {**config(keep), "revision": "first"})
        with proxy(settings, name="swaps") as (url, process):
            calling = load(f"{url}/mcp", "--tool", f"keep_{TOOL}", concurrency=4, seconds=seconds)
            quiet = outcome(calling)
            found["no swap"] = {"longest_call_ms": round(quiet.longest * 1000, 1), "p99_ms": round(quiet.p99 * 1000, 2)}
            total = TOOLS_EACH * (servers + 1)
            counts(base, reset=True)
            found["new servers"] = _swap(url, settings, {**config(many), "revision": "many"}, total, 3 * seconds)
            found["new servers"]["backend_requests_but_calls"] = sum(
                v for k, v in counts(base).items() if k != "tools/call"
            )
            other = {**config(many), "revision": "other"}
            for entry in other["routes"][0]["servers"][1:]:
                entry["tools"] = {"exclude": [TOOL]}
            found["every tool shown otherwise"] = _swap(url, settings, other, total - servers, seconds)
            found["rss_mib"] = round(process.rss() / 1024 / 1024, 1)
            last = {**config(keep), "revision": "last"}
            found["servers taken away"] = _swap(url, settings, last, TOOLS_EACH, 2 * seconds)
    return found


def measure_all(folder: Path, *, quick: bool) -> dict[str, object]:
    """All of it by name; what failed has its reason."""
    seconds = 1.5 if quick else 3.0
    servers = SERVERS // 10 if quick else SERVERS
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "start-up": lambda where: startup(where, 1 if quick else 3),
        "tools/list of 1,000 tools, c=16": lambda where: tools_list(where, seconds),
        "workers, c=32": lambda where: workers(where, seconds),
        "memory": lambda where: memory(where, 100 if quick else 1000, 10_000 if quick else 100_000),
        f"swaps of {servers:,} servers and {servers * TOOLS_EACH:,} tools": lambda where: swaps(where, servers, 5.0),
    }
    found: dict[str, object] = {}
    for number, (name, part) in enumerate(parts.items()):
        try:
            found[name] = part(folder / f"scale-{number}")
        except (NotReady, OSError, ValueError, subprocess.SubprocessError) as error:
            found[name] = {"error": str(error)[-400:]}
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found
