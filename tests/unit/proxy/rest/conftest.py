"""A proxy with the REST interface in front of real servers."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from mcp_operator_proxy.services.rest.problems import BASE, KINDS, Problem
from support.gateway import Gateway, make_config, running_gateway

Call = Callable[..., Awaitable[httpx2.Response]]
Rest = Callable[..., contextlib.AbstractAsyncContextManager[Gateway]]
_PROBLEM = Draft202012Validator(Problem.model_json_schema())


@contextlib.asynccontextmanager
async def _serving(urls: dict[str, str], secrets: dict[str, str] | None = None, **more: Any) -> AsyncIterator[Gateway]:
    async with running_gateway(make_config(urls, **{"rest": {}, **more}), secrets) as gateway:
        yield gateway


@pytest.fixture
def serving() -> Rest:
    """`async with serving({"calc": url}, rest={…}) as gateway`."""
    return _serving


async def call(gateway: Gateway, tool_id: str, parameters: Any = None, **more: Any) -> httpx2.Response:
    headers = more.pop("headers", {})
    body = {"tool_id": tool_id, "parameters": parameters or {}, **more}
    return await gateway.http.post(f"{gateway.base}/tools/call", json=body, headers=headers)


def problem(answer: httpx2.Response, name: str) -> dict[str, Any]:
    """The body of a problem of that type: complete, and with the status that its type has."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    _PROBLEM.validate(body)
    kind = next(kind for kind in KINDS if kind.name == name)
    assert (body["type"], body["title"]) == (BASE + name, kind.title), body
    assert body["status"] == answer.status_code == kind.status
    assert body["instance"].startswith("urn:uuid:")
    return body
