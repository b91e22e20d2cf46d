"""A canary from its manifest to its condition: the operator at work, a real proxy with what it wrote, a real MCP server.

The API server is in memory; the name of the proxy's Service leads to loopback.
"""

import base64
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError

from mcp_operator.app.operator import Operator
from mcp_operator.engine.keys import Key
from mcp_operator.probe.state import SAMPLES
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import ServerReport
from mcp_operator_proxy.serve import running
from support import resources
from support.apiserver import ApiServer, Body
from support.backends import ServedMCP, eventually, free_port

Start = Callable[..., AbstractAsyncContextManager[Operator]]
CORE = {"team": "core"}
QUICK = {"interval": "100ms", "timeout": "30s", "failureThreshold": 2}
SERVICE = "tools-proxy.team-a.svc"


def _served() -> ServedMCP:
    mcp: FastMCP[Any] = FastMCP("demo", version="1")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    @mcp.tool
    def query() -> str:
        raise ToolError("the database is away")

    return ServedMCP(mcp)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the proxy listens: its pods do so, and its Service."""
    real, found = socket.getaddrinfo, free_port()

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if text == SERVICE else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("mcp_operator.reconcile.proxy.PORT", found)
    return found


@asynccontextmanager
async def _pod(api: ApiServer, port: int) -> AsyncIterator[Proxy]:
    """As the Deployment controller and a kubelet: one pod runs and has the configuration."""
    await eventually(lambda: "tools-proxy" in api.names("Deployment"))
    async with Proxy(warm_seconds=5) as proxy, running(proxy, "127.0.0.1", port, grace_seconds=1):
        config = ProxyConfig.model_validate_json(api.get("ConfigMap", "tools-proxy-config")["data"]["config.json"])
        held = api.get("Secret", "tools-proxy-secrets")["data"]
        await proxy.apply(config, {file: base64.b64decode(value).decode() for file, value in held.items()})
        labels = api.get("Deployment", "tools-proxy")["spec"]["template"]["metadata"]["labels"]
        api.kubectl_apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": {}})
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]}
        api.edit("Pod", "p", lambda pod: pod.update(status=status))
        up = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
        api.edit("Deployment", "tools-proxy", lambda body: body.update(status=up))
        yield proxy


def _condition(api: ApiServer, of: str) -> tuple[str, str]:
    listed = api.get("McpServer", "far").get("status", {}).get("conditions", [])
    return next(((c["status"], c["reason"]) for c in listed if c["type"] == of), ("", ""))


def _far(served: ServedMCP, **more: Any) -> Body:
    return resources.remote("far", served.url, labels=CORE, health=QUICK, **more)


def _canary(tool: str = "add", **more: Any) -> Body:
    return {"tool": tool, "arguments": {"a": 1, "b": 2} if tool == "add" else {}, "interval": "1s", **more}


async def test_a_canary(api: ApiServer, start: Start, port: int) -> None:
    async with _served() as served, start() as operator:
        api.kubectl_apply(resources.proxy(selector=CORE, service={"port": port}))
        api.kubectl_apply(_far(served, canary=_canary(expect={"contains": "3", "structured": {"result": 3}})))
        await eventually(lambda: _condition(api, "Ready") == ("True", "Ready"))
        assert _condition(api, "CanaryPassing") == ("Unknown", "NotCalled")
        async with _pod(api, port):
            await eventually(lambda: _condition(api, "CanaryPassing") == ("True", "CallPassed"))
            assert "tools/call" in served.methods

            health = partial(operator._prober.health, Key("McpServer", "team-a", "far"))
            await eventually(lambda: (found := health()) and len(found.samples) == SAMPLES)  # its latency has settled
            await operator.queue.join()
            writes, called = len(api.writes), served.methods.count("tools/call")
            await eventually(lambda: served.methods.count("tools/call") >= called + 2)
            assert [write for write in api.writes[writes:] if write.startswith("McpServer")] == []

            api.kubectl_apply(_far(served, canary=_canary(expect={"contains": "4"})))
            await eventually(lambda: _condition(api, "CanaryPassing") == ("False", "UnexpectedAnswer"))
            assert _condition(api, "Ready") == ("True", "Ready")
            api.kubectl_apply(_far(served, canary=_canary("query")))
            await eventually(lambda: _condition(api, "CanaryPassing") == ("False", "CallFailed"))
            assert _condition(api, "Ready") == ("True", "Ready"), "it is discovered all the same"
            api.kubectl_apply(_far(served, canary=_canary("query", required=True)))
            await eventually(lambda: _condition(api, "Ready") == ("False", "CallFailed"))
            api.kubectl_apply(_far(served))
            await eventually(lambda: _condition(api, "Ready") == ("True", "Ready"))
            assert _condition(api, "CanaryPassing") == ("", "")


async def test_digests_of_operator_and_proxy_are_the_same(api: ApiServer, start: Start, port: int) -> None:
    async with _served() as served, start() as operator:
        api.kubectl_apply(resources.proxy(selector=CORE, service={"port": port}))
        api.kubectl_apply(_far(served))
        await eventually(lambda: _condition(api, "Ready") == ("True", "Ready"))
        async with _pod(api, port):
            proxy = next(key for key in operator._context.showing)

            def listed() -> list[ServerReport]:
                states = operator._replicas.states(proxy).values()
                return [server for state in states for server in state.servers if server.state == "ready"]

            (seen,) = await eventually(listed)
            assert seen.digest == api.get("McpServer", "far")["status"]["tools"]["digest"]
            assert seen.digest.startswith("sha256:")


async def test_what_a_proxy_notices_becomes_an_event_once(api: ApiServer, start: Start, port: int) -> None:
    def told() -> list[tuple[str, str, str]]:
        found = [event for event in api.events if event["reason"] in {"ServerRestarted", "CredentialNotRefreshed"}]
        return sorted((e["reason"], e["involvedObject"]["kind"], e["involvedObject"]["name"]) for e in found)

    async with _served() as served, AsyncExitStack() as stack:
        operating = await stack.enter_async_context(AsyncExitStack())
        await operating.enter_async_context(start())
        api.kubectl_apply(resources.proxy(selector=CORE, service={"port": port}))
        api.kubectl_apply(_far(served))
        proxy = await stack.enter_async_context(_pod(api, port))
        proxy.services.notices.tell("server.restarted", "team-a/far", {"message": "it ended with code 3"})
        proxy.services.notices.tell("credential.not-refreshed", "azure", {"user": "ann", "error": "invalid_grant"})
        both = [("CredentialNotRefreshed", "McpProxy", "tools"), ("ServerRestarted", "McpServer", "far")]
        await eventually(lambda: told() == both)
        await operating.aclose()
        async with start() as another:  # which hears the same, and one more
            proxy.services.notices.tell("server.restarted", "team-a/far", {"message": "it ended again"})
            await eventually(lambda: len(told()) == 3)
            await another.queue.join()
        assert told() == [*both, both[1]]
