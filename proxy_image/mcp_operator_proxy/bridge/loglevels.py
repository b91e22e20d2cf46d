"""`logging/setLevel` for many sessions on one server (pure). Levels: RFC 5424, as MCP 2025-11-25 "Logging" lists them."""

from collections.abc import Iterable
from typing import Final

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def is_level(value: object) -> bool:
    return isinstance(value, str) and value in LEVELS


def most_verbose(levels: Iterable[str | None]) -> str | None:
    """The level the server must have so that every session gets what it asked for; None where none asked."""
    asked = [level for level in levels if level is not None]
    return min(asked, key=LEVELS.index) if asked else None


def wants(session_level: str | None, message_level: object) -> bool:
    """Whether a session gets a log message. One that never set a level gets none: it may be another session's."""
    if session_level is None:
        return False
    return not is_level(message_level) or LEVELS.index(str(message_level)) >= LEVELS.index(session_level)
