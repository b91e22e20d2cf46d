"""The other workers of this pod, and those of other replicas: what one asks and tells them on their internal listeners.

A request carries a proof that whoever sends it knows the key that the workers inherited from their parent. No other
replica has that key, and no client ever sees it: a caller's rights were checked by the worker that the caller met.
What replicas ask each other, which is less, is proven by a key derived from the one that signs their sessions.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.tasks import cancel, spawn

logger = logging.getLogger(__name__)
HEADER: Final = "mcp-proxy-worker"
ASK_SECONDS: Final = 2.0
TELL_SECONDS: Final = 10.0
"""After this, who tells something does not wait any longer for those who have not heard it."""
PAUSE_SECONDS: Final = 0.5
FRESH_SECONDS: Final = 30.0
"""A proof counts for so long; clocks of replicas may differ by less."""
_LABEL: Final = b"mcp-operator worker\0"
_REPLICA: Final = b"mcp-operator replica\0"
M = TypeVar("M", bound=BaseModel)


def worker_keys(holder: Holder) -> list[bytes]:
    """What the workers of this pod have in common."""
    return holder.own_keys.derived(_LABEL)


def replica_keys(holder: Holder) -> list[bytes]:
    """What the replicas have in common: the first proves, all are believed."""
    return holder.keys.derived(_REPLICA)


def prove(key: bytes, method: str, target: str, body: bytes, at: int) -> str:
    """Header of a request. `target` is path and query."""
    text = f"{at} {method} {target} {hashlib.sha256(body).hexdigest()}"
    return f"{at};{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"


def proven(keys: Iterable[bytes], header: str, method: str, target: str, body: bytes) -> bool:
    """Whether `header` is of a request that somebody who has one of the keys made just now."""
    now = time.time()
    at, _, _ = header.partition(";")
    if not header.isascii() or not at.isdigit() or len(at) > 12 or abs(int(at) - now) > FRESH_SECONDS:
        return False
    return any(hmac.compare_digest(prove(key, method, target, body, int(at)), header) for key in keys)


@dataclass(frozen=True)
class Answers(Generic[M]):
    """By number of the worker. `missing` are how many gave none."""

    by_worker: Mapping[int, M]
    missing: int


class Siblings:
    """`close` it in the end."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._http: httpx2.AsyncClient | None = None
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def others(self) -> dict[int, str]:
        """Addresses of internal listeners, by number of the worker."""
        return {n: address for n, address in enumerate(self._holder.workers) if address != self._holder.address}

    async def close(self) -> None:
        await cancel(list(self._telling))
        if self._http is not None:
            await self._http.aclose()

    async def ask(self, target: str, kind: type[M]) -> Answers[M]:
        """What each of them answers to a GET, in ASK_SECONDS."""
        others = self.others
        found = await asyncio.gather(*(self._asked(address, target, kind) for address in others.values()))
        known = {n: answer for n, answer in zip(others, found, strict=True) if answer is not None}
        return Answers(known, len(others) - len(known))

    async def ask_all(self, target: str, kind: type[M]) -> list[M]:
        """What each of them, and each worker of the other replicas, answers to a GET, in ASK_SECONDS. Who gives none is left out."""
        key = replica_keys(self._holder)[0]
        asking = asyncio.gather(*(self._asked_far(address, target, kind, key) for address in self.replicas))
        near, far = await asyncio.gather(self.ask(target, kind), asking)
        return [*near.by_worker.values(), *(answer for answer in far if answer is not None)]

    @property
    def replicas(self) -> list[str]:
        """Addresses of internal listeners of the other replicas' workers, of those that are thought to be up."""
        holder = self._holder
        if holder.forwarder is None:
            return []
        return sorted(holder.forwarder.peers.live() - {holder.address, *holder.workers})

    async def _asked_far(self, address: str, target: str, kind: type[M], key: bytes) -> M | None:
        """Of who has shown to know the key as well: the address of a pod that is gone may be somebody else's now."""
        assert self._holder.forwarder is not None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                if await self._holder.forwarder.instance(address, self._holder.keys) is None:
                    return None
                return await self._asked(address, target, kind, key)
        except TimeoutError:
            return None

    async def _asked(self, address: str, target: str, kind: type[M], key: bytes | None = None) -> M | None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                response = await self._send("GET", address, target, key=key)
            return kind.model_validate_json(response.content) if response.is_success else None
        except (httpx2.HTTPError, ValidationError, TimeoutError):
            return None

    async def tell(self, target: str, body: BaseModel | None = None, *, again: bool) -> None:
        """PUT it at each of them. Returns when all have done it, at the latest after TELL_SECONDS; with `again` those that
        have not are told until they have, or are gone: one that comes in their place asks."""
        data = b"" if body is None else body.model_dump_json().encode()
        telling = (self._told(n, a, target, data, again=again) for n, a in self.others.items())
        tasks = [spawn(told, self._telling) for told in telling]
        if tasks:
            await asyncio.wait(tasks, timeout=TELL_SECONDS)

    async def _told(self, number: int, address: str, target: str, data: bytes, *, again: bool) -> None:
        while True:
            try:
                async with asyncio.timeout(TELL_SECONDS):
                    response = await self._send("PUT", address, target, data)
                if response.is_success:
                    return
                why = f"status {response.status_code}"
            except httpx2.ConnectError:
                return
            except (httpx2.HTTPError, TimeoutError) as error:
                why = type(error).__name__
            logger.warning("a worker has not done what it was told", extra={"of": number, "error": why})
            if not again:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(
        self, method: str, address: str, target: str, data: bytes = b"", *, key: bytes | None = None
    ) -> httpx2.Response:
        if self._http is None:  # no CA bundle is to be loaded: it is plain HTTP
            self._http = httpx2.AsyncClient(trust_env=False, verify=False, timeout=None)
        if key is None:
            (key,) = worker_keys(self._holder)
        headers = {HEADER: prove(key, method, target, data, int(time.time()))}
        return await self._http.request(method, f"http://{address}{target}", content=data, headers=headers)
