"""What a worker answers its siblings and, in part, other replicas, on the internal listener and to nobody else."""

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy.bodies import read_body
from mcp_operator_proxy.services.wishes import Wishes
from mcp_operator_proxy.workers.siblings import HEADER, proven, replica_keys, worker_keys

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy

MAX_BYTES: Final = 2**24
FOR_REPLICAS: Final = "/inspector/"
"""They may ask for what is beneath it, and for nothing else."""
_NOTHING: Final = 204


class Inner:
    """An ASGI application: GET asks, PUT tells."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, MAX_BYTES)
        query = scope["query_string"].decode("latin-1")
        target = quote(scope["path"]) + (f"?{query}" if query else "")
        header, holder = Headers(scope=scope).get(HEADER, ""), self._proxy.holder
        keys = worker_keys(holder)
        if scope["method"] == "GET" and scope["path"].startswith(FOR_REPLICAS):
            keys += replica_keys(holder)
        if body is None or not proven(keys, header, scope["method"], target, body):
            response: Response = JSONResponse({"error": "this is for the workers of one pod"}, 403)
        else:
            response = await self._answer(scope["method"], scope["path"], QueryParams(query), body)
        await response(scope, receive, send)

    async def _answer(self, method: str, path: str, query: QueryParams, body: bytes) -> Response:
        lifecycle = self._proxy.services.lifecycle
        match method, path:
            case "GET", "/wishes":
                return _json(lifecycle.wishes)
            case "PUT", "/wishes":
                try:
                    await lifecycle.hear(Wishes.model_validate_json(body))
                except ValidationError:
                    return JSONResponse({"error": "not understood"}, 400)
                return Response(status_code=_NOTHING)
            case "PUT", "/restart":
                await lifecycle.restart(query.get("server", ""))
                return Response(status_code=_NOTHING)
        found = await self._of_rest(path, query) if method == "GET" else None
        return JSONResponse({"error": "nothing here"}, 404) if found is None else _json(found)

    async def _of_rest(self, path: str, query: QueryParams) -> BaseModel | None:
        state = self._proxy.state
        if path.startswith("/inspector/") and state is not None and state.config.inspector is not None:
            from mcp_operator_proxy.inspector.inner import answer  # noqa: PLC0415 - for who has an inspector

            return await answer(self._proxy, path, query)
        if state is None or state.config.rest is None:
            return None
        from mcp_operator_proxy.services.rest import own  # noqa: PLC0415 - FastAPI, for who serves REST

        match path:
            case "/servers":
                return own.servers(self._proxy, query.get("server"))
            case "/logs":
                return own.logs(self._proxy, query.get("server", ""), int(query.get("lines", "100")))
            case "/health":
                return await own.health(self._proxy)
        return None


def _json(found: BaseModel) -> Response:
    return Response(found.model_dump_json(), media_type="application/json")
