"""The `requestState` that clients get: opaque, sealed, and of use to nobody else and for no other request. Pure.

A call that is parked here has a state of the proxy; the state of a modern server is wrapped, as the server cannot tell the
proxy's callers apart. It is `mo1.` and a token of the SDK's codec (AES-256-GCM, key by HKDF), made with keys that come from
those of session ids. So replicas with one key read each other's states, and find in them who holds a call. The spec
(SEP-2322) wants a state to be verified as what an attacker may have sent.

The SDK's own boundary is not used: it knows its callers by OAuth tokens, and its keys end with the process.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.sessions.ids import Keys

_PREFIX: Final = "mo1."
_LABEL: Final = b"mcp-operator request state\0"
MAX_LENGTH: Final = 1024 * 1024
SERVER_SECONDS: Final = 3600.0
"""How long the state of a server may be used."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a state says."""

    binding: str
    """Digest of the request that it belongs to, see `binding_of`."""
    expires: float
    """Seconds since the epoch."""
    call: str = ""
    """Names the parked call. Without it and `inner` nothing runs, and the request is sent anew (after error -32042)."""
    round: int = 0
    """How often that call has asked. Each state goes with one round."""
    instance: str = ""
    """Names the process that holds the call."""
    owner: str = ""
    """`host:port` of that process's internal listener; empty where it has none."""
    inner: str | None = None
    """The state of a server behind the proxy."""


class States:
    """Makes and reads states with the keys that `keys` returns at that moment."""

    def __init__(self, keys: Callable[[], Keys]) -> None:
        self._keys = keys
        self._made: tuple[Keys, AESGCMRequestStateCodec] | None = None

    def seal(self, claims: Claims) -> str:
        fields = [
            claims.binding,
            claims.expires,
            claims.call,
            claims.round,
            claims.instance,
            claims.owner,
            claims.inner,
        ]
        return _PREFIX + self._codec().seal(json.dumps(fields, separators=(",", ":")).encode())

    def wrapped(self, result: dict[str, Any], binding: str) -> dict[str, Any]:
        """A server's result; the state of an `InputRequiredResult` is sealed."""
        inner = result.get("requestState")
        if result.get("resultType") != "input_required" or not isinstance(inner, str):
            return result
        claims = Claims(binding, time.time() + SERVER_SECONDS, inner=inner)
        return {**result, "requestState": self.seal(claims)}

    def open(self, state: object, now: float) -> Claims | None:
        """What a state says, or None where it was not made with these keys, was altered or is too old."""
        if not isinstance(state, str) or not state.startswith(_PREFIX) or len(state) > MAX_LENGTH:
            return None
        try:
            claims = Claims(*json.loads(self._codec().unseal(state.removeprefix(_PREFIX))))
        except InvalidRequestState:
            return None
        return claims if now < claims.expires else None

    def _codec(self) -> AESGCMRequestStateCodec:
        keys = self._keys()
        if self._made is None or self._made[0] is not keys:
            self._made = keys, AESGCMRequestStateCodec(keys.derived(_LABEL))
        return self._made[1]


def binding_of(principal: Principal | None, route: str, method: str, params: Mapping[str, Any]) -> str:
    """A digest of who asks for what: caller, path of the route, method, name or URI as exposed, arguments."""
    said = [
        principal.key if principal else None,
        route,
        method,
        params.get("name"),
        params.get("uri"),
        params.get("arguments"),
    ]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
