"""Who makes an HTTP request. The same for MCP and for REST.

found = await caller(scope, state)
if isinstance(found, Refusal): …       # an answer that says what is missing
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mcp_types import INVALID_REQUEST
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from mcp_operator_proxy.auth import CALLER, PRINCIPAL, Principal, credentials, shown_by
from mcp_operator_proxy.authn.issuers import KeysUnavailable
from mcp_operator_proxy.authn.metadata import asked_path, base_of, challenge, document, is_resource
from mcp_operator_proxy.authn.tokens import InsufficientScope, TokenRefused
from mcp_operator_proxy.config import Auth

if TYPE_CHECKING:
    from mcp_operator_proxy.state import State

_SHARED: Final = {"access-control-allow-origin": "*", "cache-control": "max-age=300"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: `headers` are to be sent with it."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """As a JSON-RPC error for a request whose id is not known."""
        error = {"code": INVALID_REQUEST, "message": self.message}
        body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error})
        return Response(body, self.status, dict(self.headers), "application/json")


async def caller(scope: Scope, state: "State | None") -> Principal | Refusal | None:
    """The caller, which is put into `scope` (`PRINCIPAL`) and `CALLER`, too; None for one that is nobody, where nobody may call.

    Without authentication it is whom an application around this one has put into `scope`.
    """
    found = await _caller(scope, state)
    if not isinstance(found, Refusal):
        CALLER.set(found)
    return found


async def _caller(scope: Scope, state: "State | None") -> Principal | Refusal | None:
    authenticator = state.authenticator if state is not None else None
    if state is None or authenticator is None:
        found = scope.setdefault(PRINCIPAL, None)
        return found if isinstance(found, Principal) else None
    scope[PRINCIPAL] = None
    authorization, api_key = credentials(scope)
    found = authenticator.authenticate(authorization, api_key)
    if found is None:
        if authorization is None and api_key is None:
            return None if authenticator.anonymous else _nothing_shown(state.config.auth, scope)
        shown = shown_by(authorization, None)
        if authenticator.tokens is None or api_key is not None or not shown:
            return _refused(state.config.auth, scope, TokenRefused(_KEY_NEEDED))
        try:
            found = await authenticator.tokens.verified(shown)
        except TokenRefused as error:
            return _refused(state.config.auth, scope, error)
        except KeysUnavailable as error:
            return Refusal(503, str(error), {"retry-after": "5"})
    scope[PRINCIPAL] = found
    return found


def metadata(scope: Scope, auth: Auth | None, *, is_path: bool) -> Response:
    """The answer to a request for the metadata of the path that it names; `is_path`: there is such a one."""
    base = base_of(auth, scope) if auth is not None else None
    if scope["method"] == "OPTIONS":
        allow = {"access-control-allow-methods": "GET", "access-control-allow-headers": "*"}
        return Response(status_code=204, headers={**_SHARED, **allow, "access-control-max-age": "600"})
    if scope["method"] not in ("GET", "HEAD"):
        return JSONResponse({"error": "only GET"}, 405, {"allow": "GET, HEAD", **_SHARED})
    if auth is None or base is None or not is_resource(auth) or not is_path:
        return JSONResponse({"error": "there is no such protected resource"}, 404, _SHARED)
    return JSONResponse(document(auth, base, asked_path(base, scope["path"])), headers=_SHARED)


def metadata_path(scope: Scope, auth: Auth | None) -> str:
    """Which path of the proxy a request for metadata is about."""
    return asked_path((base_of(auth, scope) if auth is not None else None) or "http://localhost", scope["path"])


_KEY_NEEDED: Final = "an API key is needed, and it must be a known one"


def _nothing_shown(auth: Auth | None, scope: Scope) -> Refusal:
    jwt = auth is not None and auth.jwt
    message = "a token is needed, or an API key" if jwt and auth and auth.api_keys else "a token is needed"
    return _answer(auth, scope, 401, message if jwt else _KEY_NEEDED)


def _refused(auth: Auth | None, scope: Scope, error: TokenRefused) -> Refusal:
    if isinstance(error, InsufficientScope):
        return _answer(auth, scope, 403, str(error), "insufficient_scope")
    return _answer(auth, scope, 401, str(error), "invalid_token")


def _answer(auth: Auth | None, scope: Scope, status: int, message: str, error: str | None = None) -> Refusal:
    base = base_of(auth, scope) if auth is not None else None
    said = challenge(auth, base, scope["path"], error=error, description=message if error else None)
    return Refusal(status, message, {"www-authenticate": said})
