"""Who calls: API keys, compared by their digests, and tokens that `authn` has verified before.

Pure, and cheap enough to run before every call of the fast lane.
"""

import hashlib
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from starlette.types import Scope

REALM: Final = b'Bearer realm="mcp-operator-proxy"'
PRINCIPAL: Final = "mcp_operator_proxy.principal"
"""Key of the caller in an ASGI scope: a `Principal`, or None where everybody may call."""
CALLER: Final[ContextVar["Principal | None"]] = ContextVar("caller", default=None)
"""Of the request that is being answered, for what a library calls without saying for whom."""
_DIGEST: Final = re.compile(r"^sha256:([0-9a-f]{64})$")
_BEARER: Final = b"bearer "


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. Sessions, caches and processes that belong to one are never shown to another.

    Two are the same when issuer and name are: one name of two issuers is two callers.
    """

    name: str
    """As it stands in logs: the API key's, or the claim of a token that names the caller."""
    issuer: str = ""
    """Of the token, as the configuration names it; empty for an API key."""
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Of the token, verified; empty for an API key."""
    expires: float | None = field(default=None, compare=False)
    """From when on the token is not good any more, in seconds since the epoch, with the leeway that the configuration gives;
    None for what does not end by itself."""
    token: str | None = field(default=None, compare=False, repr=False)
    """The token itself, for exchange alone: no backend is ever shown it."""

    @property
    def key(self) -> str:
        """Tells callers apart, in the names of stored values and processes."""
        return f"{self.issuer}/{self.name}" if self.issuer else self.name


class BadKey(Exception):
    """A key that cannot be used; the message does not hold it."""


class KnownTokens(Protocol):
    """Tokens of issuers; see `authn.issuers.Tokens`."""

    def known(self, token: bytes) -> Principal | None:
        """Whose it is, where it was verified before and has not expired."""
        ...

    async def verified(self, token: bytes) -> Principal:
        """Whose it is. Raises `authn.tokens.TokenRefused` and `authn.issuers.KeysUnavailable`."""
        ...


class Authenticator:
    """`keys` maps the principal's name to its key, or to `sha256:` and the digest of it. Raises BadKey.

    `anonymous`: who shows nothing may call too, as nobody.
    """

    def __init__(self, keys: Mapping[str, str], *, anonymous: bool = False) -> None:
        self.anonymous = anonymous
        self.tokens: KnownTokens | None = None
        """Of the issuers, while there are some; set when the configuration comes into use."""
        self._by_digest: dict[bytes, Principal] = {}
        self._seen: dict[bytes, Principal] = {}
        """Keys that were right; looked up before they are digested again."""
        for name, key in keys.items():
            digest = _digest_of(name, key)
            if digest in self._by_digest:
                raise BadKey(f"the keys of {self._by_digest[digest].name} and {name} are the same")
            self._by_digest[digest] = Principal(name)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Authenticator)
            and self._by_digest == other._by_digest
            and self.anonymous == other.anonymous
        )

    __hash__ = None  # type: ignore[assignment]

    def authenticate(self, authorization: bytes | None, api_key: bytes | None) -> Principal | None:
        """The caller by its headers, or None where they hold no known key, and no token that was verified before.

        Keys are looked up by their SHA-256, so the time taken tells nothing of how much of a key was right.
        """
        shown = shown_by(authorization, api_key)
        if shown is None:
            return None
        found = self._seen.get(shown)
        if found is not None:
            return found
        if (found := self._by_digest.get(hashlib.sha256(shown).digest())) is not None:
            self._seen[shown] = found
        elif self.tokens is not None and api_key is None:
            found = self.tokens.known(shown)
        return found

    def lets_in(self, authorization: bytes | None, api_key: bytes | None) -> bool:
        """Whether a request with these headers may be made by nobody."""
        return self.anonymous and authorization is None and api_key is None


def shown_by(authorization: bytes | None, api_key: bytes | None) -> bytes | None:
    """The key or token that a request shows; None where it shows none."""
    if api_key is None and authorization is not None and authorization[:7].lower() == _BEARER:
        return authorization[7:].strip()
    return api_key


def _digest_of(name: str, key: str) -> bytes:
    if match := _DIGEST.match(key):
        return bytes.fromhex(match[1])
    if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
        raise BadKey(f"the key of {name} must be at least 16 printable ASCII characters without spaces")
    return hashlib.sha256(key.encode()).digest()


def credentials(scope: Scope) -> tuple[bytes | None, bytes | None]:
    """The `Authorization` and `X-API-Key` headers of an ASGI request."""
    authorization = api_key = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"x-api-key":
            api_key = value
    return authorization, api_key


def same_owner(one: Principal | None, other: Principal | None) -> bool:
    """Whether what one of them made may be used by the other."""
    return one is other or one == other
