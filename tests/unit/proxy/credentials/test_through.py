"""The whole way: users call a server through a proxy, sign in where they are told to, and are each shown to it as themselves."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from mcp_operator_proxy.services.credentials.token import Token
from support.backends import client, free_port
from support.gateway import make_config
from support.oauth import OAuthProvider
from support.oauth.resource import ProtectedMCP
from support.waiting import Eventually

USERS = ("alice", "bob")
SECRET = "client s3cret:%"


@pytest.fixture
async def protected(provider: OAuthProvider) -> AsyncIterator[ProtectedMCP]:
    async with ProtectedMCP(provider) as made:
        yield made


def key_of(name: str) -> str:
    return f"the-long-api-key-of-{name}"


def config(url: str, public: str, credential: dict[str, Any], **more: Any) -> ProxyConfig:
    keys = [{"name": name, "secret": {"file": f"key-{name}"}} for name in USERS]
    return make_config(
        {"crm": url}, server={"credential": credential}, auth={"apiKeys": keys}, publicUrl=public, **more
    )


@asynccontextmanager
async def gateway(url: str, credential: dict[str, Any], **more: Any) -> AsyncIterator[tuple[Proxy, str]]:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    secrets = {f"key-{name}": key_of(name) for name in USERS} | {"secret": SECRET}
    async with Proxy(warm_seconds=1) as proxy:
        await proxy.apply(config(url, base, credential, **more), secrets)
        async with running(proxy, "127.0.0.1", port, grace_seconds=1):
            yield proxy, f"{base}/mcp"


async def call(url: str, user: str, tool: str) -> Any:
    async with client(url, auth=key_of(user)) as through:
        return await through.call_tool(tool, raise_on_error=False)


async def sign_in(provider: OAuthProvider, user: str, answer: Any) -> None:
    """Open the address that a call was answered with, as `user` of the issuer."""
    assert answer.is_error
    found = re.search(r"http://\S+/oauth/start/\S+", answer.content[0].text)
    assert found is not None, answer.content[0].text
    provider.user = user
    async with httpx2.AsyncClient(follow_redirects=True) as browser:
        assert (await browser.get(found[0].rstrip(","))).status_code == 200


async def test_each_user_signs_in_and_is_shown_as_that_user(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually
) -> None:
    protected.audience = protected.url
    async with gateway(protected.url, {"kind": "authorizationCode"}) as (_, url):
        for user in USERS:
            await sign_in(provider, user, await call(url, user, "crm_sign_in"))

            async def listed(who: str = user) -> bool:
                async with client(url, auth=key_of(who)) as through:
                    return "crm_whoami" in {tool.name for tool in await through.list_tools()}

            await eventually(listed)
        for user in USERS:
            for _ in range(2):
                assert (await call(url, user, "crm_whoami")).data == user
        claims = [provider.grants.verified(token) or {} for token in set(protected.shown)]
        assert {claim["sub"] for claim in claims} == set(USERS)


async def test_a_token_that_the_server_refuses_is_renewed_within_the_call(
    provider: OAuthProvider, protected: ProtectedMCP
) -> None:
    provider.add_client("proxy", SECRET)
    corp = {"name": "corp", "kind": "oidc", "issuer": provider.issuer, "clientId": "proxy"}
    providers = [{**corp, "clientSecret": {"file": "secret"}}]
    async with gateway(protected.url, {"kind": "userToken", "provider": "corp"}, providers=providers) as (proxy, url):
        for user in USERS:
            answer = provider.sign_in(user)
            token = Token(answer["access_token"], answer["refresh_token"])
            await proxy.services.users.start(f"key/{user}", "corp", token, ["ns/crm"])
        for user in USERS:
            assert (await call(url, user, "crm_whoami")).data == user
        protected.refused.update(protected.shown)
        async with client(url, auth=key_of("alice")) as through:
            assert (await through.call_tool("crm_spend")).data == "spent by alice"
            protected.refused.update(protected.shown)
            assert (await through.call_tool("crm_spend")).data == "spent by alice"
        assert (await call(url, "bob", "crm_spend")).data == "spent by bob"
        assert provider.count("token", "refresh_token") == 3
        provider.fail("token", "invalid_grant")
        protected.refused.update(protected.shown)
        with pytest.raises(MCPError, match="HTTP 401"):  # it is this call that finds it out
            await call(url, "alice", "crm_spend")
        answer = await call(url, "alice", "crm_spend")
        assert "your sign-in at corp has ended (invalid_grant)" in answer.content[0].text
        assert "/oauth/start/" in answer.content[0].text
        assert (await call(url, "bob", "crm_spend")).data == "spent by bob"
