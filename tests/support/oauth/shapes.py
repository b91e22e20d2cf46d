"""How providers differ: their paths, and what they do with refresh tokens."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Shape:
    """Paths beneath the server's address; `issuer` is the issuer's own."""

    issuer: str = ""
    authorize: str = "/authorize"
    token: str = "/token"
    jwks: str = "/jwks"
    register: str | None = "/register"
    revoke: str | None = "/revoke"
    rfc8414: bool = True
    """Metadata as RFC 8414 has it, beside those of OpenID Connect Discovery."""
    says_iss: bool = True
    """RFC 9207."""
    rotates: bool = True
    """A refresh token is good once, and its second use ends all that came of it (RFC 9700, section 4.14)."""
    renews_refresh_token: bool = True
    """A refresh is answered with another refresh token."""


GENERIC: Final = Shape()
AZURE: Final = Shape(
    issuer="/contoso.example/v2.0",
    authorize="/contoso.example/oauth2/v2.0/authorize",
    token="/contoso.example/oauth2/v2.0/token",
    jwks="/contoso.example/discovery/v2.0/keys",
    register=None,
    revoke=None,
    rfc8414=False,
    says_iss=False,
    rotates=False,
)
COGNITO: Final = Shape(
    issuer="/eu-central-1_Pool",
    authorize="/oauth2/authorize",
    token="/oauth2/token",
    jwks="/eu-central-1_Pool/.well-known/jwks.json",
    register=None,
    revoke="/oauth2/revoke",
    rfc8414=False,
    says_iss=False,
    rotates=False,
    renews_refresh_token=False,
)
GOOGLE: Final = Shape(
    authorize="/o/oauth2/v2/auth",
    jwks="/oauth2/v3/certs",
    register=None,
    rfc8414=False,
    says_iss=False,
    rotates=False,
    renews_refresh_token=False,
)
