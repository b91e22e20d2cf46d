"""What a browser needs to let a page of an allowed origin read answers (Fetch standard, "CORS protocol"). Pure.

Which origins are answered at all is said by `guard`. Credentials of the browser itself (cookies) are never asked for:
a page shows its key in a header.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Send

_EXPOSED: Final = b"mcp-session-id, mcp-protocol-version, www-authenticate"
_MAX_AGE: Final = "600"


def sharing(origin: str, send: Send) -> Send:
    """`send`, with the headers that let pages of `origin` read the response."""
    own = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    ]

    async def shared(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    return shared


def preflight(method: str, headers: Headers) -> Response | None:
    """The answer to a browser that asks whether it may send a request; None for any other request."""
    if method != "OPTIONS" or "access-control-request-method" not in headers:
        return None
    answer = {"access-control-allow-methods": "GET, POST, DELETE", "access-control-max-age": _MAX_AGE}
    if asked := headers.get("access-control-request-headers"):
        answer["access-control-allow-headers"] = asked
    return Response(status_code=204, headers=answer)
