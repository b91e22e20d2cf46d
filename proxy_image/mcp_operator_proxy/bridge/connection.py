"""JSON-RPC over one server process: requests in flight, their answers, and what the server says by itself."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mcp_operator_proxy.bridge import jsonrpc, modern
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.ids import CallTable
from mcp_operator_proxy.bridge.jsonrpc import InvalidMessage, Kind, Message, params_of
from mcp_operator_proxy.bridge.pipes import PipedProcess
from mcp_operator_proxy.bridge.process import Exit, ProcessSpec, ServerProcess
from mcp_operator_proxy.tasks import spawn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears what the server says that answers no request, and each piece of output that is no message."""

    notification: Callable[[Message], None]
    request: Callable[["Connection", Message], None]
    garbage: Callable[[], None]


class Connection:
    """One process from its start to its end. A call is written once or not at all, and never repeated."""

    def __init__(self, spec: ProcessSpec, listener: Listener) -> None:
        self._name = spec.name
        self._redact = spec.redact
        self._listener = listener
        process = ServerProcess if spec.pipes is None else PipedProcess
        self._process: ServerProcess | PipedProcess = process(spec, self._receive, self._skip)
        self._calls: CallTable[Call] = CallTable()
        self._own_ids = itertools.count(1)
        self._background: set[asyncio.Task[None]] = set()
        self._garbage = 0
        self._one_left = asyncio.Event()
        self.closing = False
        """Its end is wanted."""
        self._sign_of_life: tuple[str, Message] = ("ping", {})
        self._heard_at = self._worked_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def exit(self) -> Exit | None:
        return self._process.exit

    @property
    def alive(self) -> bool:
        return self._process.started and not self._process.closed.is_set()

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    def speaks_modern(self) -> None:
        """The server is of the 2026-07-28 era, which has no `ping`: it is asked to discover instead."""
        self._sign_of_life = (modern.DISCOVER, modern.envelope())

    def log(self, message: Message, *, alike: bool) -> None:
        """A log message of a server of the 2026-07-28 era, to the calls that it is for; see `modern.hearers`."""
        calls = [call for call in self._calls if not call.stands]
        for index in modern.hearers([call.message for call in calls], params_of(message).get("level"), alike=alike):
            calls[index].push(message)

    def idle_seconds(self) -> float:
        """Since the last call that was work; 0 while one is in flight."""
        return 0.0 if any(call.is_work for call in self._calls) else time.monotonic() - self._worked_at

    async def answers(self, seconds: float) -> bool:
        """Whether the server shows within so many seconds that it lives: by its answer to a ping (or what stands for
        one), or by any other line.

        One that still works on a call that it was given before is not disturbed: a server may do one thing at a time. The
        call has a deadline of its own.
        """
        asked_at, before = time.monotonic(), self._calls.last
        if await self.request(*self._sign_of_life, seconds) is not None or self._heard_at >= asked_at:
            return True
        oldest = self._calls.oldest(lambda call: not call.stands)
        return oldest is not None and oldest <= before

    def last_stderr(self) -> tuple[str, ...]:
        return self._process.last_stderr()

    async def open(self) -> None:
        """Start the process. Raises StartError."""
        await self._process.start()
        spawn(self._fail_calls_at_end(), self._background)

    async def submit(self, call: Call) -> None:
        """Send a call's request, as soon as the server reads. Whatever happens, the call gets an answer."""
        wire_id, outgoing = self._calls.add(call.message, call)
        call.withdraw = partial(self._withdraw, call, wire_id)

        def withdrawn() -> bool:
            call.sent = not call.done
            return call.done

        try:
            await self._process.send(jsonrpc.encode(outgoing), unless=withdrawn)
        except ConnectionError:
            self._calls.remove(wire_id)
            self._one_left.set()
            self._fail(call)

    async def request(self, method: str, params: Message, seconds: float) -> Message | None:
        """A request of the bridge's own; returns the response, or None where there was none in time."""
        call = Call(jsonrpc.request(f"bridge-{next(self._own_ids)}", method, params), streams=False)
        try:
            async with asyncio.timeout(seconds):
                await self.submit(call)
                return await call.response()
        except TimeoutError:
            call.cancel("timeout")
            return None

    async def send(self, message: Message) -> None:
        """Pass on a notification or a response; lost where the process has ended."""
        try:
            await self._process.send(jsonrpc.encode(message))
        except ConnectionError:
            log.debug("%s: %s is lost, the server has ended", self._name, message.get("method", "a response"))

    def post(self, message: Message) -> None:
        """Like `send`, without waiting for the server to read."""
        spawn(self.send(message), self._background)

    async def drained(self) -> None:
        """Until it has answered what is in flight, streams that never end left aside."""
        while any(not call.stands for call in self._calls):
            self._one_left.clear()
            await self._one_left.wait()

    async def wait_closed(self) -> None:
        """Until nothing more can come from the server."""
        await self._process.closed.wait()

    async def close(self) -> None:
        """End the process in order and wait for it."""
        self.closing = True
        await self._process.stop()
        self.fail_calls()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _fail_calls_at_end(self) -> None:
        await self._process.closed.wait()
        self.fail_calls()

    def fail_calls(self) -> None:
        """Answer what is in flight on a connection that has ended."""
        for call in self._calls.clear():
            self._fail(call)
        self._one_left.set()

    def _withdraw(self, call: Call, wire_id: int, reason: str) -> None:
        removed = self._calls.remove(wire_id)
        self._one_left.set()
        if removed and call.sent:
            self._note_end(call)
            self.post(jsonrpc.notification("notifications/cancelled", {"requestId": wire_id, "reason": reason}))

    def _fail(self, call: Call) -> None:
        end = self.exit
        text = f"MCP server {self._name} {end or 'ended'}"
        exit_code = end.code if end else None
        if call.sent:
            call.fail(jsonrpc.SERVER_EXITED, text, {"reason": "ServerExited", "exitCode": exit_code})
        else:
            call.fail(jsonrpc.SERVER_UNAVAILABLE, text, {"reason": "ServerUnavailable", "exitCode": exit_code})

    def _note_end(self, call: Call) -> None:
        if call.is_work:
            self._worked_at = time.monotonic()

    def _receive(self, line: bytes) -> None:
        self._heard_at = time.monotonic()
        try:
            kind, message = jsonrpc.decode(line)
        except InvalidMessage as error:
            self._skip(str(error), line)
            return
        if kind is Kind.RESPONSE:
            self._answer(message)
        elif kind is Kind.REQUEST:
            self._listener.request(self, message)
        elif message["method"] == "notifications/progress":
            self._deliver(self._calls.progress(message))
        elif modern.is_of_subscription(message):
            self._deliver(self._calls.subscription(message))
        else:
            self._listener.notification(message)

    def _answer(self, message: Message) -> None:
        addressed = self._calls.response(message)
        if addressed is None:
            log.debug("%s: response to nobody", self._name)
            return
        call, response = addressed
        self._one_left.set()
        self._note_end(call)
        call.finish(response)

    def _deliver(self, addressed: tuple[Call, Message] | None) -> None:
        if addressed is not None:
            call, notification = addressed
            call.push(notification)

    def _skip(self, reason: str, line: bytes = b"") -> None:
        self._listener.garbage()
        self._garbage += 1
        if self._garbage & (self._garbage - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a banner is seen, a flood is not
            shown = f": {self._redact(line.decode('utf-8', 'replace'))[:120]!r}" if line else ""
            log.warning("%s: skipped on standard output (%d so far): %s%s", self._name, self._garbage, reason, shown)
