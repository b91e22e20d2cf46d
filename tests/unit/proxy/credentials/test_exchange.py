"""A token made for a server from one of the user's (RFC 8693): for each user apart, kept as long as it lasts, in memory alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import ProxyConfig, Server
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.services.credentials.source import CredentialProblem, Credentials
from mcp_operator_proxy.services.credentials.token import Token
from support.oauth import OAuthProvider

SECRET = "client s3cret:%"


@asynccontextmanager
async def exchanging(at: OAuthProvider, **credential: Any) -> AsyncIterator[tuple[Credentials, Server]]:
    endpoint = {"issuer": at.issuer, "clientId": "proxy", "clientSecret": {"file": "secret"}}
    shown = {"kind": "tokenExchange", "endpoint": endpoint, "audience": "crm", "scopes": ["tools"], **credential}
    corp = {"name": "corp", "kind": "oidc", "issuer": at.issuer, "clientId": "proxy"}
    servers = [{"id": "ns/crm", "url": "http://127.0.0.1:9/mcp", "credential": shown}]
    conf = ProxyConfig.model_validate(
        {
            "revision": "1",
            "servers": servers,
            "providers": [{**corp, "clientSecret": {"file": "secret"}}],
        }
    )
    async with Proxy(warm_seconds=0) as proxy:
        await proxy.apply(conf, {"secret": SECRET})
        yield proxy.services.credentials, conf.servers[0]


def caller(provider: OAuthProvider, name: str) -> Principal:
    return Principal(name, "corp", token=provider.sign_in(name)["access_token"])


async def test_a_callers_token_is_exchanged_and_the_answer_kept(provider: OAuthProvider) -> None:
    async with exchanging(provider) as (credentials, server):
        alice, bob = caller(provider, "alice"), caller(provider, "bob")
        tokens = await asyncio.gather(*(credentials.token_for(server, "alice", alice) for _ in range(5)))
        assert len(set(tokens)) == 1
        claims = provider.grants.verified(tokens[0])
        assert claims is not None
        assert (claims["sub"], claims["aud"], claims["scope"]) == ("alice", "crm", "tools")
        assert tokens[0] != alice.token
        hers = provider.grants.verified(await credentials.token_for(server, "bob", bob))
        assert hers is not None
        assert hers["sub"] == "bob"
        assert provider.count("token") == 2
        assert await credentials.token_for(server, "alice", alice) == tokens[0]
        assert provider.count("token") == 2
        assert await credentials.vault.issuers("alice") == []


async def test_one_that_ends_soon_is_exchanged_anew(provider: OAuthProvider) -> None:
    provider.grants.lifetime = 20
    async with exchanging(provider) as (credentials, server):
        alice = caller(provider, "alice")
        first = await credentials.token_for(server, "alice", alice)
        assert await credentials.token_for(server, "alice", alice) != first


async def test_one_that_the_server_refuses_is_exchanged_anew(provider: OAuthProvider) -> None:
    async with exchanging(provider) as (credentials, server):
        alice = caller(provider, "alice")
        first = await credentials.token_for(server, "alice", alice)
        assert await credentials._engine.renewed(server, "alice", alice, first)
        second = await credentials.token_for(server, "alice", alice)
        assert second != first
        assert await credentials._engine.renewed(server, "alice", alice, first)  # the one before: nothing is lost
        assert await credentials.token_for(server, "alice", alice) == second


async def test_the_token_of_a_session_is_exchanged(provider: OAuthProvider) -> None:
    async with exchanging(provider, subject="session", provider="corp") as (credentials, server):
        with pytest.raises(CredentialProblem, match="needs a sign-in at corp"):
            await credentials.token_for(server, "alice", None)
        answer = provider.sign_in("alice")
        await credentials.vault.put("alice", "corp", Token(answer["access_token"], answer["refresh_token"]))
        claims = provider.grants.verified(await credentials.token_for(server, "alice", None))
        assert claims is not None
        assert (claims["sub"], claims["aud"]) == ("alice", "crm")


async def test_who_shows_no_token_has_none_to_exchange(provider: OAuthProvider) -> None:
    async with exchanging(provider) as (credentials, server):
        for principal in (None, Principal("key")):
            with pytest.raises(CredentialProblem, match="authenticate with one, not with a key"):
                await credentials.token_for(server, "alice", principal)
        assert provider.seen == []


@pytest.mark.parametrize(
    ("how", "said"),
    [("invalid_request", "is not given for yours \\(invalid_request\\)"), (500, "cannot be had now: .* HTTP 500")],
)
async def test_what_the_issuer_refuses_is_said(provider: OAuthProvider, how: Any, said: str) -> None:
    async with exchanging(provider) as (credentials, server):
        alice = caller(provider, "alice")
        provider.fail("token", how)
        with pytest.raises(CredentialProblem, match=said) as raised:
            await credentials.token_for(server, "alice", alice)
        assert alice.token is not None
        assert alice.token not in str(raised.value)
        assert await credentials.token_for(server, "alice", alice)
