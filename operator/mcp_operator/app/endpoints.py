"""`/healthz`, `/readyz` and `/metrics` of the operator."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Check = Callable[[], str | None]
"""Says what is wrong, or None."""


@asynccontextmanager
async def serve(
    host: str, port: int, *, alive: Check, ready: Check, registry: CollectorRegistry, before_metrics: Callable[[], None]
) -> AsyncIterator[int]:
    """Serve until left; gives the port (of use with port 0). Raises OSError when the port is taken."""

    async def metrics(_: web.Request) -> web.Response:
        before_metrics()
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", _answer(alive))
    application.router.add_get("/readyz", _answer(ready))
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_: web.Request) -> web.Response:
        problem = check()
        return web.Response(text="ok" if problem is None else problem, status=200 if problem is None else 503)

    return handler
