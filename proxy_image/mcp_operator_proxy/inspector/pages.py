"""The page and its parts, out of the folder that `make ui` builds."""

from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from mcp_operator_proxy.config import UI_PATH

STATIC: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every answer; `Inspector.secured` adds them."""
NOT_BUILT: Final = "the inspector was not built: make ui\n"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""Of parts whose names hold a digest of what is in them."""


class Pages:
    """`folder` holds `index.html` and `assets/`."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._files = StaticFiles(directory=folder, check_dir=False)

    async def answer(self, path: str, scope: Scope) -> Response:
        """A part at its path; at every other path the page, which finds its way by it."""
        return await self._found(path.removeprefix(UI_PATH).strip("/") or INDEX, scope)

    async def _found(self, name: str, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("only GET\n", 405, {"allow": "GET, HEAD"})
        if not (self._folder / INDEX).is_file():
            return PlainTextResponse(NOT_BUILT, 503, {"cache-control": "no-store"})
        is_part = name.startswith("assets/")
        try:
            response = await self._files.get_response(name, scope)
        except HTTPException:
            if is_part:
                return PlainTextResponse("there is no such part\n", 404, {"cache-control": "no-store"})
            response = await self._files.get_response(INDEX, scope)
        response.headers["cache-control"] = IMMUTABLE if is_part else "no-cache"
        return response
