"""A server that the proxy runs itself: the bridge in the proxy's own process, served on a private unix socket.

host = StdioHost("default/time", stdio, env={})
socket = await host.start()      # streamable HTTP at http://localhost/mcp over this socket
host.report().state              # "ready"
await host.stop()                # no process is left
"""

import asyncio
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from mcp_types import DiscoverResult

from mcp_operator_proxy.backends.connect import Era
from mcp_operator_proxy.bridge.handshake import for_clients
from mcp_operator_proxy.bridge.hub import Health
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.modern import is_discovery
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.stderr import LogLine, ServerLog, Throttle
from mcp_operator_proxy.bridge.supervisor import State
from mcp_operator_proxy.bridge.watched import watched
from mcp_operator_proxy.config import Stdio
from mcp_operator_proxy.report import ProcessReport

logger = logging.getLogger(__name__)

URL: Final = "http://localhost/mcp"
"""Where the server is behind its socket."""
CATALOGUE: Final = "for=catalogue"
"""Query of the URL on which the proxy opens its own session, in which it lists and calls nothing."""
INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""All that a process gets of the proxy's own environment, as the MCP SDKs have it."""
SETTLED_SECONDS: Final = 60.0
COOL_DOWN_SECONDS: Final = 300.0
SESSION_SECONDS: Final = 3600.0
"""The proxy ends its sessions itself; what it forgot, without a stream or a request, ends after this time."""
STOP_SECONDS: Final = 2.0
REPORTED_LINES: Final = 5
_SUN_PATH: Final = 107
"""Bytes of a unix socket's path, unix(7)."""


class OnEnd(Protocol):
    """Hears of a process of a server that ended by itself or hung: why, how many have so far, and whether it is given up for a while."""

    def __call__(self, server: str, error: str, restarts: int, *, gave_up: bool) -> None: ...


class StdioHost:
    """Made at any time, started in a running loop, stopped in the end.

    `env` are the variables of `stdio` with their values, and a credential.

    With `alone` all of it is one user's, and its processes have a folder of their own.

    `open_seconds` is how long a client waits for a process that is starting, `call_seconds` how long a call does.
    """

    def __init__(
        self,
        server_id: str,
        stdio: Stdio,
        env: Mapping[str, str],
        *,
        open_seconds: float = 5.0,
        call_seconds: float = 30.0,
        grace_seconds: float = STOP_SECONDS,
        on_end: OnEnd | None = None,
        alone: bool = False,
    ) -> None:
        self.id = server_id
        self._on_end = on_end
        self._alone = alone
        self._stdio = stdio
        self._env = dict(env)
        literal = {variable.name for variable in stdio.env if variable.secret is None}
        self.secrets = tuple(value for name, value in self._env.items() if name not in literal)
        self._times = open_seconds, call_seconds, grace_seconds
        self._log = ServerLog(Throttle(partial(_show, server_id)))
        self._folder: Path | None = None
        self._bridge: Bridge | None = None
        self._serving: asyncio.Task[None] | None = None
        self._said: Message | None = None
        self._era: Era | None = None

    @property
    def socket(self) -> str | None:
        """The path of the socket, while it is served."""
        return self._bridge.settings.uds if self._bridge else None

    async def start(self) -> str:
        """Serve it; returns the path of the socket. Whether the process itself starts is for `report` to say.

        Raises:
            OSError: there is no folder for the socket.
        """
        if self._bridge is None:
            self._folder = _private_folder()
            try:
                self._bridge = Bridge(self._settings(self._folder), self._log)
            except BaseException:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
            watched().join()
            watched().add(str(self._folder.resolve()))
            self._serving = asyncio.get_running_loop().create_task(self._bridge.serve(), name=f"stdio {self.id}")
        assert self._bridge.settings.uds is not None
        return self._bridge.settings.uds

    async def stop(self) -> None:
        """End all its processes in order: stdin closed, then SIGTERM, then SIGKILL to the whole group."""
        if self._bridge is None or self._serving is None:
            return
        self._bridge.stop()
        await asyncio.wait([self._serving])
        if not self._serving.cancelled() and (error := self._serving.exception()) is not None:
            logger.error("stdio host failed", extra={"server": self.id, "error": type(error).__name__})
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            watched().remove(str(self._folder.resolve()))
            self._folder = None
            await watched().leave()

    def restart(self) -> None:
        """End its processes and start anew at once; lifts a crash loop. Calls in flight fail."""
        if self._bridge is not None:
            self._bridge.hub.restart()

    @property
    def era(self) -> Era | None:
        """What the process speaks; None before it has been asked for the first time."""
        known = self._bridge.hub.known if self._bridge else None
        if known is not self._said:
            self._said = known
            self._era = None if known is None else _era_of(known)
        return self._era

    def leave(self, key: str) -> None:
        """Who gave this key has gone: a process of its own ends."""
        if self._bridge is not None:
            self._bridge.hub.leave(key)

    def report(self) -> ProcessReport:
        """How its processes are. No text of it holds a value that came from a secret."""
        health = self._bridge.hub.health() if self._bridge else Health(state=State.STOPPED, ready=False)
        if self._serving is not None and self._serving.done():
            health = Health(state=State.STOPPED, ready=False, restarts=health.restarts, last_error=health.last_error)
        return ProcessReport(
            state=health.state.value,
            pid=health.pid,
            processes=health.processes,
            restarts=health.restarts,
            uptime_seconds=health.uptime,
            exit_code=health.exit_code,
            last_error=health.last_error,
            stderr=tuple(line.text[:300] for line in self.logs(REPORTED_LINES)),
        )

    def logs(self, lines: int = 100) -> list[LogLine]:
        """The newest lines of standard error, oldest first, redacted; at most 1,000 lines and 256 KiB are kept."""
        return self._log.tail(lines)

    def _ended(self, error: str, restarts: int, gave_up: bool) -> None:
        if self._on_end is not None:
            self._on_end(self.id, error, restarts, gave_up=gave_up)

    def _settings(self, folder: Path) -> Settings:
        stdio, own = self._stdio, folder / "own"
        own.mkdir(mode=0o700)
        open_seconds, call_seconds, grace_seconds = self._times
        return Settings(
            command=(stdio.command, *stdio.args),
            name=self.id,
            cwd=stdio.cwd,
            environment=environment(os.environ, self._env),
            secrets=self.secrets,
            uds=str(folder / "s"),
            own_dir=str(own) if self._alone else None,
            own_dirs=str(own),
            isolation=stdio.isolation,
            max_sessions=1_000_000,  # the proxy has its own limit
            max_processes=stdio.max_processes,
            idle_timeout=SESSION_SECONDS,
            open_timeout=max(0.1, open_seconds * 0.8),  # so that its words come before the client gives up
            wait_timeout=call_seconds,
            drain_timeout=1.0,
            stop_grace=grace_seconds,
            max_restarts=stdio.max_restarts,
            settled=SETTLED_SECONDS,
            cool_down=COOL_DOWN_SECONDS,
            ping=stdio.ping_seconds,
            lazy=stdio.start == "lazy",
            process_idle=stdio.idle_seconds,
            preflight=False,
            watched=watched(),
            on_end=self._ended,
            spare=stdio.start == "eager",
        )


def on_behalf_of(owner: str | None) -> str:
    """Query of the URL on which a session is opened for a user; the bridge learns no name."""
    return "" if owner is None else f"user={key_of_owner(owner)}"


def key_of_owner(owner: str) -> str:
    """What stands for a user at a bridge."""
    return hashlib.sha256(owner.encode()).hexdigest()[:32]


def _era_of(known: Message) -> Era:
    return DiscoverResult.model_validate(for_clients(known), by_name=False) if is_discovery(known) else "legacy"


def environment(own: Mapping[str, str], configured: Mapping[str, str]) -> dict[str, str]:
    """All that a process sees: six variables of the proxy's `own`, and what is configured for it."""
    return {**{name: own[name] for name in INHERITED if name in own}, **configured}


def _private_folder() -> Path:
    """A new folder of mode 0700 whose path leaves room for a socket's name. Raises OSError."""
    for parent in (tempfile.gettempdir(), "/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes a private folder in it
        if len(os.fsencode(parent)) + 24 > _SUN_PATH or not os.access(parent, os.W_OK | os.X_OK):
            continue
        return Path(tempfile.mkdtemp(prefix="mcp-", dir=parent))
    raise OSError("no folder for the socket of a stdio server: TMPDIR is not writable, or its path is too long")


def _show(server_id: str, text: str) -> None:
    logger.info(text, extra={"server": server_id, "stream": "stderr"})
