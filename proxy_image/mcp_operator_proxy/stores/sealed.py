"""Values that are encrypted at rest, under several keys of which the first is used: so keys are rotated without a gap.

The cipher is Fernet (AES-128-CBC and HMAC-SHA256, https://github.com/fernet/spec). What is sealed for one purpose opens for no
other: a stored token that somebody copies to another user's record does not open there.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LEAST: Final = 32
"""Characters of a key."""
_INFO: Final = b"mcp-operator sealed values v1"


class BadKey(ValueError):
    """A key that cannot be used; the text does not hold it."""


class NotOpened(Exception):
    """It was sealed with a key that is not known any more, for another purpose, or is damaged."""


class Sealer:
    """`keys`: the first seals, all open. A Fernet key is taken as it is; from any other text one is derived (HKDF-SHA256).

    Raises:
        BadKey: there is none, or one is shorter than 32 characters.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise BadKey("there is no encryption key")
        self._fernet = MultiFernet([Fernet(_fernet_key(key, number)) for number, key in enumerate(keys)])
        self.current = hashlib.sha256(_fernet_key(keys[0], 0)).hexdigest()[:8]
        """Names the first key; nothing follows from it."""

    def seal(self, value: Any, purpose: str) -> bytes:
        """Encrypt what JSON can say."""
        return self._fernet.encrypt(json.dumps({"for": purpose, "value": value}).encode())

    def open(self, sealed: bytes, purpose: str) -> Any:
        """What was sealed for this purpose. Raises NotOpened."""
        try:
            found = json.loads(self._fernet.decrypt(sealed))
        except (InvalidToken, ValueError, TypeError):
            raise NotOpened("it does not open with the keys that are known") from None
        if not isinstance(found, dict) or found.get("for") != purpose:
            raise NotOpened("it was sealed for another purpose")
        return found.get("value")

    def renewed(self, sealed: bytes) -> bytes:
        """The same under the first key. Raises NotOpened."""
        try:
            return self._fernet.rotate(sealed)
        except InvalidToken:
            raise NotOpened("it does not open with the keys that are known") from None


def _fernet_key(key: str, number: int) -> bytes:
    text = key.strip()
    if len(text) < LEAST:
        raise BadKey(f"encryption key {number + 1} has fewer than {LEAST} characters")
    try:
        if len(base64.urlsafe_b64decode(text.encode())) == 32:
            return text.encode()
    except ValueError:
        pass
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_INFO).derive(text.encode())
    return base64.urlsafe_b64encode(derived)
