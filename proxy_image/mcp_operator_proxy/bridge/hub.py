"""What the HTTP side asks of the side that has the processes, and the part of it that both isolations share."""

import asyncio
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from mcp_operator_proxy.bridge import jsonrpc, modern
from mcp_operator_proxy.bridge.backoff import Backoff
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.owndirs import with_own_dir
from mcp_operator_proxy.bridge.process import ProcessSpec
from mcp_operator_proxy.bridge.redact import redactor
from mcp_operator_proxy.bridge.sessions import Session
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.stderr import ServerLog
from mcp_operator_proxy.bridge.supervisor import State, Unavailable
from mcp_operator_proxy.callertoken import CallerToken

Holder = TypeVar("Holder")


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a session is opened, as the proxy says on its private socket; nobody else is believed."""

    user: str | None = None
    """An opaque key of the authenticated user."""
    catalogue: bool = False
    """The proxy's own session, on which it asks for lists and calls nothing."""
    key: str | None = None
    """Of requests of the 2026-07-28 era, which has no sessions: those with the same key come from one client."""
    anonymous: bool = False
    """Over TCP, without a signature: it may ask for lists as the catalogue does, and call nothing."""
    token: CallerToken | None = None
    """Of the user, for the process."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session and the answer to its `initialize`."""

    session: Session
    response: Message


@dataclass(frozen=True, slots=True)
class Refused:
    """No session: the JSON-RPC error, and the HTTP status and `Retry-After` that go with it."""

    response: Message
    status: int = 200
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What `/readyz` and `/status` say of the server. Holds no argument and no environment of the command."""

    state: State
    ready: bool
    processes: int = 0
    restarts: int = 0
    pid: int | None = None
    exit_code: int | None = None
    last_error: str | None = None
    uptime: float | None = None
    """Seconds for which the process has been ready; None where none is, or several are."""
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state.value,
            "ready": self.ready,
            "restarts": self.restarts,
            "pid": self.pid,
            "exitCode": self.exit_code,
            "lastError": self.last_error,
            "uptimeSeconds": None if self.uptime is None else round(self.uptime, 3),
            **self.details,
        }


class Hub(ABC):
    """HTTP sessions on one side, server processes on the other."""

    def __init__(self, settings: Settings, metrics: Metrics, log: ServerLog | None = None) -> None:
        self.settings = settings
        self.metrics = metrics
        self.started_at = time.time()
        self.retiring = False
        """Each answer closes its connection, so that clients come to know another replica."""
        self.draining = False
        self.sessions: dict[str, Session] = {}
        self.on_end: Callable[[Session], None] | None = None
        """Told of each session that has ended."""
        self._in_flight = 0
        self._standing: set[Call] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.log = log or ServerLog(partial(_print, settings.name))
        environment = settings.environment
        if environment is None:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("MCP_BRIDGE_")}
        self._spec = ProcessSpec(
            command=settings.command,
            name=settings.name,
            environment=environment,
            cwd=settings.cwd,
            redact=redactor(environment, settings.secrets),
            log=self.log,
            watched=settings.watched,
            max_line=settings.max_line,
            stop_grace=settings.stop_grace,
            pipes=settings.pipes,
        )
        if settings.own_dir is not None:
            self._spec = with_own_dir(self._spec, settings.own_dir)

    @abstractmethod
    async def run(self) -> None:
        """Until `stop`; then no process is left."""

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def restart(self) -> None:
        """End what runs and start it anew at once, whatever had failed before."""

    @abstractmethod
    def health(self) -> Health: ...

    @property
    @abstractmethod
    def known(self) -> Message | None:
        """What the server said of itself when it was started last, in its era's words; None before."""

    @abstractmethod
    async def open(self, message: Message, caller: Caller) -> Opened | Refused:
        """Answer `initialize`."""

    @abstractmethod
    async def exchange(self, call: Call, caller: Caller) -> None:
        """Take a request of the 2026-07-28 era to the server. Whatever happens, the call gets an answer."""

    def leave(self, key: str) -> None:  # noqa: B027 - most have nothing that belongs to a key
        """Who gave this key in `Caller` has gone."""

    def equip(self, caller: Caller) -> None:  # noqa: B027 - most have no process of a user's own
        """Give the user's process the token that came with a request, where it is another one."""

    async def dismiss(self, user: str) -> bool:  # noqa: ARG002 - most have no process of a user's own
        """The user is gone: end the user's process after its calls. Whether there was one."""
        return False

    @abstractmethod
    async def submit(self, session: Session, call: Call) -> None:
        """Take a request to the server. Whatever happens, the call gets an answer."""

    @abstractmethod
    async def notify(self, session: Session, message: Message) -> None:
        """A notification of the client, other than `notifications/cancelled`."""

    @abstractmethod
    async def respond(self, session: Session, message: Message) -> None:
        """The client's answer to a request of the server."""

    @abstractmethod
    async def _release(self, session: Session) -> None:
        """Give back what a session that has ended held."""

    async def end(self, session: Session, reason: str) -> None:
        """End a session: its streams close, its calls fail, its id is unknown from now on."""
        if self.sessions.pop(session.id, None) is None:
            return
        self.metrics.sessions.set(len(self.sessions))
        for call in session.end():
            call.cancel(reason, reason)
        if self.on_end is not None:
            self.on_end(session)
        await self._release(session)

    @contextmanager
    def standing(self, call: Call) -> Iterator[None]:
        """Around the whole of a `subscriptions/listen`, which nobody waits for at the end."""
        self._standing.add(call)
        try:
            yield
        finally:
            self._standing.discard(call)
            if call.outcome == "abandoned":
                call.cancel("the client has gone")
            if call.on_end is not None:
                call.on_end()
            self.metrics.dropped.inc(call.outbox.dropped)

    @contextmanager
    def serving(self, session: Session | None, call: Call) -> Iterator[None]:
        """Around the whole of a call: it can be found, is counted, and is given up when it ends without an answer."""
        self._in_flight += 1
        self._quiet.clear()
        self.metrics.in_flight.set(self._in_flight)
        try:
            with session.calling(call) if session is not None else nullcontext():
                yield
        finally:
            if call.outcome == "abandoned":
                call.cancel("the client has gone")
            if call.on_end is not None:
                call.on_end()
            self.metrics.calls.labels(call.outcome).inc()
            self.metrics.dropped.inc(call.outbox.dropped)
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)
            if not self._in_flight:
                self._quiet.set()

    @property
    def busy(self) -> bool:
        """Whether a call is in flight."""
        return self._in_flight > 0

    async def quiet(self) -> None:
        """Until no call is in flight."""
        await self._quiet.wait()

    def retire(self) -> None:
        """Clients are to move elsewhere with their next request: streams that never end do so now."""
        self.retiring = True
        self._end_streams()

    def drain(self) -> None:
        """No new sessions, and no streams that never end."""
        self.retiring = self.draining = True
        self._end_streams()

    def _end_streams(self) -> None:
        for session in self.sessions.values():
            session.close_streams()
        for call in list(self._standing):
            call.succeed(modern.closed(call.id))

    async def sweep(self) -> None:
        """End idle sessions, for ever."""
        timeouts = [seconds for seconds in (self.settings.idle_timeout, self.settings.process_idle) if seconds]
        while timeouts:
            await asyncio.sleep(min(min(timeouts) / 4, 30.0))
            for session in [session for session in self.sessions.values() if self._is_idle(session)]:
                await self.end(session, "the session was idle for too long")

    def _is_idle(self, session: Session) -> bool:
        return 0 < self.settings.idle_timeout <= session.idle_seconds()

    def _admit(self, session: Session) -> None:
        self.sessions[session.id] = session
        self.metrics.sessions.set(len(self.sessions))

    def _full(self, message: Message, taken: int) -> Refused | None:
        limit = self.settings.max_sessions
        if taken < limit:
            return None
        self.metrics.refused.inc()
        return Refused(too_many(self.settings.name, message, "sessions", limit), 503, retry_after=5.0)

    @staticmethod
    def _unavailable(message: Message, error: Unavailable) -> Refused:
        return Refused(unavailable(message, error), 503, retry_after=error.retry_after)


def longest_idle(idle: Mapping[Holder, float], least: float) -> Holder | None:
    """Who has been idle for longest, at least for `least` seconds; never one that is at work (0 seconds)."""
    longest = max(idle, key=idle.__getitem__, default=None)
    return None if longest is None or idle[longest] < least or not idle[longest] else longest


def too_many(name: str, message: Message, what: str, limit: int) -> Message:
    """The JSON-RPC error where a limit is reached."""
    text = f"MCP server {name} has its limit of {limit} {what}; end one or try again later"
    data = {"reason": f"TooMany{what.capitalize()}", "limit": limit}
    return jsonrpc.error(message["id"], jsonrpc.TOO_MANY_SESSIONS, text, data)


def nobody(name: str, message: Message) -> Message:
    """The JSON-RPC error for a call of which is not known whose it is."""
    text = f"MCP server {name} has a process for each user, and this caller is not authenticated"
    return jsonrpc.error(message["id"], jsonrpc.INVALID_REQUEST, text, {"reason": "NoUser"})


def no_token(name: str, message: Message) -> Message:
    """The JSON-RPC error for a call of a user without the token that the process needs."""
    text = f"MCP server {name} runs with the token of each user, and none came with this request"
    return jsonrpc.error(message["id"], jsonrpc.INVALID_REQUEST, text, {"reason": "NoCredential"})


def backoff_of(settings: Settings) -> Backoff:
    return Backoff(
        settings.backoff_first,
        settings.backoff_max,
        limit=max(1, settings.max_restarts),
        cool_down=settings.cool_down,
        settled=settings.settled,
    )


def _print(name: str, text: str) -> None:
    print(f"[{name}] {text}", file=sys.stderr, flush=True)


def unavailable(message: Message, error: Unavailable) -> Message:
    """The JSON-RPC error for a request that did not reach the server."""
    data = {"reason": "ServerUnavailable", "state": error.state.value, "exitCode": error.exit_code}
    return jsonrpc.error(message["id"], jsonrpc.SERVER_UNAVAILABLE, str(error), data)
