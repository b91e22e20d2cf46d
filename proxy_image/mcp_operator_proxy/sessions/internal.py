"""The internal listener: what workers and replicas ask each other. It serves the same app, by the same rules.

A request of a client's carries a header that says what is asked (`forward.Hop`). On the public listener that header
means nothing; here it cannot do more than decide who serves a session to a caller who has its id and its credentials.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_operator_proxy.sessions.forward import HELLO_PATH, HOP, HOP_HEADER, MISS_STATUS, Hop
from mcp_operator_proxy.sessions.holder import Holder

MAX_CHALLENGE = 64
_SCHEMES = frozenset({"http", "https"})


class Internal:
    """`own` answers paths for this worker alone, `inner` what has `header`: the requests of its siblings."""

    def __init__(
        self,
        app: ASGIApp,
        holder: Holder,
        own: Mapping[str, Callable[[QueryParams], Awaitable[Response]]],
        inner: ASGIApp,
        header: str,
    ) -> None:
        self._app = app
        self._holder = holder
        self._own = own
        self._inner = inner
        self._header = header.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if any(key == self._header for key, _ in scope["headers"]):
            await self._inner(scope, receive, send)
            return
        query = QueryParams(scope["query_string"])
        if scope["path"] == HELLO_PATH and scope["method"] == "GET":
            await self._hello(query)(scope, receive, send)
            return
        if scope["path"] in self._own and scope["method"] == "GET":
            response = await self._own[scope["path"]](query)
            await response(scope, receive, send)
            return
        asked = next((value for key, value in scope["headers"] if key == HOP_HEADER), b"").decode("latin-1")
        word, _, scheme = asked.partition(";")
        if word not in (Hop.HOLD.value, Hop.TAKE.value) or scheme not in _SCHEMES:
            await JSONResponse({"error": "this port is for the proxy's own workers and replicas"}, 404)(
                scope, receive, send
            )
            return
        scope[HOP] = Hop(word)
        scope["scheme"] = scheme
        await self._app(scope, receive, send)

    def _hello(self, query: QueryParams) -> Response:
        challenge = query.get("challenge", "")
        if not 1 <= len(challenge) <= MAX_CHALLENGE:
            return JSONResponse({"error": "a challenge is needed"}, 400)
        instance = self._holder.instance
        return JSONResponse({"instance": instance, "proof": self._holder.keys.prove(f"{challenge} {instance}")})


def missed() -> Response:
    """Tell the peer that asked: not here."""
    return Response(status_code=MISS_STATUS, headers={HOP_HEADER.decode(): "miss"})
