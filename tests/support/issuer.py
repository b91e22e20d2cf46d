"""An issuer of tokens on a loopback port: it signs, shows its keys and metadata, loses keys, and goes away.

async with running_issuer() as issuer:
    config = issuer.config(audiences=["gateway"])      # an entry of `auth.jwt`
    token = issuer.token("alice", scope="read")
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy.authn.algorithms import only
from support.backends import ServedApp

AUDIENCE = "https://gateway.test"


def make_key(kid: str, algorithm: str = "ES256") -> Key:
    named = {"kid": kid, "use": "sig", "alg": algorithm}
    if algorithm.startswith("ES"):
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
        return ECKey.generate_key(curve, named)
    return OKPKey.generate_key("Ed25519", named) if algorithm == "EdDSA" else RSAKey.generate_key(2048, named)


def sign(key: Key, claims: Mapping[str, Any], algorithm: str = "ES256", **header: Any) -> str:
    head = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt", **header}
    head = {name: value for name, value in head.items() if value is not None}
    return jwt.encode(head, dict(claims), key, registry=only(algorithm))


class Issuer:
    """`keys` are those that it shows; the first signs."""

    def __init__(self) -> None:
        self.keys = [make_key("one")]
        self.fetches = 0
        """Of the keys."""
        self.asked: list[str] = []
        """Paths of requests."""
        self.metadata: dict[str, Any] | None = None
        """Instead of its own."""
        self.answer: bytes | None = None
        """Instead of the keys."""
        self.status = 200
        self.url = ""
        """Its identifier."""

    def app(self) -> "Issuer":
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        self.asked.append(path)
        status, body = self.status, b"{}"
        if path == "/keys":
            self.fetches += 1
            body = self.answer or json.dumps({"keys": [k.as_dict(private=False) for k in self.keys]}).encode()
        elif path == "/.well-known/openid-configuration":
            body = json.dumps(self.metadata or {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        else:
            status = 404
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def config(self, **more: Any) -> dict[str, Any]:
        said = {"name": "corp", "issuer": self.url, "audiences": [AUDIENCE], "jwksUrl": f"{self.url}/keys", **more}
        return {key: value for key, value in said.items() if value is not None}

    def claims(self, name: str = "alice", *, seconds: float = 3600, **more: Any) -> dict[str, Any]:
        now = time.time()
        said = {"iss": self.url, "aud": AUDIENCE, "sub": name, "iat": int(now), "exp": now + seconds, **more}
        return {key: value for key, value in said.items() if value is not None}

    def token(self, name: str = "alice", *, seconds: float = 3600, **more: Any) -> str:
        """For `seconds`; further claims as they are, None for those to leave out."""
        return sign(self.keys[0], self.claims(name, seconds=seconds, **more))


class Served(ServedApp):
    """`stop` it, and it is away."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        super().__init__(self.issuer.app, "")


@contextlib.asynccontextmanager
async def served_issuer() -> AsyncIterator[Served]:
    async with Served() as served:
        served.issuer.url = served.url.rstrip("/")
        yield served


@contextlib.asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    async with served_issuer() as served:
        yield served.issuer
