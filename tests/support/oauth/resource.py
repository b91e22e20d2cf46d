"""An MCP server that asks for tokens of an `OAuthProvider`, as the MCP authorization specification has it."""

import json
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_http_headers
from starlette.types import ASGIApp, Receive, Scope, Send

from support.backends import ServedApp
from support.oauth.provider import OAuthProvider


class ProtectedMCP(ServedApp):
    """Its tool `whoami` answers with the subject of the token that it was shown.

    `shown` are the tokens of all requests, `metadata` changes what it says of itself (RFC 9728); None: it says nothing.
    """

    def __init__(self, provider: OAuthProvider, *, scopes: str = "tools") -> None:
        super().__init__(self._protected)
        self.provider = provider
        self.scopes = scopes
        self.shown: list[str] = []
        self.refused: set[str] = set()
        """Tokens that are good by their issuer, and not taken here."""
        self.audience: str | None = None
        self.metadata: dict[str, Any] | None = {}

    def _protected(self) -> ASGIApp:
        server: FastMCP = FastMCP("protected")

        @server.tool(annotations={"readOnlyHint": True})
        def whoami() -> str:
            return str(self._claims(_token())["sub"])

        @server.tool
        def spend() -> str:
            return f"spent by {self._claims(_token())['sub']}"

        inner = server.http_app(path="/mcp", json_response=True)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            if scope["path"].startswith("/.well-known/oauth-protected-resource") and self.metadata is not None:
                await _json(send, 200, self._metadata())
                return
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            token = headers.get("authorization", "").removeprefix("Bearer ")
            if token:
                self.shown.append(token)
            if not self._good(token):
                well_known = f"http://127.0.0.1:{self.port}/.well-known/oauth-protected-resource/mcp"
                challenge = f'Bearer resource_metadata="{well_known}", scope="{self.scopes}"'
                await _json(send, 401, {"error": "invalid_token"}, [(b"www-authenticate", challenge.encode())])
                return
            await inner(scope, receive, send)

        return app

    def _metadata(self) -> dict[str, Any]:
        return {"resource": self.url, "authorization_servers": [self.provider.issuer], **(self.metadata or {})}

    def _claims(self, token: str) -> dict[str, Any]:
        return self.provider.grants.verified(token) or {}

    def _good(self, token: str) -> bool:
        claims = self._claims(token) if token not in self.refused else {}
        return bool(claims) and self.audience in (None, claims.get("aud"))


def _token() -> str:
    return get_http_headers(include={"authorization"})["authorization"].removeprefix("Bearer ")


async def _json(send: Send, status: int, body: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    start = [(b"content-type", b"application/json"), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
