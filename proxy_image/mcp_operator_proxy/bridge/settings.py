"""What one bridge is told to do."""

from dataclasses import dataclass
from typing import Final, Literal

Isolation = Literal["shared", "session"]

SHARED_SESSIONS: Final = 1000
OWN_PROCESS_SESSIONS: Final = 32
"""The default limits: of sessions that share a process, and of those that have one each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All times are in seconds, all sizes in bytes."""

    command: tuple[str, ...]
    name: str
    host: str = "0.0.0.0"  # noqa: S104 - a pod's Service reaches it only so
    port: int = 8080
    path: str = "/mcp"
    isolation: Isolation = "shared"
    max_sessions: int = SHARED_SESSIONS
    idle_timeout: float = 1800.0
    """A session without any request or stream for this long ends; 0 never."""
    startup_timeout: float = 120.0
    """From the start of the process to its answer to `initialize`; `uvx` and `npx` may install a package in it."""
    wait_timeout: float = 10.0
    """How long a request waits for a server that is starting."""
    drain_timeout: float = 5.0
    """On SIGTERM: how long calls in flight may go on."""
    stop_grace: float = 2.0
    """After closing stdin, and again after SIGTERM."""
    backoff_first: float = 0.5
    backoff_max: float = 30.0
    max_line: int = 64 * 2**20
    max_body: int = 16 * 2**20
    keep_alive: float = 15.0
    """Silence after which a stream carries a comment, so that nothing between closes it."""
    preflight: bool = True
    """Isolation `session`: start the server once for a try, so that readiness says whether it works."""
    allowed_origins: tuple[str, ...] = ()
