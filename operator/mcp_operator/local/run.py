"""Local mode's life: files change, processes start and end, probes answer; each of these leads to one and the same pass.

A pass reads everything anew and is idempotent, so nothing depends on which event came first.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2

from mcp_operator.engine.keys import Key
from mcp_operator.local.catalogue import Catalogue, Snapshot
from mcp_operator.local.files import ManifestFiles
from mcp_operator.local.gateways import Gateways
from mcp_operator.local.hosting import Hosting
from mcp_operator.local.launch import passed_on
from mcp_operator.local.process import base_url, is_free
from mcp_operator.local.screen import Screen
from mcp_operator.local.world import World
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replicas import Pace, Replicas

PACE: Final = Pace(interval=1.0)
"""The proxies are near: they are asked once a second."""


@dataclass(frozen=True, slots=True)
class Options:
    """What local mode is told. `verbose`: the output of all processes goes to standard error instead of into logs."""

    host: str = "127.0.0.1"
    port: int = 8080
    verbose: bool = False
    ui: bool = False
    """Each gateway has an inspector, whether its manifest says so or not."""


class CannotServe(Exception):
    """The gateway's port can't be had. The text says what to do."""


async def run(
    files: ManifestFiles, state: Path, options: Options, screen: Screen, environment: Mapping[str, str]
) -> None:
    """Serve what the files say until SIGTERM, SIGINT or SIGHUP; a second signal ends everything at once.

    Raises CannotServe.
    """
    if options.port and not is_free(options.host, options.port):
        where = base_url(options.host, options.port)
        raise CannotServe(f"{where} can't be served: the port is in use or not allowed; choose another with --port")
    wake, stop = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
        prober = await stack.enter_async_context(Prober[Key](lambda _: wake.set(), spread=0.1))
        replicas = await stack.enter_async_context(Replicas[Key](lambda *_: wake.set(), pace=PACE))
        base = passed_on(environment)
        log_of = _logs(state, verbose=options.verbose)
        hosting = Hosting(http, wake.set, log_of)
        gateways = Gateways(
            host=options.host,
            first_port=options.port,
            folder=state / "proxies",
            environment=base,
            http=http,
            on_change=wake.set,
            log_of=log_of,
            inspected=screen.say if options.ui else None,
        )
        _on_signals(stop, hosting, gateways)
        if not options.verbose:
            screen.say(f"what the processes say is in {state / 'logs'}")
        world = World(hosting, gateways, prober, replicas, base)
        try:
            await _follow(files, world, screen, wake, stop)
        finally:
            screen.say("stopping")
            await gateways.aclose()
            await hosting.aclose()


async def _follow(files: ManifestFiles, world: World, screen: Screen, wake: asyncio.Event, stop: asyncio.Event) -> None:
    catalogue = Catalogue()
    snapshot = Snapshot()
    reading = asyncio.Event()
    reading.set()
    looking = asyncio.create_task(_look(files, reading, wake))
    stopping = asyncio.create_task(stop.wait())
    timer: asyncio.TimerHandle | None = None
    try:
        while not stop.is_set():
            wake.clear()
            if reading.is_set():
                reading.clear()
                snapshot = catalogue.update(await asyncio.to_thread(files.read), datetime.now(UTC))
            again_after = world.step(snapshot, datetime.now(UTC))
            screen.show(world.view(snapshot))
            if timer is not None:
                timer.cancel()
            timer = None if again_after is None else asyncio.get_running_loop().call_later(again_after, wake.set)
            waking = asyncio.create_task(wake.wait())
            await asyncio.wait({waking, stopping, looking}, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            if looking.done():
                looking.result()
    finally:
        if timer is not None:
            timer.cancel()
        for task in (looking, stopping):
            task.cancel()
        await asyncio.wait([looking, stopping])


async def _look(files: ManifestFiles, reading: asyncio.Event, wake: asyncio.Event) -> None:
    async for _ in files.changes():
        reading.set()
        wake.set()


def _on_signals(stop: asyncio.Event, hosting: Hosting, gateways: Gateways) -> None:
    def end() -> None:
        if stop.is_set():
            hosting.kill()
            gateways.kill()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end)


def _logs(state: Path, *, verbose: bool) -> Callable[[str], Path | None]:
    return lambda name: None if verbose else state / "logs" / name
