"""What the proxy says of itself as a protected resource (RFC 9728), and where: pure, and over HTTP from a page of any origin."""

from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.authn.metadata import asked_path, base_of, challenge, document, metadata_url
from mcp_operator_proxy.config import Auth
from support.gateway import make_config, running_gateway

WELL_KNOWN = "/.well-known/oauth-protected-resource"
ISSUER = {"name": "corp", "issuer": "https://id.test", "audiences": ["x"], "jwksUrl": "http://127.0.0.1:1/keys"}


def auth(**more: Any) -> Auth:
    return Auth.model_validate({"jwt": [ISSUER], **more})


def scope(host: str, scheme: str = "http", root: str = "") -> dict[str, Any]:
    return {"scheme": scheme, "headers": [(b"host", host.encode())], "root_path": root}


@pytest.mark.parametrize(
    ("asked", "resource", "expected"),
    [
        (scope("tools.test"), None, "http://tools.test"),
        (scope("tools.test:8080", "https"), None, "https://tools.test:8080"),
        (scope("[::1]:80"), None, "http://[::1]:80"),
        (scope("tools.test", root="/sub/"), None, "http://tools.test/sub"),
        (scope("inner:8080"), "https://tools.test", "https://tools.test"),
        (scope("inner:8080"), "https://tools.test/base/", "https://tools.test/base"),
        (scope('x"y'), None, None),
        (scope("x y"), None, None),
        (scope("x/y"), None, None),
        (scope("user@x"), None, None),
        (scope(""), None, None),
    ],
)
def test_where_clients_reach_it(asked: dict[str, Any], resource: str | None, expected: str | None) -> None:
    said = {"resourceMetadata": {"resource": resource}} if resource else {}
    assert base_of(auth(**said), asked) == expected


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://t.test", "/mcp", f"https://t.test{WELL_KNOWN}/mcp"),
        ("https://t.test", "/", f"https://t.test{WELL_KNOWN}"),
        ("https://t.test/base", "/a/mcp", f"https://t.test{WELL_KNOWN}/base/a/mcp"),
    ],
)
def test_the_well_known_part_stands_behind_the_host(base: str, path: str, url: str) -> None:
    assert metadata_url(base, path) == url
    assert asked_path(base, url.removeprefix("https://t.test")) == path
    assert asked_path(base, WELL_KNOWN + path) == path  # where the gateway in front takes the base away


def test_the_document() -> None:
    assert document(auth(), "https://t.test", "/mcp") == {
        "resource": "https://t.test/mcp",
        "authorization_servers": ["https://id.test"],
        "bearer_methods_supported": ["header"],
    }
    said = {"authorizationServers": ["https://as.test/a"], "scopesSupported": ["a", "b"]}
    found = document(auth(resourceMetadata=said), "https://t.test", "/")
    assert (found["resource"], found["authorization_servers"]) == ("https://t.test", ["https://as.test/a"])
    assert found["scopes_supported"] == ["a", "b"]
    required = {**ISSUER, "requiredScopes": ["x", "y"]}
    assert document(auth(jwt=[required]), "https://t.test", "/")["scopes_supported"] == ["x", "y"]


def test_the_challenge() -> None:
    where = f'resource_metadata="https://t.test{WELL_KNOWN}/mcp"'
    assert challenge(auth(), "https://t.test", "/mcp") == f'Bearer realm="mcp-operator-proxy", {where}'
    odd = challenge(auth(), None, "/mcp", error="invalid_token", description='a "quoted" \\ ü')
    assert odd == 'Bearer realm="mcp-operator-proxy", error="invalid_token", error_description="a ?quoted? ? ?"'
    keys = Auth.model_validate({"apiKeys": [{"name": "a", "secret": {"file": "a"}}]})
    assert challenge(keys, "https://t.test", "/mcp", error="invalid_token") == 'Bearer realm="mcp-operator-proxy"'


async def test_everybody_may_read_it_from_every_page() -> None:
    async with running_gateway(make_config({}, auth={"jwt": [ISSUER]})) as running:
        page = {"origin": "https://anywhere.test"}
        for path, resource in (("", ""), ("/", ""), ("/mcp", "/mcp"), ("/mcp/", "/mcp"), ("/mcp/sse", "/mcp/sse")):
            answer = await running.get(WELL_KNOWN + path, headers=page)
            assert answer.status_code == 200, path
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.json()["resource"] == running.base + resource
        asked = await running.http.request(
            "OPTIONS", running.base + WELL_KNOWN, headers={**page, "access-control-request-method": "GET"}
        )
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "*")
        assert (await running.get(f"{WELL_KNOWN}/nowhere")).status_code == 404
        assert (await running.http.post(running.base + WELL_KNOWN)).status_code == 405
        challenged = await running.http.post(running.url)
        where = challenged.headers["www-authenticate"].partition('resource_metadata="')[2].rstrip('"')
        assert (await running.http.get(where)).json()["resource"] == running.url


async def test_without_issuers_there_is_none() -> None:
    for said in ({}, {"auth": {"anonymous": True}}):
        async with running_gateway(make_config({}, **said)) as running:
            assert (await running.get(WELL_KNOWN)).status_code == 404


async def test_strange_hosts_are_refused_here_too() -> None:
    made = make_config({}, auth={"jwt": [ISSUER]}, allowedHosts=["tools.test"])
    async with running_gateway(made) as running:
        assert (await running.get(WELL_KNOWN)).status_code == 421
        answer = await running.get(WELL_KNOWN, headers={"host": "tools.test"})
        assert answer.json()["resource"] == "http://tools.test"


async def test_the_scheme_is_taken_from_a_proxy_on_this_machine() -> None:
    async with running_gateway(make_config({}, auth={"jwt": [ISSUER]})) as running:
        forwarded = {"x-forwarded-proto": "https", "host": "tools.test"}
        answer: httpx2.Response = await running.get(f"{WELL_KNOWN}/mcp", headers=forwarded)
        assert answer.json()["resource"] == "https://tools.test/mcp"
