"""One size of the world, from nothing: how long it takes to be right, what one change costs then, and what rest costs."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from bench.operator.api import Api, eventually
from bench.operator.apiserver import api_server
from bench.operator.observer import Observer
from bench.operator.world import NAMESPACE, PORT, SLOWER, TOOLS, World, address
from bench.procs import NotReady, Process, backend, free_port, get, module_env, running
from bench.stats import percentile
from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import definition
from support.controlplane import ControlPlane

APPLIERS: Final = 16
"""Requests under way while the world is applied."""
CONVERGE_SECONDS: Final = 600.0
QUIET_SECONDS: Final = 20.0
"""Without any write: probes that settle soon after a start have settled by then."""
MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Times in seconds, memory in MiB. `change_*`: from sending the edit until the proxy serves it."""

    servers: int
    proxies: int
    apply_s: float
    """Until the API server had taken all of it."""
    converge_s: float
    """From the first object applied until every status is right."""
    converge_cpu_s: float
    """CPU time of the operator meanwhile."""
    config_writes_max: int
    """Versions of one proxy's ConfigMap until then; the first is one."""
    config_writes_mean: float
    status_writes_per_server: float
    change_p50_s: float
    change_p95_s: float
    change_max_s: float
    change_cpu_ms: float
    """CPU time of the operator for one change, its idle time left out."""
    status_p95_s: float
    """Until the McpProxy says that the change is in use."""
    rss_mb: float
    """The most that was seen."""
    rss_idle_mb: float
    idle_cpu_percent: float
    """Of one core."""


@dataclass(frozen=True)
class Plan:
    """How long to look."""

    changes: int = 40
    idle_seconds: float = 60.0
    profile: Path | None = None
    """Where to write a profile of the operator (cProfile), which slows it down."""


class Operator:
    """The operator's process, and the most memory that it was seen to have."""

    def __init__(self, process: Process, pid: int) -> None:
        self.process = process
        self._ps = psutil.Process(pid)
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


def measure(world_size: int, folder: Path, plan: Plan) -> Figures:
    """Start all that is needed, measure, and end it."""
    folder.mkdir(parents=True)
    with backend(folder / "backend.log", era="both", server="raw", tools=TOOLS) as (base, _), api_server(folder) as api:
        world = World(world_size, base)
        argv = [sys.executable, "-m", "bench.operator.node", "--url", api.url, "--pki", str(api.pki)]
        with running([*argv, "--data", str(folder / "pods")], folder / "node.log", module_env()) as node:
            node.wait_until(lambda: "serving" in node.tail())
            return asyncio.run(_measure(world, api, folder, plan))


async def _measure(world: World, server: ControlPlane, folder: Path, plan: Plan) -> Figures:
    async with Api(server.url, server.client_tls(admin=True)) as api:
        await _prepare(api)
        with operator(server, world, folder, plan.profile) as running_operator:
            observer = Observer(world)
            async with _beside(observer.run(api), running_operator.sample()):
                return await _figures(world, api, observer, running_operator, plan)


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


@contextlib.contextmanager
def operator(server: ControlPlane, world: World, folder: Path, profile: Path | None) -> Iterator[Operator]:
    """`mcp-operator run` against the API server, with a hosts file in which the proxies' Services stand."""
    hosts = folder / "hosts"
    hosts.write_text(world.hosts())
    port = free_port()
    python = [sys.executable, *(["-m", "cProfile", "-o", str(profile)] if profile else []), "-m", "mcp_operator"]
    argv = [*python, "run", "--host", "127.0.0.1", "--port", str(port), "--identity", "bench", "--log-level", "warning"]
    argv = [*_own_mounts(), "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts), *argv]
    environment = module_env(KUBECONFIG=str(server.kubeconfig))
    with running(argv, folder / "operator.log", environment) as process:
        process.wait_until(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200)
        yield Operator(process, process.pids()[0])


def _own_mounts() -> list[str]:
    """Run what follows where a mount is nobody else's."""
    if shutil.which("unshare") is None:
        raise NotReady(
            "the proxies' names need a hosts file of the operator's own, and there is no unshare (util-linux)"
        )
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


async def _figures(world: World, api: Api, observer: Observer, operator: Operator, plan: Plan) -> Figures:
    cpu, began = operator.cpu(), time.perf_counter()
    applied = await _apply(world, api)
    await eventually(
        lambda: observer.all_right, CONVERGE_SECONDS, lambda: f"{observer.wrong()} {operator.process.tail()}"
    )
    converged, converge_cpu = time.perf_counter() - began, operator.cpu() - cpu
    configs = observer.counts("ConfigMap")
    statuses = observer.counts(meta.SERVER.kind)
    _say(
        world,
        f"right after {converged:.1f} s, {converge_cpu:.1f} s of CPU; a ConfigMap written {max(configs)} times at most",
    )
    await eventually(
        lambda: observer.all_right and time.perf_counter() - observer.last > QUIET_SECONDS, 300.0, observer.wrong
    )
    idle = await _idle(operator, plan.idle_seconds)
    rss = operator.rss()
    _say(world, f"at rest {idle:.2f} % CPU, {rss / MIB:.0f} MiB")
    cpu, began = operator.cpu(), time.perf_counter()
    changes = await _changes(world, api, observer, plan.changes)
    spent = operator.cpu() - cpu - idle / 100 * (time.perf_counter() - began)
    served, told = [one for one, _ in changes], [other for _, other in changes]
    return Figures(
        servers=world.servers,
        proxies=world.proxies,
        apply_s=round(applied, 1),
        converge_s=round(converged, 1),
        converge_cpu_s=round(converge_cpu, 1),
        config_writes_max=max(configs),
        config_writes_mean=round(statistics.mean(configs), 1),
        status_writes_per_server=round(sum(statuses) / world.servers, 2),
        change_p50_s=round(percentile(served, 0.5), 3),
        change_p95_s=round(percentile(served, 0.95), 3),
        change_max_s=round(max(served), 3),
        change_cpu_ms=round(1000 * spent / len(changes), 1),
        status_p95_s=round(percentile(told, 0.95), 3),
        rss_mb=round(operator.peak / MIB, 1),
        rss_idle_mb=round(rss / MIB, 1),
        idle_cpu_percent=round(idle, 2),
    )


async def _apply(world: World, api: Api) -> float:
    began = time.perf_counter()
    waiting = iter(list(world.objects()))

    async def some() -> None:
        for path, body in waiting:
            await api.apply(path, body)

    await asyncio.gather(*(some() for _ in range(APPLIERS)))
    return time.perf_counter() - began


async def _idle(operator: Operator, seconds: float) -> float:
    """Percent of one core over that time."""
    cpu, began = operator.cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    return 100 * (operator.cpu() - cpu) / (time.perf_counter() - began)


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
