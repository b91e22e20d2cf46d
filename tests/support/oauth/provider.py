"""The provider's HTTP side."""

import asyncio
import base64
import binascii
import json
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote_plus, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from support.oauth.grants import Client, Grant, Grants, Refused
from support.oauth.shapes import GENERIC, Shape
from support.tls import Certificate

Answer = Callable[[Request], Awaitable[Response]]
Failure = Literal["garbage", "slow", "cut"] | int | str


@dataclass(frozen=True)
class Seen:
    """A request that came. `authentication` is how its client showed who it is."""

    endpoint: str
    values: dict[str, str] = field(repr=False)
    authentication: str = ""


class OAuthProvider:
    """Use as `async with`. `user` is who is signed in at the browser; None refuses what a client asks for."""

    def __init__(self, shape: Shape = GENERIC, *, certificate: Certificate | None = None, lifetime: int = 3600) -> None:
        self.shape = shape
        self.grants = Grants(shape, lifetime=lifetime)
        self.user: str | None = "alice"
        self.seen: list[Seen] = []
        self.issuer_said: str | None = None
        """As `iss` in a redirect, instead of the true one."""
        self.metadata_changes: dict[str, Any] = {}
        self.release = asyncio.Event()
        """Lets requests go on that `slow` holds."""
        self._failures: defaultdict[str, list[Failure]] = defaultdict(list)
        self._certificate = certificate
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.base = ""

    @property
    def issuer(self) -> str:
        return self.grants.issuer

    @property
    def token_url(self) -> str:
        return self.base + self.shape.token

    def add_client(
        self, client_id: str = "proxy", secret: str | None = "client s3cret:%", *redirect_uris: str
    ) -> Client:
        self.grants.clients[client_id] = client = Client(client_id, secret, redirect_uris)
        if secret is not None:
            self.grants.secrets.add(secret)
        return client

    def sign_in(
        self, user: str, client_id: str = "proxy", scopes: tuple[str, ...] = ("openid",), resource: str | None = None
    ) -> dict[str, Any]:
        """The token response that a user's application got by the browser."""
        return self.grants.issue(
            Grant(user, client_id, scopes, resource, f"{user}/{client_id}/{len(self.grants.secrets)}"), refresh=True
        )

    def fail(self, endpoint: str, *how: Failure) -> None:
        """Answer the next requests of `endpoint` so: an HTTP status, an OAuth error code, or
        `garbage` (no JSON), `slow` (until `release` is set), `cut` (handled, and the answer lost)."""
        self._failures[endpoint].extend(how)

    def count(self, endpoint: str, grant: str | None = None) -> int:
        return sum(s.endpoint == endpoint and grant in (None, s.values.get("grant_type")) for s in self.seen)

    # Endpoints

    def _metadata(self) -> dict[str, Any]:
        shape, base = self.shape, self.base
        said: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": base + shape.authorize,
            "token_endpoint": base + shape.token,
            "jwks_uri": base + shape.jwks,
            "registration_endpoint": shape.register and base + shape.register,
            "revocation_endpoint": shape.revoke and base + shape.revoke,
            "scopes_supported": ["openid", "email", "offline_access"],
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_response_iss_parameter_supported": shape.says_iss,
        }
        said.update(self.metadata_changes)
        return {name: value for name, value in said.items() if value is not None}

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        try:
            if self.user is None:
                answer = {"error": "access_denied", "error_description": "<script>alert(1)</script>"}
            else:
                answer = {"code": self.grants.authorize(self.user, query)}
        except Refused as refused:
            return HTMLResponse(f"<p>{refused.error}</p>", 400)
        answer["state"] = query.get("state", "")
        if self.shape.says_iss or self.issuer_said:
            answer["iss"] = self.issuer_said or self.issuer
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        client, how = self._client(request, form)
        self.seen[-1] = Seen("token", form, how)
        if client is None:
            raise Refused("invalid_client", "the client is not known, or its secret is wrong", 401)
        return JSONResponse(self.grants.token(client, form), headers={"cache-control": "no-store"})

    def _client(self, request: Request, form: dict[str, str]) -> tuple[Client | None, str]:
        """RFC 6749, section 2.3.1."""
        shown = request.headers.get("authorization", "")
        if shown.lower().startswith("basic "):
            try:
                name, _, secret = base64.b64decode(shown[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None, "basic"
            client = self.grants.clients.get(unquote_plus(name))
            return (client if client and client.secret == unquote_plus(secret) else None), "basic"
        client = self.grants.clients.get(form.get("client_id", ""))
        if "client_secret" in form:
            return (client if client and client.secret == form["client_secret"] else None), "post"
        return (client if client and client.secret is None else None), "none"

    async def _register(self, request: Request) -> Response:
        """RFC 7591."""
        asked = await request.json()
        secret = None if asked.get("token_endpoint_auth_method") == "none" else self.grants._secret()
        client = self.add_client(f"registered-{len(self.grants.clients)}", secret, *asked["redirect_uris"])
        answer = {**asked, "client_id": client.client_id, "client_id_issued_at": 1}
        if secret is not None:
            answer |= {"client_secret": secret, "client_secret_expires_at": 0}
        return JSONResponse(answer, 201)

    async def _revoke(self, request: Request) -> Response:
        """RFC 7009."""
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.seen[-1] = Seen("revoke", form)
        token = form.get("token", "")
        self.grants.ended.add(token)
        if (grant := self.grants.refresh.get(token)) is not None:
            self.grants.ended.add(grant.family)
        return Response(status_code=200)

    def _endpoint(self, name: str, answer: Answer) -> Answer:
        async def endpoint(request: Request) -> Response:
            self.seen.append(Seen(name, dict(request.query_params)))
            how = self._failures[name].pop(0) if self._failures[name] else None
            if how == "slow":
                await self.release.wait()
            elif how == "garbage":
                return HTMLResponse("<html>a gateway was here</html>")
            elif isinstance(how, int):
                return JSONResponse({"error": "server_error"}, how)
            elif how is not None and how != "cut":
                return JSONResponse({"error": how, "error_description": "as the test says"}, 400)
            try:
                made = await answer(request)
            except Refused as refused:
                said = {"error": refused.error, "error_description": refused.description}
                return JSONResponse(said, refused.status)
            if how == "cut":
                raise ConnectionResetError("the answer is lost")
            return made

        return endpoint

    def _app(self) -> Starlette:
        async def metadata(_: Request) -> Response:
            return JSONResponse(json.loads(json.dumps(self._metadata())))

        async def jwks(_: Request) -> Response:
            return JSONResponse(self.grants.jwks())

        shape, well_known = self.shape, "/.well-known"
        routes = [
            Route(f"{shape.issuer}{well_known}/openid-configuration", self._endpoint("metadata", metadata)),
            Route(shape.authorize, self._endpoint("authorize", self._authorize)),
            Route(shape.token, self._endpoint("token", self._token), methods=["POST"]),
            Route(shape.jwks, self._endpoint("jwks", jwks)),
        ]
        if shape.rfc8414:
            path = f"{well_known}/oauth-authorization-server{shape.issuer}"
            routes.append(Route(path, self._endpoint("metadata", metadata)))
        if shape.register:
            routes.append(Route(shape.register, self._endpoint("register", self._register), methods=["POST"]))
        if shape.revoke:
            routes.append(Route(shape.revoke, self._endpoint("revoke", self._revoke), methods=["POST"]))
        return Starlette(routes=routes)

    # Life

    async def __aenter__(self) -> Self:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        scheme = "https" if self._certificate else "http"
        self.base = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        self.grants.issuer = self.base + self.shape.issuer
        tls = (
            {"ssl_certfile": str(self._certificate.certificate), "ssl_keyfile": str(self._certificate.key)}
            if self._certificate
            else {}
        )
        options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", **tls}
        self._server = uvicorn.Server(uvicorn.Config(self._app(), timeout_graceful_shutdown=1, **options))
        self._serving = asyncio.create_task(self._server._serve([listening]))
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._serving is not None
        self.release.set()
        self._server.should_exit = self._server.force_exit = True
        await self._serving
