"""The proxy's own tokens: one for all, obtained while the swap goes on, renewed, and asked for again when one is refused."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import Client

from mcp_operator_proxy.config import ProxyConfig, Server
from support.gateway import Gateway, make_config, running_gateway
from support.oauth import OAuthProvider
from support.oauth.resource import ProtectedMCP
from support.waiting import Eventually

SECRET = "client s3cret:%"  # what a form-encoding has to treat


@pytest.fixture
async def protected(provider: OAuthProvider) -> AsyncIterator[ProtectedMCP]:
    async with ProtectedMCP(provider) as made:
        yield made


def config(server: str, provider: OAuthProvider, **endpoint: Any) -> ProxyConfig:
    where = endpoint or {"issuer": provider.issuer}
    credential = {
        "kind": "clientCredentials",
        "endpoint": {"clientId": "proxy", "clientSecret": {"file": "secret"}, **where},
        "scopes": ["tools", "more"],
        "resource": server,
    }
    return make_config({"crm": server}, server={"credential": credential})


def state_of(gateway: Gateway) -> tuple[str, str]:
    report = gateway.proxy.status().servers[0]
    return report.state, report.error.message if report.error else ""


@pytest.mark.parametrize("authentication", ["basic", "post"])
async def test_one_token_serves_all_callers(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually, authentication: str
) -> None:
    protected.audience = protected.url
    conf = config(protected.url, provider, url=provider.token_url, authentication=authentication)
    async with running_gateway(conf, {"secret": SECRET}) as gateway:
        await eventually(lambda: state_of(gateway)[0] == "ready")
        for _ in range(3):
            async with Client(gateway.url) as client:
                assert (await client.call_tool("crm_whoami")).data == "proxy"
        assert provider.count("token") == 1
        seen = provider.seen[-1]
        assert seen.authentication == authentication
        assert seen.values["scope"] == "tools more"
        assert seen.values["resource"] == protected.url
        assert len(set(protected.shown)) == 1


async def test_until_there_is_a_token_the_report_says_so_and_nothing_is_asked(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually
) -> None:
    provider.fail("token", "slow")
    async with running_gateway(config(protected.url, provider), {"secret": SECRET}, warm_seconds=5) as gateway:
        await eventually(lambda: provider.count("token") == 1)
        state, words = state_of(gateway)
        assert state == "error"
        assert words == "it waits for a token from its authorization server"
        assert protected.shown == []
        provider.release.set()
        await eventually(lambda: state_of(gateway)[0] == "ready")
        async with Client(gateway.url) as client:
            assert (await client.call_tool("crm_whoami")).data == "proxy"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (503, "its token endpoint answered HTTP 503"),
        ("garbage", "its token endpoint does not answer with a token"),
        ("invalid_scope", "it answered invalid_scope"),
    ],
)
async def test_what_goes_wrong_is_said_and_tried_again(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually, how: Any, words: str
) -> None:
    provider.fail("token", how, "slow")
    async with running_gateway(config(protected.url, provider), {"secret": SECRET}, warm_seconds=1) as gateway:
        await eventually(lambda: words in state_of(gateway)[1])
        provider.release.set()
        await eventually(lambda: state_of(gateway)[0] == "ready")


async def test_a_wrong_secret_is_said_without_being_shown(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually
) -> None:
    async with running_gateway(
        config(protected.url, provider), {"secret": "hunter2hunter2"}, warm_seconds=1
    ) as gateway:
        await eventually(lambda: "it answered invalid_client" in state_of(gateway)[1])
        assert "hunter2" not in (await gateway.get("/status")).text


async def test_a_token_that_the_server_refuses_is_replaced_and_the_call_is_made_again(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually
) -> None:
    async with running_gateway(config(protected.url, provider), {"secret": SECRET}) as gateway:
        await eventually(lambda: state_of(gateway)[0] == "ready")
        async with Client(gateway.url) as client:
            for _ in range(2):  # the second goes by the fast lane
                protected.refused.update(protected.shown)
                assert (await client.call_tool("crm_spend")).data == "spent by proxy"
        assert provider.count("token") == 3


async def test_a_token_that_is_refused_while_nobody_calls_is_replaced_too(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually
) -> None:
    conf = config(protected.url, provider)
    servers = (conf.servers[0].model_copy(update={"refresh_seconds": 0.3}),)
    async with running_gateway(conf.model_copy(update={"servers": servers}), {"secret": SECRET}) as gateway:
        await eventually(lambda: state_of(gateway)[0] == "ready")
        protected.refused.update(protected.shown)
        await eventually(lambda: provider.count("token") == 2)
        await eventually(lambda: state_of(gateway)[0] == "ready")


async def test_a_swap_keeps_the_token_and_another_client_gets_another(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually
) -> None:
    conf = config(protected.url, provider)
    async with running_gateway(conf, {"secret": SECRET}) as gateway:
        await eventually(lambda: state_of(gateway)[0] == "ready")
        backend = gateway.proxy.state.backends["ns/crm"]  # type: ignore[union-attr]
        assert not await gateway.proxy.apply(conf, {"secret": SECRET})
        await gateway.proxy.apply(conf.model_copy(update={"revision": "2", "access_log": False}), {"secret": SECRET})
        assert provider.count("token") == 1
        assert state_of(gateway)[0] == "ready"
        provider.add_client("proxy", "another secret")
        await gateway.proxy.apply(conf, {"secret": "another secret"})
        await eventually(lambda: provider.count("token") == 2)
        await eventually(lambda: state_of(gateway)[0] == "ready")
        assert gateway.proxy.state.backends["ns/crm"] is backend  # type: ignore[union-attr]


async def test_a_token_that_comes_while_a_swap_waits_is_shown(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually
) -> None:
    """The second configuration reaches the server otherwise, by a backend that was made before there was a token."""
    provider.fail("token", "slow")
    conf = config(protected.url, provider)
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with running_gateway(conf, {"secret": SECRET}, warm_seconds=60) as gateway:
        moved = conf.servers[0].model_copy(update={"http2": True})
        slow = Server.model_validate(
            {"id": "ns/slow", "url": f"http://127.0.0.1:{port}/mcp", "connectTimeoutSeconds": 60}
        )
        second = conf.model_copy(update={"revision": "2", "servers": (moved, slow)})
        swap = asyncio.create_task(gateway.proxy.apply(second, {"secret": SECRET}))
        await eventually(lambda: bool(held))
        provider.release.set()
        machine = gateway.proxy.services.credentials._engine.machine
        await eventually(lambda: machine.token("ns/crm") is not None)
        assert not swap.done()
        silent.close()
        for writer in held:
            writer.transport.abort()
        await swap
        await eventually(lambda: state_of(gateway)[0] == "ready")


async def test_a_token_is_renewed_before_it_ends(protected: ProtectedMCP, eventually: Eventually) -> None:
    provider = protected.provider
    provider.grants.lifetime = 2
    async with running_gateway(config(protected.url, provider), {"secret": SECRET}) as gateway:
        await eventually(lambda: state_of(gateway)[0] == "ready")
        machine = gateway.proxy.services.credentials._engine.machine
        first, provider.grants.lifetime = machine.token("ns/crm"), 3600
        async with Client(gateway.url) as client:
            await eventually(lambda: machine.token("ns/crm") != first)
            assert (await client.call_tool("crm_whoami")).data == "proxy"


async def test_no_token_is_shown_by_what_people_read(
    provider: OAuthProvider, protected: ProtectedMCP, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with running_gateway(config(protected.url, provider), {"secret": SECRET}) as gateway:
        await eventually(lambda: state_of(gateway)[0] == "ready")
        state = gateway.proxy.state
        shown = [(await gateway.get("/status")).text, (await gateway.get("/metrics")).text, caplog.text, repr(state)]
        shown.append(repr(gateway.proxy._prepared))
        for secret in provider.grants.secrets:
            assert all(secret not in text for text in shown), re.sub(r".", "x", secret)
