"""The operator's life: stand by until it leads, list, watch and work while it does, stand by again when the lead is lost."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry

from mcp_operator import __version__
from mcp_operator.app import endpoints, logs
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.operator import Operator
from mcp_operator.app.options import Options
from mcp_operator.app.watching import watch_forever
from mcp_operator.engine.lease import LeaderElector
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.leases import KubeLease

log = logging.getLogger(__name__)

LOOKUPS: Final = 256
"""Threads for host names, made when they are needed. A lookup that nobody answers outlives its probe; by default there are as few
as six threads, and that many dead names would make every other server look dead."""


class _State:
    """What `/readyz`, `/healthz` and `/metrics` tell: a standby is alive and not ready."""

    def __init__(self) -> None:
        self.operator: Operator | None = None
        self.leader = False

    def ready(self) -> str | None:
        if not self.leader:
            return "standing by: another process leads"
        if self.operator is None or not self.operator.resync.synced.is_set():
            return "listing the cluster's objects"
        return None

    def alive(self) -> str | None:
        """None also while the API server is away: a restart would mend nothing. An event loop that is stuck answers nobody."""
        return self.operator.stuck() if self.operator is not None else None


async def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT (0), or until a part of it fails (1): then Kubernetes starts the process anew.

    A lost lead and an API server that is away are survived: the process stands by and takes the lead again.
    """
    logs.configure(options.log_level, options.log_format)
    log.info("mcp-operator %s, watching %s", __version__, ", ".join(options.namespaces) or "the whole cluster")
    registry, stop, state = CollectorRegistry(), asyncio.Event(), _State()
    metrics = OperatorMetrics(registry)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup"))
    _heed_signals(stop)

    def before_metrics() -> None:
        if state.operator is not None:
            metrics.note_age(state.operator.streams.ages(), state.operator.longest_reconcile())
            metrics.count_objects(state.operator.store)

    async with AsyncExitStack() as stack:
        leases = await stack.enter_async_context(_leases(options, metrics))
        serving = endpoints.serve(
            options.host,
            options.port,
            alive=state.alive,
            ready=state.ready,
            registry=registry,
            before_metrics=before_metrics,
        )
        await stack.enter_async_context(serving)
        failed = False
        while not (stop.is_set() or failed):
            failed = await _term(options, state, metrics, leases, stop)
    log.info("stopped")
    return 1 if failed else 0


def _heed_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


@asynccontextmanager
async def _leases(options: Options, metrics: OperatorMetrics) -> AsyncIterator[KubeLease | None]:
    """The Lease, over connections of its own: no amount of other work delays its renewal. None: there is no election."""
    if options.lease_namespace is None:
        yield None
        return
    async with KubeClient.connect(pool_size=2, answered=metrics.answered) as kube:
        yield KubeLease(kube, options.lease_namespace, options.lease_name)


async def _term(
    options: Options, state: _State, metrics: OperatorMetrics, leases: KubeLease | None, stop: asyncio.Event
) -> bool:
    """Wait for the lead, lead, and let go of it; whether a part failed."""
    if leases is None:
        return await _lead(options, state, metrics, None, stop)
    seconds = options.lease_seconds
    elector = LeaderElector(
        leases, options.identity, duration=seconds, renew_deadline=seconds * 0.7, retry=seconds * 0.2
    )
    await _first(elector.acquire(), stop.wait())
    try:
        if not stop.is_set():
            return await _lead(options, state, metrics, elector, stop)
    finally:
        await elector.release()
    return False


async def _lead(
    options: Options, state: _State, metrics: OperatorMetrics, elector: LeaderElector | None, stop: asyncio.Event
) -> bool:
    """Operate as the leader; whether a part failed. Nothing is written from the moment on when the lead may be another's."""
    may_write: Callable[[], bool] = (lambda: elector.is_leader) if elector is not None else (lambda: True)
    async with (
        KubeClient.connect(may_write=may_write, answered=metrics.answered) as kube,
        Operator(options, kube, metrics) as operator,
    ):
        state.operator, state.leader = operator, True
        metrics.leads(leading=True)
        try:
            return await _operate(options, operator, metrics, elector, stop)
        finally:
            state.operator, state.leader = None, False
            metrics.leads(leading=False)
            metrics.forget_objects()


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them is done; the others are cancelled."""
    tasks = {asyncio.create_task(wait) for wait in waits}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _operate(
    options: Options,
    operator: Operator,
    metrics: OperatorMetrics,
    elector: LeaderElector | None,
    stop: asyncio.Event,
) -> bool:
    """Run the parts until one ends, the lead is lost or `stop` is set; whether a part failed."""
    parts = {
        asyncio.create_task(operator.work(), name="workers"),
        asyncio.create_task(operator.resync.run(), name="resync"),
        asyncio.create_task(operator.data_watch.run(), name="references"),
        asyncio.create_task(operator.audit.run(), name="audit"),
        asyncio.create_task(_watch(options, operator, metrics, stop), name="watch"),
    }
    ends: set[asyncio.Task[Any]] = {asyncio.create_task(stop.wait(), name="stop")}
    if elector is not None:
        ends.add(asyncio.create_task(elector.hold(), name="lease"))
    try:
        ended, _ = await asyncio.wait(parts | ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        operator.queue.shut_down(drain=False)
        for task in parts | ends:
            task.cancel()
        await asyncio.gather(*parts, *ends, return_exceptions=True)
    if elector is not None and elector.lost.is_set() and not stop.is_set():
        metrics.lost_the_lead()
        log.warning("standing by, as the lead was lost")
    failed = [] if stop.is_set() else [task for task in ended if task in parts]
    for task in failed:
        log.error("%s ended: the process ends too", task.get_name(), exc_info=task.exception())
    return bool(failed)


async def _watch(options: Options, operator: Operator, metrics: OperatorMetrics, stop: asyncio.Event) -> None:
    """Watch once everything could be listed: kopf discovers kinds once, and never watches one whose CRD came later."""
    await operator.resync.synced.wait()
    await watch_forever(options, operator.observe, spawned=lambda: _heed_signals(stop), failed=metrics.watch_failed)
