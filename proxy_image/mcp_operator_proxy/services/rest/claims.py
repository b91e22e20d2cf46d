"""When a token that an application brought ends, as far as it says so itself. Pure."""

import base64
import binascii
import json


def expires_at(token: str) -> float | None:
    """`exp` of a JWT (RFC 7519, section 4.1.4), in seconds since the epoch; None of any other token.

    Nothing is verified: it only says when to ask for a new one.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    found = claims.get("exp") if isinstance(claims, dict) else None
    return (
        float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) and 0 < found < 1e11 else None
    )
