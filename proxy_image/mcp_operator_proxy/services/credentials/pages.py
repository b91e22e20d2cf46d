"""What a browser sees of a sign-in: `/oauth/start/…` and `/oauth/callback`."""

from html import escape
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from mcp_operator_proxy.services.credentials.signin import CALLBACK, SECONDS, START, SignInFailed, SignIns
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable

COOKIE: Final = "mcp-operator-sign-in"
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


async def answer(sign_ins: SignIns, path: str, scope: Scope) -> Response | None:
    """The page at `path`; None where there is none."""
    if path != CALLBACK and not path.startswith(START):
        return None
    if scope["method"] != "GET":
        return _page(405, "Only GET", "This address is for browsers.", {"allow": "GET"})
    request = Request(scope)
    try:
        if path == CALLBACK:
            ended = await sign_ins.end(dict(request.query_params), request.cookies.get(COOKIE))
            response = _page(200, "Signed in", f"{ended.what} can be used for {ended.user}. You may close this page.")
            response.delete_cookie(COOKIE, path="/oauth/", httponly=True, samesite="lax")
            return response
        begun = await sign_ins.begin(path.removeprefix(START))
    except SignInFailed as failed:
        return _page(400, "Not signed in", str(failed))
    except StoreUnavailable:
        return _page(503, "Not now", "Sign-ins cannot be kept at the moment. Try again in a while.")
    redirect = RedirectResponse(begun.url, HTTPStatus.FOUND, HEADERS)
    redirect.set_cookie(
        COOKIE,
        begun.cookie,
        max_age=int(SECONDS),
        path="/oauth/",
        httponly=True,
        samesite="lax",
        secure=sign_ins.redirect_uri.startswith("https:"),
    )
    return redirect


def _page(status: int, title: str, text: str, headers: dict[str, str] | None = None) -> Response:
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p></html>"
    )
    return HTMLResponse(body, status, {**HEADERS, **(headers or {})})
