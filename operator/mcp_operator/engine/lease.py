"""Leader election on a `coordination.k8s.io/v1` Lease, by the rules of client-go's `tools/leaderelection`.

Nobody compares clocks: a candidate measures, with its own monotonic clock, how long it has seen the Lease unchanged, and takes it
over when that exceeds the duration written in it. The leader gives up when it could not renew within `renew_deadline`, which
is shorter, so two leaders never act at once as long as clocks *run* alike. A released Lease has no holder and is taken at once.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

log = logging.getLogger(__name__)


class LeaseStore(Protocol):
    """Where one Lease lives. Writes answer None when somebody else wrote first; anything else that fails raises."""

    async def get(self) -> dict[str, Any] | None: ...
    async def create(self, spec: Mapping[str, Any]) -> dict[str, Any] | None: ...
    async def replace(self, lease: Mapping[str, Any]) -> dict[str, Any] | None: ...


class LeaderElector:
    """One candidate. `identity` must differ between processes, also between two lives of one pod.

    Use: `await acquire()`, then `hold()` in a task; it returns, with `lost` set, when leadership is gone. `release()` on the way out.
    One elector is for one term: who lost the lead stops what it does and begins with another elector.

    Seconds: `duration` the others wait for a silent leader, `renew_deadline` after which it steps down, `retry` between attempts.
    A leader that ends without a word is replaced at most `duration` + 1.2 * `retry` after its last renewal: 12.4 s.
    """

    def __init__(
        self,
        leases: LeaseStore,
        identity: str,
        *,
        duration: float = 10.0,
        renew_deadline: float = 7.0,
        retry: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not identity:
            raise ValueError("an empty identity means that nobody holds the lease")
        if not duration > renew_deadline > retry > 0:
            raise ValueError("duration > renew_deadline > retry > 0 must hold")
        self._leases = leases
        self.identity = identity
        self._duration = duration
        self._renew_deadline = renew_deadline
        self._retry = retry
        self._clock = clock
        self._seen: dict[str, Any] | None = None
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self._leading = False
        self.lost = asyncio.Event()
        """Set when leadership is gone against our will. It stays set."""

    @property
    def is_leader(self) -> bool:
        """True from `acquire` until the renew deadline passes, also while `hold` could not yet react."""
        return self._leading and self._clock() - self._renewed_at < self._renew_deadline

    @property
    def leader(self) -> str:
        """Who held the Lease when it was last read; "" if nobody or unknown."""
        return str(((self._seen or {}).get("spec") or {}).get("holderIdentity") or "")

    async def acquire(self) -> None:
        """Wait until this candidate leads. Failures of the API are logged and tried again."""
        told = None
        while not await self._attempt(self._renew_deadline):
            if self.leader not in ("", told):
                told = self.leader
                log.info("standing by: %s leads", told)
            pause = self._retry * random.uniform(1.0, 1.2)  # noqa: S311 - spreads candidates
            await asyncio.sleep(min(pause, max(self._expires_in(), 0.05)))
        self._leading = True
        log.info("%s leads", self.identity)

    async def hold(self) -> None:
        """Renew until that fails for `renew_deadline` seconds or another took over; then set `lost` and return."""
        while self._leading:
            left = self._renew_deadline - (self._clock() - self._renewed_at)
            if left <= 0:
                self._step_down(f"not renewed for {self._renew_deadline:g} s")
                return
            await asyncio.sleep(min(self._retry, left))
            left = self._renew_deadline - (self._clock() - self._renewed_at)
            if left > 0 and not await self._attempt(left) and self.leader not in ("", self.identity):
                self._step_down(f"{self.leader} took over")

    async def release(self) -> None:
        """Stop leading and leave the Lease without a holder, so that the next candidate need not wait. Never raises."""
        if not self._leading or self._seen is None:
            return
        self._leading = False
        try:
            async with asyncio.timeout(self._renew_deadline):
                released = await self._leases.replace(self._vacant(self._seen))
                if released is None:  # a renewal of ours that was cut short may have been written
                    current = await self._leases.get()
                    if current is not None and (current.get("spec") or {}).get("holderIdentity") == self.identity:
                        await self._leases.replace(self._vacant(current))
        except Exception as error:  # noqa: BLE001 - it expires by itself
            log.warning("the lease could not be released: %s", _describe(error))
        else:
            log.info("%s released the lease", self.identity)

    def _step_down(self, why: str) -> None:
        self._leading = False
        log.error("leadership lost: %s", why)
        self.lost.set()

    async def _attempt(self, limit: float) -> bool:
        """Take or renew the Lease; whether it is ours now. The renewal counts from before it was sent."""
        started = self._clock()
        try:
            async with asyncio.timeout(limit):
                held = await self._take()
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed
            log.warning("the lease could not be read or written: %s", _describe(error))
            return False
        if held:
            self._renewed_at = started
        return held

    async def _take(self) -> bool:
        if self._leading and self._seen is not None:  # renew without reading first, as long as nobody interferes
            written = await self._leases.replace(self._claim(self._seen))
            if written is not None:
                self._observe(written)
                return True
        current = await self._leases.get()
        if current is None:
            written = await self._leases.create(self._claim(None)["spec"])
        else:
            self._observe(current)
            if not self._free():
                return False
            written = await self._leases.replace(self._claim(current))
        if written is not None:
            self._observe(written)
        return written is not None

    def _observe(self, lease: dict[str, Any]) -> None:
        if self._seen is None or self._seen.get("spec") != lease.get("spec"):
            self._seen_at = self._clock()
        self._seen = lease

    def _free(self) -> bool:
        """Whether the Lease is ours, nobody's, or was left unchanged for longer than its holder promised."""
        return self.leader in ("", self.identity) or self._expires_in() <= 0

    def _expires_in(self) -> float:
        """Seconds until the Lease that was seen may be taken over; infinite where another attempt needs no such time."""
        if self.leader in ("", self.identity):
            return math.inf
        promised = (self._seen or {}).get("spec", {}).get("leaseDurationSeconds") or self._duration
        return float(max(promised, self._duration)) - (self._clock() - self._seen_at)

    def _claim(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        """The Lease with this candidate as its holder."""
        now = _timestamp()
        before = (lease or {}).get("spec") or {}
        ours = before.get("holderIdentity") == self.identity
        transitions = before.get("leaseTransitions") or 0
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "acquireTime": before.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": transitions if ours or lease is None else transitions + 1,
        }
        return {**(lease or {}), "spec": spec}

    @staticmethod
    def _vacant(lease: dict[str, Any]) -> dict[str, Any]:
        """The Lease without a holder, as client-go leaves it."""
        now = _timestamp()
        vacant = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
        return {**lease, "spec": {**lease["spec"], **vacant}}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _timestamp() -> str:
    """Now, as Kubernetes writes a MicroTime."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
