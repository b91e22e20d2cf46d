"""The operator's life: lead, list, watch and work, until it is told to stop or loses the lead."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, cast

import kopf
from prometheus_client import CollectorRegistry

from mcp_operator import __version__, watch
from mcp_operator.app import endpoints, logs
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.operator import Operator
from mcp_operator.app.options import Options
from mcp_operator.engine.lease import LeaderElector
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.leases import KubeLease

log = logging.getLogger(__name__)

LOOKUPS: Final = 256
"""Threads for host names, made when they are needed. A lookup that nobody answers outlives its probe; by default there are as few
as six threads, and that many dead names would make every other server look dead."""


class _State:
    """What `/readyz` and `/healthz` tell: a standby is alive and not ready."""

    def __init__(self) -> None:
        self.operator: Operator | None = None
        self.leader = False

    def ready(self) -> str | None:
        if not self.leader:
            return "standing by: another process leads"
        if self.operator is None or not self.operator.resync.synced.is_set():
            return "listing the cluster's objects"
        return None

    @staticmethod
    def alive() -> str | None:
        return None


async def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT (0) or until the lead or a part is lost (1): then Kubernetes starts the process anew."""
    logs.configure(options.log_level, options.log_format)
    log.info("mcp-operator %s, watching %s", __version__, ", ".join(options.namespaces) or "the whole cluster")
    registry = CollectorRegistry()
    metrics = OperatorMetrics(registry)
    state = _State()
    stop = asyncio.Event()
    lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
    asyncio.get_running_loop().set_default_executor(lookups)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def count_objects() -> None:
        if state.operator is not None:
            metrics.count_objects(state.operator.store)

    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(KubeClient.connect())
        serving = endpoints.serve(
            options.host,
            options.port,
            alive=state.alive,
            ready=state.ready,
            registry=registry,
            before_metrics=count_objects,
        )
        await stack.enter_async_context(serving)
        elector = await stack.enter_async_context(_leading(options, kube, stop))
        if stop.is_set():
            return 0
        state.leader = True
        metrics.leads(leading=True)
        operator = state.operator = await stack.enter_async_context(Operator(options, kube, metrics))
        return await _operate(options, operator, elector, stop)


@asynccontextmanager
async def _leading(options: Options, kube: KubeClient, stop: asyncio.Event) -> AsyncIterator[LeaderElector | None]:
    """Lead while inside, or have been told to stop while standing by. None: there is no election."""
    if options.lease_namespace is None:
        yield None
        return
    elector = LeaderElector(KubeLease(kube, options.lease_namespace, options.lease_name), options.identity)
    await _first(elector.acquire(), stop.wait())
    try:
        yield elector
    finally:
        await elector.release()


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them is done; the others are cancelled."""
    tasks = {asyncio.create_task(wait) for wait in waits}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _operate(options: Options, operator: Operator, elector: LeaderElector | None, stop: asyncio.Event) -> int:
    """Run the parts. They start before kopf does: on its way out, kopf cancels every task that was born after it.

    kopf takes over SIGTERM and SIGINT: its ending without an error is the word to stop.
    """
    parts = [
        asyncio.create_task(operator.work(), name="workers"),
        asyncio.create_task(operator.resync.run(), name="resync"),
    ]
    if elector is not None:
        parts.append(asyncio.create_task(elector.hold(), name="lease"))
    told = asyncio.create_task(stop.wait(), name="stop")
    streams = asyncio.create_task(_watch(options, operator, stop), name="kopf")
    ended, _ = await asyncio.wait({*parts, told, streams}, return_when=asyncio.FIRST_COMPLETED)
    failed = (
        [] if stop.is_set() else [task for task in ended if task in parts or (task is streams and task.exception())]
    )
    for task in failed:
        log.error("%s ended: the process ends too", task.get_name(), exc_info=task.exception())
    stop.set()
    operator.queue.shut_down(drain=False)
    for task in (*parts, told):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait({streams}, timeout=10)
    await asyncio.gather(*parts, told, return_exceptions=True)
    log.info("stopped")
    return 1 if failed else 0


async def _watch(options: Options, operator: Operator, stop: asyncio.Event) -> None:
    """Watch once everything could be listed: kopf discovers kinds once, and never watches one whose CRD came later."""
    await _first(operator.resync.synced.wait(), stop.wait())
    if stop.is_set():
        return
    await kopf.operator(
        # Its own guess asks for a user name, which a container's uid need not have.
        identity=cast("Any", options.identity),
        registry=watch.registry(operator.observe),
        settings=watch.settings(),
        standalone=True,
        clusterwide=not options.namespaces,
        namespaces=options.namespaces,
        stop_flag=stop,
    )
