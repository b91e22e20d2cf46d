"""A server that answers 401: the status says what it wants, and nothing is sent where it must not go."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mcp_operator_proxy.backends.check import check
from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.oauth import authorization_servers, metadata_urls
from mcp_operator_proxy.config import Retry
from support.backends import ServedApp, eventually
from support.gateway import make_config, running_gateway

URL = "https://mcp.example.com/team/mcp"
WELL_KNOWN = "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("challenge", "urls"),
    [
        ("", (f"https://mcp.example.com{WELL_KNOWN}/team/mcp", f"https://mcp.example.com{WELL_KNOWN}")),
        ("Bearer", (f"https://mcp.example.com{WELL_KNOWN}/team/mcp", f"https://mcp.example.com{WELL_KNOWN}")),
        ('Bearer realm="x", resource_metadata="https://mcp.example.com/m"', ("https://mcp.example.com/m",)),
        ("Bearer resource_metadata=https://MCP.example.com:443/m", ("https://MCP.example.com:443/m",)),
        ('Bearer resource_metadata="https://evil.example.com/m"', ()),
        ('Bearer resource_metadata="http://mcp.example.com/m"', ()),
        ('Bearer resource_metadata="https://mcp.example.com:99999/m"', ()),
        ('Bearer resource_metadata="file:///etc/passwd"', ()),
    ],
)
def test_only_the_servers_own_origin_is_asked(challenge: str, urls: tuple[str, ...]) -> None:
    assert metadata_urls(URL, challenge) == urls


@pytest.mark.parametrize(
    ("metadata", "issuers"),
    [
        ({"authorization_servers": ["https://auth.example.com", "https://b.example.com/tenant"]},
         ("https://auth.example.com", "https://b.example.com/tenant")),
        ({"authorization_servers": ["https://user:secret@auth.example.com", "javascript:alert(1)", 7, "https://a b"]}, ()),
        ({"authorization_servers": "https://auth.example.com"}, ()),
        ({}, ()),
        ([], ()),
        (None, ()),
    ],
)  # fmt: skip
def test_issuers_that_may_be_shown(metadata: Any, issuers: tuple[str, ...]) -> None:
    assert authorization_servers(metadata) == issuers


class Guarded:
    """A server that wants a token. `metadata` is its answer at the well-known place."""

    def __init__(self, metadata: Response, challenge: str = "Bearer") -> None:
        self.seen: list[dict[str, str]] = []

        async def refuse(_: Request) -> Response:
            return Response(status_code=401, headers={"www-authenticate": challenge})

        async def tell(request: Request) -> Response:
            self.seen.append(dict(request.headers))
            return metadata

        routes = [Route("/mcp", refuse, methods=["GET", "POST"]), Route(f"{WELL_KNOWN}/mcp", tell)]
        self.served = ServedApp(lambda: Starlette(routes=routes))


TELLING = JSONResponse({"resource": "x", "authorization_servers": ["https://auth.example.com"]})


@pytest.mark.parametrize(
    ("metadata", "challenge", "words"),
    [
        (TELLING, "Bearer", "get a token from https://auth.example.com"),
        (JSONResponse({}), "Bearer", "does not say whom it trusts"),
        (RedirectResponse("https://evil.example.com/m"), "Bearer", "wants a bearer token"),
        (Response("{", media_type="application/json"), "Bearer", "wants a bearer token"),
        (Response("[" * 70_000, media_type="application/json"), "Bearer", "wants a bearer token"),
        (TELLING, 'Bearer resource_metadata="http://elsewhere.example.com/m"', "does not say whom it trusts"),
        (Response(status_code=404), 'Basic realm="x"', "check the credentials in its headers"),
    ],
)
async def test_what_a_server_wants(metadata: Response, challenge: str, words: str) -> None:
    guarded = Guarded(metadata, challenge)
    async with guarded.served as served:
        report = await check(Target(url=served.url, headers={"X-Team": "s3cret"}), Retry())
    assert report.error is not None
    assert report.error.error_class == "Unauthorized"
    assert words in report.error.message
    assert report.attempts == 1
    assert all("x-team" not in headers and "authorization" not in headers for headers in guarded.seen)


async def test_a_configured_authorization_is_respected() -> None:
    guarded = Guarded(TELLING)
    async with guarded.served as served:
        report = await check(Target(url=served.url, headers={"authorization": "Bearer s3cret"}), Retry())
    assert report.error is not None
    assert report.error.message == "the server refused the configured Authorization header (HTTP 401)"
    assert guarded.seen == []


async def test_the_status_names_the_authorization_server_and_asks_for_it_once(caplog: pytest.LogCaptureFixture) -> None:
    guarded = Guarded(TELLING)
    async with guarded.served as served:
        config = {"retry": {"attempts": 20, "backoffSeconds": 0.01}}
        async with running_gateway(make_config({"g": served.url}, server=config)) as running:

            def error() -> Any:
                return running.proxy.status().servers[0].error

            await eventually(lambda: error() and "https://auth.example.com" in error().message)
            backend = next(iter(running.proxy.state.backends.values()))  # type: ignore[union-attr]
            before = backend.status.checked_at
            await eventually(lambda: backend.status.checked_at != before)
            assert "https://auth.example.com" in error().message
            assert len(guarded.seen) == 1
            told = [vars(record)["error"] for record in caplog.records if record.getMessage() == "server is down"]
            assert ["https://auth.example.com" in words for words in told] == [True]
            assert running.proxy.status().servers[0].phase == "error"
