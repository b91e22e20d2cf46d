"""`/openapi.json`, and `/docs`: Swagger UI out of its package, with no other host and no script within the page."""

from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Final

import swagger_ui_bundle
from fastapi import APIRouter
from starlette.responses import FileResponse, JSONResponse, Response

from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.asking import Asked
from mcp_operator_proxy.services.rest.openapi import describe
from mcp_operator_proxy.services.rest.problems import ProblemError

router = APIRouter(include_in_schema=False)
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
ASSETS: Final = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" type="image/png" href="{root}/docs/favicon-32x32.png">
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-url="{root}/openapi.json"></div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</body>
</html>
"""
START: Final = """"use strict";
const place = document.getElementById("swagger-ui");
SwaggerUIBundle({url: place.dataset.url, dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""


@router.get("/openapi.json")
async def openapi(asked: Asked) -> Response:
    return JSONResponse(
        describe(asked.request.app, asked.request.scope["root_path"]), headers={"cache-control": "no-cache"}
    )


@router.get("/docs")
async def page(asked: Asked) -> Response:
    _wanted(asked)
    app, root = asked.request.app, escape(asked.request.scope["root_path"])
    return Response(PAGE.format(title=app.title, root=root), headers=HEADERS, media_type="text/html")


@router.get("/docs/{name}")
async def asset(asked: Asked, name: str) -> Response:
    _wanted(asked)
    if name == "start.js":
        return Response(START, headers=HEADERS, media_type="text/javascript")
    if name not in ASSETS:
        raise ProblemError(problems.NOT_FOUND, "there is nothing at this path")
    return FileResponse(folder() / name, headers=HEADERS)


def _wanted(asked: Asked) -> None:
    rest = asked.state.config.rest
    if rest is None or not rest.docs:
        raise ProblemError(problems.NOT_FOUND, "the page is switched off; /openapi.json is what it shows")


@lru_cache(maxsize=1)
def folder() -> Path:
    """Of Swagger UI, in its package."""
    found = sorted(Path(swagger_ui_bundle.__file__).parent.glob("vendor/swagger-ui-*/swagger-ui-bundle.js"))
    return found[-1].parent
