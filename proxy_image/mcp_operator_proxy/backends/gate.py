"""The gate in front of one backend: how many calls run at once, and none while the server is known not to answer.

Calls that find it full wait in line, first come first served. Calls that the server did not answer are counted; after so
many in a row the circuit is open and calls fail at once, until one of them may try (Nygard's circuit breaker).

    ticket = await gate.enter(30.0)      # raises BackendError
    answered: bool | None = None
    try:
        ...
    finally:
        gate.leave(answered, ticket)
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Final, Literal, TypeAlias

from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.config import CircuitBreaker
from mcp_operator_proxy.report import ErrorReport

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]
REFUSED: Final = 0
CALL: Final = 1
TRIAL: Final = 2


@dataclass(frozen=True, slots=True)
class GateReport:
    """What a gate says of itself. `opened` and `refused` only grow."""

    circuit: CircuitState = "closed"
    in_flight: int = 0
    waiting: int = 0
    opened: int = 0
    """Times that the circuit opened."""
    refused: int = 0
    """Calls that failed at the gate: the circuit was open, or they waited too long."""


class Gate:
    """Use it from one event loop only. `clock` counts seconds."""

    __slots__ = (
        "_active", "_aside", "_breaker", "_circuit", "_clock", "_failures", "_limit", "_opened", "_quiet", "_refused", "_until",
        "_waiting",
    )  # fmt: skip

    def __init__(
        self, max_concurrency: int, breaker: CircuitBreaker, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limit = max_concurrency
        self._breaker = breaker
        self._clock = clock
        self._active = 0
        self._aside = 0
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._circuit: CircuitState = "closed"
        self._failures = 0
        self._until = 0.0
        """When the open circuit lets a call try."""
        self._opened = 0
        self._refused = 0
        self._quiet: asyncio.Event | None = None

    def configure(self, max_concurrency: int, breaker: CircuitBreaker) -> None:
        """Other limits from now on; calls in flight are not touched."""
        self._limit, self._breaker = max_concurrency, breaker
        self._until = min(self._until, self._clock() + breaker.open_seconds)
        self._admit()

    def try_enter(self) -> int:
        """A ticket for `leave`, or `REFUSED` (0) where the call would have to wait or to fail."""
        if self._active >= self._limit or self._waiting:
            return REFUSED
        if self._circuit == "closed":
            self._active += 1
            return CALL
        return self._take() if self._passable() else REFUSED

    async def enter(self, seconds: float) -> int:
        """A ticket for `leave`, after at most `seconds` in line.

        Raises:
            BackendError: `CircuitOpen`, or `Overloaded` when the time is over; the call has not run.
        """
        if not self._passable():
            self._refused += 1
            raise self._open_error()
        if self._active < self._limit and not self._waiting:
            return self._take()
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                return await place
        except TimeoutError as error:
            if place.done() and not place.cancelled() and place.exception() is None:
                return place.result()  # it came just then
            self._refused += 1
            raise BackendError(self._full(), executed=False) from error
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave(None, place.result())
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(place)
            self._tell_quiet()

    def leave(self, answered: bool | None, ticket: int = REFUSED) -> None:
        """The end of a call that entered. `answered` is None where nobody knows, as when its client went away.

        A JSON-RPC error and a tool's error are answers. Without its `ticket` a call may have been the trial.
        """
        self._active -= 1
        if answered:
            self._failures = 0
            self._circuit = "closed"
        elif answered is None:
            if self._circuit == "half-open" and ticket != CALL:
                self._circuit, self._until = "open", self._clock()  # another one may try
        elif self._circuit == "closed":
            self._failures += 1
            if self._failures >= self._breaker.failures:
                self._open()
        elif self._circuit == "half-open" and ticket != CALL:
            self._open()
        if self._waiting:
            self._admit()
        self._tell_quiet()

    def step_aside(self) -> None:
        """A call that entered waits for its client: meanwhile its place is free."""
        self._active -= 1
        self._aside += 1
        self._admit()

    def step_back(self) -> None:
        """It goes on at once, without waiting in line, so there may be a call too many for a while."""
        self._active += 1
        self._aside -= 1

    def retry_now(self) -> None:
        """The server has come back: the next call may try, although the circuit has not been open for its time."""
        self._until = min(self._until, self._clock())

    @property
    def busy(self) -> bool:
        """Calls are in flight or wait."""
        return bool(self._active or self._aside or self._waiting)

    async def quiet(self, seconds: float) -> None:
        """Wait until no call is in flight or waits, at most `seconds`."""
        if not self.busy:
            return
        self._quiet = self._quiet or asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()

    @property
    def circuit(self) -> CircuitState:
        return self._circuit

    def report(self) -> GateReport:
        return GateReport(self._circuit, self._active, len(self._waiting), self._opened, self._refused)

    # Inside

    def _passable(self) -> bool:
        return self._circuit == "closed" or (self._circuit == "open" and self._clock() >= self._until)

    def _take(self) -> int:
        self._active += 1
        if self._circuit == "closed":
            return CALL
        self._circuit = "half-open"
        return TRIAL

    def _open(self) -> None:
        self._circuit = "open"
        self._failures = 0
        self._until = self._clock() + self._breaker.open_seconds
        self._opened += 1

    def _admit(self) -> None:
        """Let in whom there is room for; whom the circuit no longer lets through need not wait."""
        while self._waiting:
            place = self._waiting[0]
            if place.done():
                self._waiting.popleft()
            elif not self._passable():
                self._waiting.popleft()
                self._refused += 1
                place.set_exception(self._open_error())
            elif self._active < self._limit:
                self._waiting.popleft()
                place.set_result(self._take())
            else:
                return

    def _tell_quiet(self) -> None:
        if self._quiet is not None and not self.busy:
            self._quiet.set()
            self._quiet = None

    def _open_error(self) -> BackendError:
        if self._circuit == "half-open":
            when = "one call is trying it again now"
        else:
            when = f"it is tried again in {max(1, ceil(self._until - self._clock()))} s"
        message = (
            f"the server did not answer {_times(self._breaker.failures)}, so calls are not sent for a while; {when}"
        )
        return BackendError(ErrorReport(error_class="CircuitOpen", message=message), executed=False)

    def _full(self) -> ErrorReport:
        return ErrorReport(
            error_class="Overloaded",
            message=f"{self._limit} calls are in flight with the server, as many as its maxConcurrency allows,"
            " and none ended in time",
        )


def _times(count: int) -> str:
    return "the last call" if count == 1 else f"the last {count} calls"
