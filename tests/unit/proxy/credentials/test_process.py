"""A process is given its token in an environment variable, and another process with another token."""

from typing import Any

import pytest

from mcp_operator_proxy.config import ProxyConfig
from support.backends import client
from support.gateway import running_gateway
from support.oauth import OAuthProvider
from support.waiting import Eventually
from unit.proxy.bridge.harness import raw

SECRET = "client s3cret:%"


@pytest.fixture
def conf(provider: OAuthProvider) -> ProxyConfig:
    first, *args = raw()
    endpoint = {"issuer": provider.issuer, "clientId": "proxy", "clientSecret": {"file": "secret"}}
    crm: dict[str, Any] = {
        "id": "ns/crm",
        "stdio": {"command": first, "args": args},
        "credential": {"kind": "clientCredentials", "endpoint": endpoint},
        "credentialEnv": "CRM_TOKEN",
    }
    routes = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/crm", "prefix": "crm"}]}]
    return ProxyConfig.model_validate({"revision": "1", "servers": [crm], "routes": routes})


async def test_a_process_has_the_token_that_is_right_now(
    provider: OAuthProvider, conf: ProxyConfig, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="mcp_operator_proxy")
    async with running_gateway(conf, {"secret": SECRET}) as gateway:
        machine = gateway.proxy.services.credentials._engine.machine

        def backend() -> Any:
            state = gateway.proxy.state
            assert state is not None
            return state.backends["ns/crm"]

        async def seen() -> Any:
            async with client(gateway.url) as through:
                found = (await through.call_tool("crm_environment", {"name": "CRM_TOKEN"})).structured_content
                return (found or {}).get("value")

        await eventually(lambda: backend().status.ever_ready)
        first = machine.token("ns/crm")
        assert first is not None
        assert await seen() == first
        assert first in backend().secrets()  # what is redacted
        before = backend()
        assert await machine.renewed("ns/crm", first, 60)
        second = machine.token("ns/crm")
        assert second != first
        await eventually(lambda: backend() is not before and backend().status.ever_ready)
        assert await seen() == second
        assert provider.count("token") == 2
        text = (await gateway.get("/status")).text + caplog.text + repr(gateway.proxy.state)
        assert all(token is not None and token not in text for token in (first, second))
