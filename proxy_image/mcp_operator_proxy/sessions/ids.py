"""Session ids that carry what another process needs to take a session up. Pure.

An id is `base64url(payload).base64url(HMAC-SHA256 of the payload's text)`: visible ASCII, as the transports section of
MCP wants, and hard to guess. The payload is deflated JSON; it is signed and not secret, so it names nobody: the caller
stands in it as a keyed digest.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from mcp_operator_proxy.auth import Principal

MAX_AGE_SECONDS: Final = 7 * 86400.0
MAX_LENGTH: Final = 2048
"""Characters of an id that is looked at."""
MIN_KEY: Final = 16
"""Bytes of a signing key."""
CLIENT_BYTES: Final = 640
"""What a client says of itself may take so much of an id; more is cut, the capabilities last."""
SKEW_SECONDS: Final = 300.0
"""Clocks of replicas may differ by this."""
CHANNEL: Final = "sse"
"""In place of a path: the id of a stream that nobody can take up. No path is written like this."""
_VERSION: Final = 1
_SIGNED: Final = b"mcp-operator session id\0"
_NAMED: Final = b"mcp-operator session principal\0"
# Deflate starts from what most ids have in common. A change of this text needs another `_VERSION`.
_COMMON: Final = (
    b'"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true},"tasks":{'
    b'"list":{},"cancel":{},"requests":{}},"experimental":{},"extensions":{},"127.0.0.1:808",":8081","2024-11-05",'
    b'"2025-03-26","2025-06-18","2025-11-25",{"clientInfo":{"name":"","title":"","version":"0.1.0"},"capabilities":{'
    b'[1,"","/mcp'
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What an id says."""

    instance: str
    """Names the process that made it: the same process holds the session, or has ended it."""
    nonce: str
    path: str
    owner: str
    """`host:port` of the internal listener of the process that made it; empty where it has none."""
    protocol_version: str
    client: Mapping[str, Any]
    """`clientInfo` and `capabilities` as the client sent them, perhaps shortened."""
    issued: float
    """Seconds since the epoch."""


class Keys:
    """Signing keys: the first signs, all verify. Never shown."""

    __slots__ = ("_keys",)

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        """Raises ValueError for a key that is too short, or none."""
        if not keys or any(len(key) < MIN_KEY for key in keys):
            raise ValueError(f"a signing key has at least {MIN_KEY} bytes")
        self._keys = keys

    @classmethod
    def random(cls) -> Self:
        return cls((secrets.token_bytes(32),))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and self._keys == other._keys

    __hash__ = None  # type: ignore[assignment]

    def seal(self, ticket: Ticket, principal: Principal | None) -> str:
        """The id of a session of `principal`."""
        key = self._keys[0]
        fields = [
            _VERSION,
            ticket.instance,
            ticket.nonce,
            ticket.path,
            ticket.owner,
            _name(key, ticket.nonce, principal),
            ticket.protocol_version,
            next(_shortened(ticket.client)),
            int(ticket.issued),
        ]
        packer = zlib.compressobj(9, wbits=-15, zdict=_COMMON)
        payload = _encode(packer.compress(_json(fields)) + packer.flush())
        return f"{payload}.{_sign(key, payload)}"

    def open(self, text: str, path: str, principal: Principal | None, now: float) -> Ticket | None:
        """What `text` says, or None where it is not an id of `principal`'s session on `path`, forged, altered or too old."""
        payload, dot, signature = text.partition(".")
        if not dot or len(text) > MAX_LENGTH or not text.isascii():
            return None
        for key in self._keys:
            if hmac.compare_digest(_sign(key, payload), signature):
                return _checked(key, _unpack(payload), path, principal, now)
        return None

    def derived(self, label: bytes) -> list[bytes]:
        """Keys of 32 bytes for another purpose, which `label` names, in the same order."""
        return [hmac.digest(key, label, hashlib.sha256) for key in self._keys]

    def prove(self, challenge: str) -> str:
        """Show knowledge of the signing key."""
        return _proof(self._keys[0], challenge)

    def proven(self, challenge: str, proof: str) -> bool:
        """Whether `proof` was made with one of these keys."""
        return proof.isascii() and any(hmac.compare_digest(_proof(key, challenge), proof) for key in self._keys)


def nonce() -> str:
    return _encode(secrets.token_bytes(12))


def _sign(key: bytes, payload: str) -> str:
    return _encode(hmac.digest(key, _SIGNED + payload.encode(), hashlib.sha256))


def _proof(key: bytes, challenge: str) -> str:
    return hmac.digest(key, b"mcp-operator peer\0" + challenge.encode(), hashlib.sha256).hex()


def _name(key: bytes, salt: str, principal: Principal | None) -> str:
    if principal is None:
        return ""
    return _encode(hmac.digest(key, _NAMED + salt.encode() + b"\0" + principal.key.encode(), hashlib.sha256)[:12])


def _checked(key: bytes, fields: Any, path: str, principal: Principal | None, now: float) -> Ticket | None:
    if not isinstance(fields, list) or len(fields) != 9 or fields[0] != _VERSION:
        return None  # signed by another version of the proxy
    _, instance, salt, own_path, owner, name, protocol_version, client, issued = fields
    if own_path != path or not hmac.compare_digest(name, _name(key, salt, principal)):
        return None
    if not now - MAX_AGE_SECONDS < issued < now + SKEW_SECONDS:
        return None
    return Ticket(instance, salt, own_path, owner, protocol_version, client, float(issued))


def _unpack(payload: str) -> Any:
    try:
        return json.loads(zlib.decompressobj(wbits=-15, zdict=_COMMON).decompress(_decode(payload), 64 * 1024))
    except (ValueError, binascii.Error, zlib.error):
        return None


def _shortened(client: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What of `client` fits, the fullest first. Capabilities decide what a server may ask, so they are kept longest."""
    info, capabilities = client.get("clientInfo") or {}, client.get("capabilities") or {}
    brief = {"name": str(info.get("name", ""))[:64], "version": str(info.get("version", ""))[:32]}
    known = {k: v for k, v in capabilities.items() if k in ("sampling", "elicitation", "roots", "tasks")}
    for one_info, some in (
        (info, capabilities),
        (brief, capabilities),
        (brief, known),
    ):
        made = {"clientInfo": one_info, "capabilities": some}
        if len(_json(made)) <= CLIENT_BYTES:
            yield made
    yield {"clientInfo": brief, "capabilities": {k: {} for k in known}}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
