"""What is known of a user's session, as it is kept and shown. Pure."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Self

Why = Literal["ended", "idle", "expired", "replaced", "lost"]
"""How a session ended: on request, by idleness, by its age, by a new one of that user, with the store that held it."""
PREFIX: Final = "session:"


@dataclass(frozen=True, slots=True)
class UserSessionRecord:
    """A session of a user. Times are in seconds since the epoch. No credential is in it."""

    user_id: str
    servers: tuple[str, ...]
    """Ids, as whoever began it named them."""
    provider: str | None
    created_at: float
    last_activity: float
    expires_at: float
    """When it ends at the latest."""
    digest: str
    """Names the session; nothing follows from it."""
    session_id: str | None = field(default=None, repr=False)
    """The proof that one may use it; known only to whoever began it, and to whoever shows it."""

    def seconds_left(self, idle_seconds: float, now: float) -> float:
        """Until it ends, if nothing is called any more; not positive where it has."""
        return min(self.expires_at - now, self.last_activity + idle_seconds - now)

    def used(self, now: float) -> Self:
        return replace(self, last_activity=max(now, self.last_activity))

    def with_id(self, session_id: str) -> Self:
        return replace(self, session_id=session_id)

    def to_bytes(self) -> bytes:
        """As the store keeps it: without the id."""
        return json.dumps(
            {
                "user_id": self.user_id,
                "servers": list(self.servers),
                "provider": self.provider,
                "created_at": self.created_at,
                "last_activity": self.last_activity,
                "expires_at": self.expires_at,
                "digest": self.digest,
            }
        ).encode()

    @classmethod
    def from_bytes(cls, value: bytes, user: str) -> Self | None:
        """None where it is damaged, or another user's."""
        try:
            data: dict[str, Any] = json.loads(value)
            found = cls(**{**data, "servers": tuple(data["servers"])})
        except (ValueError, TypeError, KeyError):
            return None
        return found if found.user_id == user else None


def digest_of(session_id: str) -> str:
    """Under which name a session is kept: who reads the stores learns no id."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def key_of(user: str) -> str:
    """In the key-value store."""
    return PREFIX + user
