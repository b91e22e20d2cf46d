"""What this worker and its siblings say together: one pod answers as one, whichever worker is asked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import httpx2
from pydantic import ValidationError

from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import StatusReport
from mcp_operator_proxy.tasks import cancel
from mcp_operator_proxy.workers.kept import known_in
from mcp_operator_proxy.workers.merge import merge_metrics, merge_status

RETRY_SECONDS: Final = 0.1
SIBLING_SECONDS: Final = 2.0
"""For a worker that is just being replaced, or busy."""
_T = TypeVar("_T")


class Pod:
    """`siblings` are internal addresses of the other workers. `close` it in the end."""

    def __init__(self, proxy: Proxy, siblings: frozenset[str]) -> None:
        self._proxy = proxy
        self._siblings = sorted(siblings)
        self._http = httpx2.AsyncClient(trust_env=False, verify=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def status(self, revision: str | None, seconds: float) -> StatusReport:
        """Of all workers; with `revision` as soon as each uses or has refused it, at the latest after `seconds`."""
        loop = asyncio.get_running_loop()
        patience = SIBLING_SECONDS if revision is None else seconds
        others = [
            loop.create_task(self._until(patience, partial(self._status, address, revision)))
            for address in self._siblings
        ]
        try:
            own = self._proxy.status() if revision is None else await self._proxy.wait_for(revision, seconds)
            found = [report for report in await asyncio.gather(*others) if report is not None]
        finally:
            await cancel(others)
        if revision is not None:
            own = self._proxy.status()
        return merge_status([own, *found], missing=len(others) - len(found))

    async def metrics(self) -> bytes:
        """Of all workers; of one that does not answer its counters alone."""
        found = await asyncio.gather(
            *(self._until(SIBLING_SECONDS, partial(self._metrics, address)) for address in self._siblings)
        )
        # In a thread: with many tools it takes longer than a call may be held up.
        return await asyncio.to_thread(self._told, found)

    def _told(self, found: Sequence[bytes | None]) -> bytes:
        """`found` are those of the siblings; for one that gives none, what it counted is told as it was last."""
        kept, known = self._proxy.kept, known_in(self._proxy.state)
        texts = [self._proxy.told_metrics()]
        for address, text in zip(self._siblings, found, strict=True):
            if text is not None:
                texts.append(text)
            elif kept is not None:
                texts.append(kept.of(self._proxy.holder.workers.index(address), known))
        return merge_metrics(texts)

    async def _until(self, seconds: float, ask: Callable[[float], Awaitable[_T]]) -> _T | None:
        """Ask again until there is an answer; None where there is none in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            left = deadline - loop.time()
            try:
                return await ask(max(left, 0.05))
            except (httpx2.HTTPError, ValidationError):
                if left <= RETRY_SECONDS:
                    return None
                await asyncio.sleep(RETRY_SECONDS)

    async def _status(self, address: str, revision: str | None, seconds: float) -> StatusReport:
        query = {} if revision is None else {"wait": revision, "timeout": f"{seconds:.3f}"}
        response = await self._http.get(f"http://{address}/status", params=query, timeout=seconds + 1.0)
        response.raise_for_status()
        return StatusReport.model_validate_json(response.content)

    async def _metrics(self, address: str, seconds: float) -> bytes:
        response = await self._http.get(f"http://{address}/metrics", timeout=seconds)
        response.raise_for_status()
        return response.content
