"""kopf's watch streams, kept alive: whatever ends them, they begin anew in this process.

kopf reconnects by itself after a lost connection, a 410 event or a 429. Anything else (a 410 as a status, an error event of another
code, a login that failed while the API server restarted) ends all of its tasks, and `kopf.operator()` would cancel every other task
of the process with them. So its tasks are spawned and ended here.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final, cast

import kopf

from mcp_operator import watch
from mcp_operator.app.kin import Kin
from mcp_operator.app.options import Options
from mcp_operator.engine.backoff import Backoff

log = logging.getLogger(__name__)

STEADY_SECONDS: Final = 60.0
"""Streams that lived so long failed for a reason of their own: the next pause is short again."""
END_SECONDS: Final = 10.0


async def watch_forever(
    options: Options,
    sink: watch.Sink,
    *,
    spawned: Callable[[], None] = lambda: None,
    failed: Callable[[], None] = lambda: None,
    backoff: Backoff | None = None,
) -> None:
    """Give every event to `sink` until cancelled. `spawned` is called whenever kopf has begun, as it then has the signals."""
    pauses, failures = backoff or Backoff(base=0.5, cap=30.0), 0
    while True:
        started = time.monotonic()
        try:
            await _watch_once(options, sink, spawned)
        except Exception as error:  # noqa: BLE001 - none of these is a reason to stop watching
            failures = 0 if time.monotonic() - started > STEADY_SECONDS else failures + 1
            pause = pauses.delay(failures)
            log.warning(
                "the watch streams ended, they begin anew in %.1f s: %s: %s", pause, type(error).__name__, error
            )
            failed()
            await asyncio.sleep(pause)


async def _watch_once(options: Options, sink: watch.Sink, spawned: Callable[[], None]) -> None:
    """Watch until a task of kopf's ends: raises what it ended with."""
    settings = watch.settings(clusterwide=not options.namespaces)
    settings.process.ultimate_exiting_timeout = (
        None  # else kopf kills the process some minutes after its tasks were ended
    )
    kin = Kin()
    spawning = kopf.spawn_tasks(
        # Its own guess asks for a user name, which a container's uid need not have.
        identity=cast("Any", options.identity),
        registry=watch.registry(kin.outside(sink), clusterwide=not options.namespaces),
        settings=settings,
        standalone=True,
        clusterwide=not options.namespaces,
        namespaces=options.namespaces,
    )
    try:
        tasks = await kin.run(spawning)
        spawned()
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if left := await kin.end(END_SECONDS):
            log.error("tasks of kopf did not end: %s", ", ".join(sorted(task.get_name() for task in left)))
    for task in ended:
        task.result()
    raise RuntimeError("kopf ended by itself")
