"""A token, and the record of one. Pure; neither shows what is secret in its repr."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

NAME_MOST: Final = 255
"""Characters of a user's and an issuer's name in the records."""
SERVER: Final = "server:"


class CredentialProblem(Exception):
    """There is no token for a call. The text says what to do and holds nothing secret.

    `sign_in_url` is where a person can mend it; None where no such address is known.
    """

    def __init__(self, message: str, sign_in_url: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.sign_in_url = sign_in_url


@dataclass(frozen=True, slots=True)
class Token:
    """An answer of a token endpoint (RFC 6749, section 5.1). `expires_at` is in seconds since the epoch; None: it is not known."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()
    id_token: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the way in which it was obtained needs to renew it: the token endpoint and the client, of a registered one."""

    def good_for(self, seconds: float, now: float) -> bool:
        """Whether it will not have ended within `seconds`."""
        return self.expires_at is None or self.expires_at - now > seconds

    def to_json(self) -> dict[str, Any]:
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "expires_at": self.expires_at,
            "scopes": list(self.scopes),
            "id_token": self.id_token,
            "extra": dict(self.extra),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "scopes": tuple(data["scopes"])})


@dataclass(frozen=True, slots=True)
class Stored:
    """A user's token as it is kept. `version` counts its writes."""

    user: str
    issuer: str
    token: Token
    version: int
    failures: int = 0
    problem: str | None = None
    """Why the user has to sign in again; None while it works."""


def issuer_of(server: str) -> str:
    """Under which issuer a token is kept that was made for one server, by its id."""
    name = SERVER + server
    return name if len(name) <= NAME_MOST else f"{SERVER}sha256:{hashlib.sha256(server.encode()).hexdigest()}"
