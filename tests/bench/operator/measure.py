"""One size of the world, from nothing: how long it takes to be right, what one change costs then, and what rest costs."""

import asyncio
import contextlib
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from bench.operator.api import Api, eventually
from bench.operator.apiserver import api_server
from bench.operator.figures import Figures, Plan
from bench.operator.observer import Observer
from bench.operator.process import Counters, Operator, operator
from bench.operator.world import NAMESPACE, PORT, SLOWER, TOOLS, World, address
from bench.procs import Process, backend, module_env, running
from bench.stats import percentile
from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import definition
from support.controlplane import ControlPlane

APPLIERS: Final = 16
"""Requests under way while the world is applied."""
CONVERGE_SECONDS: Final = 600.0
REST_SECONDS: Final = 240.0
"""So long is waited for quiet: on a machine that is busy with other things probes fail now and then, and there is none."""
QUIET_SECONDS: Final = 10.0
"""Without any write, and with hardly any probe: the first few of a server that is new come soon one after the other."""
QUIET_PROBES: Final = 0.005
"""Probes of a server in a second of quiet, at most. At rest it is one in ten minutes where a proxy looks too."""
MIB: Final = 2**20


def measure(world_size: int, folder: Path, plan: Plan) -> Figures:
    """Start all that is needed, measure, and end it."""
    folder.mkdir(parents=True)
    with backend(folder / "backend.log", era="both", server="raw", tools=TOOLS) as (base, _), api_server(folder) as api:
        world = World(world_size, base)
        argv = [sys.executable, "-m", "bench.operator.node", "--url", api.url, "--pki", str(api.pki)]
        with running([*argv, "--data", str(folder / "pods")], folder / "node.log", module_env()) as node:
            node.wait_until(lambda: "serving" in node.tail())
            return asyncio.run(_measure(world, api, node, folder, plan))


async def _measure(world: World, server: ControlPlane, pods: Process, folder: Path, plan: Plan) -> Figures:
    async with Api(server.url, server.client_tls(admin=True)) as api:
        await _prepare(api)
        observer = Observer(world)
        with operator(server, world, folder, plan.profile) as first:
            async with _beside(observer.run(api), first.sample()):
                run = Run(world, api, observer, first, plan)
                converged = await _converge(run, server, pods)
                rest = await _rest(run)
                changes = await _changes_and_cost(run, rest["idle_cpu_percent"])
                memory = {"rss_mb": round(first.peak / MIB, 1)}
        again = await _restart(world, server, folder)
    sizes = {"servers": world.servers, "proxies": world.proxies}
    return Figures(**sizes, **converged, **rest, **changes, **memory, **again)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def _beside(*work: "asyncio.Future[None] | object") -> AsyncIterator[None]:
    """Run `work` beside the block, which ends with it where that fails."""
    tasks = [asyncio.ensure_future(one) for one in work]  # type: ignore[arg-type]
    block = asyncio.current_task()
    assert block is not None
    for task in tasks:
        task.add_done_callback(lambda task: None if task.cancelled() else block.cancel())
    try:
        yield
    except asyncio.CancelledError:
        for task in tasks:
            if task.done():
                task.result()
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _prepare(api: Api) -> None:
    """The definitions, and the namespace."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for kind in meta.KINDS:
        await api.apply(f"{crds}/{kind.crd_name}", definition(kind))
    await api.apply(
        f"/api/v1/namespaces/{NAMESPACE}",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    )
    for kind in meta.KINDS:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(Exception):
                    await api.send("GET", kind.path(NAMESPACE))
                    break
                await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Run:
    """One operator in one world."""

    world: World
    api: Api
    observer: Observer
    operator: Operator
    plan: Plan


async def _converge(run: Run, server: ControlPlane, pods: Process) -> dict[str, float]:
    """Apply the world, and wait until all of it is right."""
    world, observer, operator = run.world, run.observer, run.operator
    of_others = _cpu(server.pids), _cpu(pods.pids())
    cpu, began = operator.cpu(), time.perf_counter()
    applied = await _apply(world, run.api)
    await eventually(
        lambda: observer.all_right, CONVERGE_SECONDS, lambda: f"{observer.wrong()} {operator.process.tail()}"
    )
    converged, spent = time.perf_counter() - began, operator.cpu() - cpu
    configs, statuses = observer.counts("ConfigMap"), observer.counts(meta.SERVER.kind)
    _say(
        world, f"right after {converged:.1f} s, {spent:.1f} s of CPU; a ConfigMap written {max(configs)} times at most"
    )
    return {
        "apply_s": round(applied, 1),
        "converge_s": round(converged, 1),
        "converge_cpu_s": round(spent, 1),
        "converge_api_cpu_s": round(_cpu(server.pids) - of_others[0], 1),
        "converge_pods_cpu_s": round(_cpu(pods.pids()) - of_others[1], 1),
        "config_writes_max": max(configs),
        "config_writes_mean": round(statistics.mean(configs), 1),
        "status_writes_per_server": round(sum(statuses) / world.servers, 2),
    }


def _cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU time of these processes so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(float(each.user + each.system) for each in times)


async def _rest(run: Run) -> dict[str, float]:
    """Wait until nothing happens any more, and see what that costs."""
    operator, seconds = run.operator, run.plan.idle_seconds
    if not await _becomes(lambda before, now: _is_quiet(run.world, before, now), operator):
        _say(run.world, f"does not come to rest within {REST_SECONDS:g} s")
    before, cpu, began = await operator.counters(), operator.cpu(), time.perf_counter()
    psutil.cpu_percent()
    await asyncio.sleep(seconds)
    idle, busy = 100 * (operator.cpu() - cpu) / (time.perf_counter() - began), psutil.cpu_percent()
    writes, rss = (await operator.counters()).writes - before.writes, operator.rss()
    _say(
        run.world, f"at rest {idle:.2f} % CPU (the machine is {busy:.0f} % busy), {writes} writes, {rss / MIB:.0f} MiB"
    )
    return {
        "idle_cpu_percent": round(idle, 2),
        "idle_writes": writes,
        "idle_busy_percent": round(busy),
        "rss_idle_mb": round(rss / MIB, 1),
    }


def _is_quiet(world: World, before: Counters, now: Counters) -> bool:
    probes = now.probes - before.probes
    return not now.waiting and now.writes == before.writes and probes <= QUIET_PROBES * QUIET_SECONDS * world.servers


async def _becomes(holds: Callable[[Counters, Counters], bool], operator: Operator) -> bool:
    """Look every `QUIET_SECONDS` until the counters of two looks satisfy `holds`, for `REST_SECONDS`; whether they did."""
    before, deadline = await operator.counters(), time.perf_counter() + REST_SECONDS
    while time.perf_counter() < deadline:
        await asyncio.sleep(QUIET_SECONDS)
        now = await operator.counters()
        if holds(before, now):
            return True
        before = now
    return False


async def _changes_and_cost(run: Run, idle: float) -> dict[str, float]:
    """Edit servers one after the other. `idle`: percent of CPU at rest, which is no cost of a change."""
    operator = run.operator
    cpu, began = operator.cpu(), time.perf_counter()
    changes = await _changes(run.world, run.api, run.observer, run.plan.changes)
    spent = operator.cpu() - cpu - idle / 100 * (time.perf_counter() - began)
    served, told = [one for one, _ in changes], [other for _, other in changes]
    _say(run.world, f"a change is served after {percentile(served, 0.95):.2f} s (p95), {len(changes)} of them")
    return {
        "change_p50_s": round(percentile(served, 0.5), 3),
        "change_p95_s": round(percentile(served, 0.95), 3),
        "change_max_s": round(max(served), 3),
        "change_cpu_ms": round(1000 * spent / len(changes), 1),
        "status_p95_s": round(percentile(told, 0.95), 3),
    }


async def _restart(world: World, server: ControlPlane, folder: Path) -> dict[str, float]:
    """Start another operator, as an upgrade does, and see what it makes of a world that is as it should be."""
    began = time.perf_counter()
    with operator(server, world, folder, None) as second:
        async with asyncio.timeout(CONVERGE_SECONDS):
            now = await second.counters()
            while now.probes < world.servers or now.waiting:
                await asyncio.sleep(0.5)
                now = await second.counters()
        took, cpu = time.perf_counter() - began, second.cpu()
    _say(
        world, f"another operator has looked at everything after {took:.1f} s, {cpu:.1f} s of CPU, {now.writes} writes"
    )
    return {"restart_s": round(took, 1), "restart_cpu_s": round(cpu, 1), "restart_writes": now.writes}


async def _apply(world: World, api: Api) -> float:
    began = time.perf_counter()
    waiting = iter(list(world.objects()))

    async def some() -> None:
        for path, body in waiting:
            await api.apply(path, body)

    await asyncio.gather(*(some() for _ in range(APPLIERS)))
    return time.perf_counter() - began


async def _changes(world: World, api: Api, observer: Observer, count: int) -> list[tuple[float, float]]:
    """One server after the other is edited; seconds until its proxy serves that, and until the proxy's status says so."""
    chosen = random.Random(5).sample(world.server_names, min(count, world.servers))
    found = []
    async with aiohttp.ClientSession() as http:
        for name in chosen:
            team = world.team_of(name)
            status = f"http://{address(team)}:{PORT}/status"
            before = await _revision(http, status)
            body = observer.bodies[meta.SERVER.kind, name]
            known = body["spec"].get("timeouts", {}).get("call")
            other = SLOWER[1] if known == SLOWER[0] else SLOWER[0] if known == SLOWER[1] else SLOWER[1]
            began = time.perf_counter()
            await api.send("PATCH", meta.SERVER.path(NAMESPACE, name), {"spec": {"timeouts": {"call": other}}})
            async with asyncio.timeout(60):
                while (revision := await _revision(http, status)) == before:  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.02)
            served = time.perf_counter() - began
            key = meta.PROXY.kind, team
            await eventually(
                lambda key=key, revision=revision: observer.bodies[key]["status"]["programmedRevision"] == revision,
                60,
                observer.wrong,
            )
            found.append((served, time.perf_counter() - began))
            await eventually(lambda: observer.all_right, 60, observer.wrong)
    return found


async def _revision(http: aiohttp.ClientSession, url: str) -> str | None:
    async with http.get(url) as answer:
        found: str | None = json.loads(await answer.read())["revision"]
        return found


def _say(world: World, text: str) -> None:
    print(f"{world.servers:5} servers: {text}", flush=True)
