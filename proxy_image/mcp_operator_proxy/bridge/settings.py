"""What one bridge is told to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from mcp_operator_proxy.bridge.backoff import CRASH_LOOP

if TYPE_CHECKING:
    from mcp_operator_proxy.bridge.watched import Watched

Isolation = Literal["shared", "session", "user"]

SHARED_SESSIONS: Final = 1000
OWN_PROCESS_SESSIONS: Final = 32
"""The default limits: of sessions that share a process, and of those that have one each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All times are in seconds, all sizes in bytes."""

    command: tuple[str, ...]
    name: str
    cwd: str | None = None
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    """All that the command sees; None: the bridge's own environment."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values that are never shown, whatever the name of their variable."""
    uds: str | None = None
    """Path of a unix socket to listen on instead of `host` and `port`.

    Who may open it is trusted: it may say for which user a session is. Its folder must be private."""
    identity_key: str | None = field(default=None, repr=False)
    """Key that signs, over TCP, for which user a request is (isolation `user`). Who does not sign may list, and call nothing."""
    logs_key: str | None = field(default=None, repr=False)
    """Key that signs requests for the lines of standard error; None: nobody gets them over HTTP."""
    credential_env: str | None = None
    """Environment variable that holds the token of a user's process; with `identity_key` alone. It comes with the user's requests,
    encrypted, and without one there is no process, nor a list for all."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod's Service reaches it only so
    port: int = 8080
    path: str = "/mcp"
    pipes: str | None = None
    """Folder of the pipes to a server that runs in a container of its own, instead of `command`."""
    isolation: Isolation = "shared"
    max_sessions: int = SHARED_SESSIONS
    idle_timeout: float = 1800.0
    """A session without any request or stream for this long ends; 0 never."""
    startup_timeout: float = 120.0
    """From the start of the process to its answer to `initialize`; `uvx` and `npx` may install a package in it."""
    wait_timeout: float = 10.0
    """How long a request waits for a server that is starting."""
    open_timeout: float | None = None
    """How long an `initialize` does; None: as long as any request."""
    linger: float = 0.0
    """On SIGTERM: how long all is served on, each answer closing its connection, so that clients move elsewhere."""
    drain_timeout: float = 5.0
    """After that: how long calls in flight may go on."""
    stop_grace: float = 2.0
    """After closing stdin, and again after SIGTERM."""
    backoff_first: float = 0.5
    backoff_max: float = 30.0
    max_restarts: int = CRASH_LOOP
    """So many exits soon after the start, one after the other, are a crash loop."""
    settled: float | None = None
    """A server that has run for so long did not fail soon after its start; None: `backoff_max`."""
    cool_down: float = 0.0
    """In a crash loop: until the next start. 0: as long as before, at most `backoff_max`."""
    ping: float = 0.0
    """How often a process is pinged, and how long its answer may take before it is replaced. 0: never."""
    lazy: bool = False
    """Start the process when it is first needed, and end it when it is idle."""
    process_idle: float = 0.0
    """Without a call for so long a process ends that need not stay: a lazy one, a session's or a user's. 0: never."""
    max_processes: int = 0
    """At a time; 0: as many as `max_sessions`."""
    evict_idle: float = 30.0
    """When all processes are taken, one without a call for so long is ended for a newcomer."""
    own_dir: str | None = None
    """Folder of the process's own (`owndirs`), where it is one user's."""
    own_dirs: str | None = None
    """Where processes of users and sessions have folders of their own; None: in a temporary folder."""
    own_dirs_stay: bool = False
    """Whether those of users outlive them, and the bridge."""
    max_line: int = 64 * 2**20
    max_body: int = 16 * 2**20
    keep_alive: float = 15.0
    """Silence after which a stream carries a comment, so that nothing between closes it."""
    preflight: bool = True
    """Isolation `session`: start the server once for a try, so that readiness says whether it works."""
    spare: bool = False
    """Isolation `session`: have a process started for the session that comes next."""
    watched: "Watched | None" = field(default=None, repr=False, compare=False)
    """Who ends the processes when the proxy is killed; a bridge of its own has `guard` for that."""
    on_end: Callable[[str, int, bool], None] | None = field(default=None, repr=False, compare=False)
    """Called with each end of a process that nobody asked for: why, how many there were, and whether it is a crash loop."""
    allowed_origins: tuple[str, ...] = ()
