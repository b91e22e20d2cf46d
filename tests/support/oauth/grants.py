"""What a provider knows: clients, codes, tokens. Its grants, as the specifications have them."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from support.oauth.shapes import Shape

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"


class Refused(Exception):
    """RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status


@dataclass(frozen=True)
class Client:
    client_id: str
    secret: str | None
    redirect_uris: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grant:
    """What a user allowed a client."""

    user: str
    client: str
    scopes: tuple[str, ...]
    resource: str | None
    family: str
    redirect_uri: str = ""
    challenge: str = ""
    nonce: str | None = None


@dataclass
class Grants:
    """`issuer` is set once the address is known."""

    shape: Shape
    issuer: str = ""
    lifetime: int = 3600
    clients: dict[str, Client] = field(default_factory=dict)
    codes: dict[str, Grant] = field(default_factory=dict)
    refresh: dict[str, Grant] = field(default_factory=dict)
    spent: dict[str, Grant] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Families of tokens whose refresh token was used twice, and tokens that were revoked."""
    secrets: set[str] = field(default_factory=set)
    """All that was ever handed out and must not be seen elsewhere."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"}))

    def jwks(self) -> dict[str, Any]:
        return dict(KeySet([self.key]).as_dict(private=False))

    def rotate_key(self) -> None:
        """Sign with another key from now on; tokens of the old one do not verify any more."""
        self.key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})

    def authorize(self, user: str, query: dict[str, str]) -> str:
        """An authorization code. Raises Refused where the request must not be answered with a redirect."""
        client = self.clients.get(query.get("client_id", ""))
        if client is None:
            raise Refused("invalid_client", "this client is not known")
        if query.get("redirect_uri") not in client.redirect_uris:
            raise Refused("invalid_request", "this redirect_uri is not registered")
        if query.get("response_type") != "code":
            raise Refused("unsupported_response_type", "only code")
        if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
            raise Refused("invalid_request", "PKCE with S256 is required")
        code = self._secret()
        self.codes[code] = Grant(
            user, client.client_id, tuple(query.get("scope", "").split()), query.get("resource"), secrets.token_hex(8),
            query["redirect_uri"], query["code_challenge"], query.get("nonce"),
        )  # fmt: skip
        return code

    def token(self, client: Client, form: dict[str, str]) -> dict[str, Any]:
        grants = {
            "authorization_code": self._of_code,
            "refresh_token": self._of_refresh,
            "client_credentials": self._of_client,
            EXCHANGE: self._of_exchange,
        }
        if (made := grants.get(form.get("grant_type", ""))) is None:
            raise Refused("unsupported_grant_type", "this grant is not known")
        return made(client, form)

    def _of_code(self, client: Client, form: dict[str, str]) -> dict[str, Any]:
        grant = self.codes.pop(form.get("code", ""), None)
        if grant is None or grant.client != client.client_id:
            raise Refused("invalid_grant", "the code is not known")
        if form.get("redirect_uri") != grant.redirect_uri:
            raise Refused("invalid_grant", "another redirect_uri")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != grant.challenge:
            raise Refused("invalid_grant", "the code verifier is wrong")
        if grant.resource is not None and form.get("resource") != grant.resource:
            raise Refused("invalid_target", "another resource")
        return self.issue(grant, refresh=True)

    def _of_refresh(self, client: Client, form: dict[str, str]) -> dict[str, Any]:
        shown = form.get("refresh_token", "")
        if (reused := self.spent.get(shown)) is not None:
            self.ended.add(reused.family)
        grant = self.refresh.get(shown)
        if grant is None or grant.client != client.client_id or grant.family in self.ended or shown in self.ended:
            raise Refused("invalid_grant", "the refresh token has expired or was revoked")
        if self.shape.rotates:
            self.spent[shown] = self.refresh.pop(shown)
        if form.get("scope"):
            grant = replace(grant, scopes=tuple(form["scope"].split()))
        return self.issue(grant, refresh=self.shape.renews_refresh_token)

    def _of_client(self, client: Client, form: dict[str, str]) -> dict[str, Any]:
        if client.secret is None:
            raise Refused("unauthorized_client", "a client without a secret has no token of its own")
        scopes = tuple(form.get("scope", "").split())
        audience = form.get("resource") or form.get("audience")
        return self.issue(
            Grant(client.client_id, client.client_id, scopes, audience, secrets.token_hex(8)), refresh=False
        )

    def _of_exchange(self, client: Client, form: dict[str, str]) -> dict[str, Any]:
        if form.get("subject_token_type") not in (ACCESS_TOKEN, JWT):
            raise Refused("invalid_request", "this subject_token_type is not known")
        claims = self.verified(form.get("subject_token", ""))
        if claims is None:
            raise Refused("invalid_request", "the subject token is not valid")
        audience = form.get("resource") or form.get("audience")
        scopes = tuple(form.get("scope", "").split())
        grant = Grant(claims["sub"], client.client_id, scopes, audience, secrets.token_hex(8))
        return {**self.issue(grant, refresh=False), "issued_token_type": ACCESS_TOKEN}

    def issue(self, grant: Grant, *, refresh: bool) -> dict[str, Any]:
        """A token response for what was granted."""
        now = int(time.time())
        answer: dict[str, Any] = {
            "access_token": self.signed(
                sub=grant.user, aud=grant.resource or grant.client, client_id=grant.client,
                scope=" ".join(grant.scopes), family=grant.family, exp=now + self.lifetime,
            ),
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "scope": " ".join(grant.scopes),
        }  # fmt: skip
        if "openid" in grant.scopes:
            answer["id_token"] = self.signed(
                sub=grant.user, aud=grant.client, exp=now + self.lifetime,
                **({"nonce": grant.nonce} if grant.nonce else {}),
            )  # fmt: skip
        if refresh:
            answer["refresh_token"] = self._secret()
            self.refresh[answer["refresh_token"]] = grant
        return answer

    def signed(self, **claims: Any) -> str:
        """A token of this issuer with these claims, and with `iss`, `iat` and `jti`."""
        kept = {"iss": self.issuer, "iat": int(time.time()), "jti": secrets.token_hex(8), **claims}
        token = jwt.encode({"alg": "RS256", "kid": str(self.key.kid)}, kept, self.key)
        self.secrets.add(token)
        return token

    def verified(self, token: str) -> dict[str, Any] | None:
        """The claims of an access token, as a resource server sees them; None where it is none, has ended or was revoked."""
        try:
            claims = jwt.decode(token, self.key, algorithms=["RS256"]).claims
        except ValueError:
            return None
        except Exception:  # noqa: BLE001 - joserfc has no common class for what is malformed and what is not signed
            return None
        ended = claims.get("exp", 0) <= time.time() or token in self.ended or claims.get("family") in self.ended
        return None if ended else claims

    def _secret(self) -> str:
        made = secrets.token_urlsafe(24)
        self.secrets.add(made)
        return made
