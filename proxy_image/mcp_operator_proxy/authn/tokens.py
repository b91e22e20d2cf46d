"""Signed tokens of issuers (RFC 7519, RFC 8725, RFC 9068): what they say, and whether to believe it. Pure.

What a token says of itself is looked at before anything is computed: nobody makes the proxy verify what no issuer of the
configuration can have made.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import JwtIssuer

if TYPE_CHECKING:
    from joserfc.jwk import Key

MAX_TOKEN: Final = 16 * 1024
"""Characters of a token."""
MAX_NAME: Final = 255
_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class TokenRefused(Exception):
    """The token does not let its bearer in; the message says why, for the bearer, and holds nothing of the token."""


class InsufficientScope(TokenRefused):
    """It is a good token, of somebody who may not call: RFC 6750, section 3.1."""


class UnknownKey(Exception):
    """No key of those at hand can have signed it."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What a token says of itself, unverified."""

    issuer: str
    algorithm: str
    key_id: str | None


def glance(token: bytes) -> Glance | None:
    """None for what is no signed token (RFC 7515, compact serialization)."""
    if len(token) > MAX_TOKEN or token.count(b".") != 2 or not token.isascii():
        return None
    header, payload, _ = token.split(b".")
    head, claims = _object(header), _object(payload)
    if head is None or claims is None or "crit" in head:
        return None
    issuer, algorithm, key_id = claims.get("iss"), head.get("alg"), head.get("kid")
    if not isinstance(issuer, str) or not isinstance(algorithm, str) or not isinstance(key_id, str | None):
        return None
    return Glance(issuer, algorithm, key_id)


def _object(part: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def verify(token: bytes, seen: Glance, issuer: JwtIssuer, keys: Iterable["Key"], now: float) -> Principal:
    """Whom `issuer` says that the token is of, at `now` (seconds since the epoch).

    Raises:
        UnknownKey: none of `keys` is the one that the token names.
        TokenRefused: the token is not good, or not for this proxy.
        InsufficientScope: it lacks a required scope.
    """
    if seen.algorithm not in issuer.algorithms:
        raise TokenRefused("the token is signed by an algorithm that is not accepted")
    candidates = [key for key in keys if _may_have_signed(key, seen)]
    if not candidates:
        raise UnknownKey
    claims = _signed_claims(token.decode("ascii"), candidates, seen.algorithm)
    expires = _check_times(claims, issuer.leeway_seconds, now)
    if claims.get("iss") != issuer.issuer:
        raise TokenRefused("the token is of another issuer")
    audience = claims.get("aud")
    if not set(issuer.audiences).intersection([audience] if isinstance(audience, str) else _strings(audience)):
        raise TokenRefused("the token is for another audience")
    name = claims.get(issuer.name_claim)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise TokenRefused(f"the token does not name its caller: its claim {issuer.name_claim} is no fitting text")
    if set(issuer.required_scopes) - scopes_of(claims):
        raise InsufficientScope("the token lacks a scope that is needed")
    return Principal(name, issuer.name, claims, expires, token.decode("ascii"))


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """Of `scope` (RFC 8693, section 4.2) and `scp`: a text with spaces between them, or a list."""
    found: set[str] = set()
    for claim in ("scope", "scp"):
        value = claims.get(claim)
        found.update(value.split() if isinstance(value, str) else _strings(value))
    return frozenset(found)


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _may_have_signed(key: "Key", seen: Glance) -> bool:
    """RFC 7517, section 4: by type, use, operations, algorithm and id. A token without an id may be of any key."""
    said = key.as_dict(private=False)
    operations = said.get("key_ops")
    return (
        key.key_type == _KEY_TYPES.get(seen.algorithm[:2])
        and said.get("use", "sig") == "sig"
        and (operations is None or "verify" in operations)
        and said.get("alg", seen.algorithm) in (seen.algorithm, "Ed25519")
        and (seen.key_id is None or said.get("kid") == seen.key_id)
    )


def _signed_claims(token: str, keys: Sequence["Key"], algorithm: str) -> Mapping[str, Any]:
    from joserfc import jwt  # noqa: PLC0415 - an extra, and only who has issuers pays for it
    from joserfc.errors import JoseError  # noqa: PLC0415 - as above

    from mcp_operator_proxy.authn.algorithms import only  # noqa: PLC0415 - as above

    for key in keys:
        try:
            return jwt.decode(token, key, registry=only(algorithm)).claims
        except (JoseError, ValueError):  # another key may fit
            continue
    raise TokenRefused("the signature of the token is wrong")


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> float:
    """Until when the token is good, the leeway included."""
    expires, begins = claims.get("exp"), claims.get("nbf")
    if not _is_time(expires):
        raise TokenRefused("the token does not say when it expires")
    if expires + leeway <= now:
        raise TokenRefused("the token has expired")
    if begins is not None and (not _is_time(begins) or begins - leeway > now):
        raise TokenRefused("the token is not good yet")
    return float(expires + leeway)


def _is_time(value: Any) -> TypeGuard[int | float]:
    """RFC 7519, section 2: NumericDate."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e15
