"""The token of the user for whom a proxy calls, on its way to a bridge that starts the user's process with it.

    mcp-operator-credential: v1 SEALED

SEALED is AES-256-GCM (NIST SP 800-38D) in base64url, under a key of its own for each request: HKDF-SHA256 (RFC 5869) of the key that
signs `mcp-operator-caller`, with a salt that comes along. What is authenticated with it is the value of that other header, so it opens
for that user, in that request's time, and for nobody else.
"""

import base64
import binascii
import json
import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER: Final = "mcp-operator-credential"
_VERSION: Final = "v1"
_INFO: Final = b"mcp-operator-credential v1"
_SALT: Final = 32
_NONCE: Final = 12


class NotOpened(Exception):
    """The header holds no token for this caller. The text says why, and nothing of key and token."""


class CallerToken(NamedTuple):
    """A token, and since when (seconds since the epoch) its proxy has shown it: of two, the later one is right."""

    token: str
    since: float

    def __repr__(self) -> str:
        return "CallerToken()"


def sealed(key: str, caller: str, shown: CallerToken) -> str:
    """The header's value. `caller` is that of `mcp-operator-caller` in the same request."""
    salt = os.urandom(_SALT)
    cipher, nonce = _cipher(key, salt)
    text = json.dumps({"token": shown.token, "since": shown.since}).encode()
    return f"{_VERSION} {base64.urlsafe_b64encode(salt + cipher.encrypt(nonce, text, caller.encode())).decode()}"


def opened(key: str, caller: str, value: str) -> CallerToken:
    """What `sealed` was given. Whether `caller` is to be believed is not looked at here. Raises NotOpened."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only who is sent one pays for it

    version, _, text = value.partition(" ")
    if version != _VERSION:
        raise NotOpened("it has another form than this version's")
    try:
        held = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
        cipher, nonce = _cipher(key, held[:_SALT])
        found = json.loads(cipher.decrypt(nonce, held[_SALT:], caller.encode()))
        return CallerToken(str(found["token"]), float(found["since"]))
    except (InvalidTag, binascii.Error, ValueError, KeyError, TypeError):
        raise NotOpened("it is not made with this server's key, or not for this request's user") from None


def _cipher(key: str, salt: bytes) -> "tuple[AESGCM, bytes]":
    """For one message, and its nonce."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - as above

    derived = HKDF(SHA256(), 32 + _NONCE, salt, _INFO).derive(key.encode())
    return AESGCM(derived[:32]), derived[32:]
