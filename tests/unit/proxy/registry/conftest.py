"""An embedding endpoint that speaks OpenAI's `/embeddings`."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_operator_proxy.registry.embedders import WordLlamaEmbedder
from support.backends import ServedApp


class Endpoint:
    """The model that ships with the product, over HTTP; `answer` replaces what it says."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Response | None = None

    async def respond(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization"))
        if self.answer is not None:
            return self.answer
        vectors = WordLlamaEmbedder().embed_now(body["input"])
        data = [{"index": n, "embedding": (7 * vector).tolist()} for n, vector in enumerate(vectors)]
        return JSONResponse({"data": data[::-1], "model": body["model"]})


@pytest.fixture
async def served_endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    app = partial(Starlette, routes=[Route("/v1/embeddings", made.respond, methods=["POST"])])
    async with ServedApp(app) as served:
        made.url = served.url.rpartition("/")[0] + "/v1/"
        yield made
