"""What a Prometheus scrapes in these tests: two real proxies with real servers and callers, and the operator's endpoint.

The operator works on an API server in memory with real probes. What needs pods and watch streams (swaps, canary calls, restarts,
ages of watches) is put into its metrics as its parts do it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from prometheus_client import CollectorRegistry

from mcp_operator.api import meta
from mcp_operator.app import endpoints
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.operator import Operator
from mcp_operator.app.options import parse
from mcp_operator.engine.keys import Key
from mcp_operator.kube.client import KubeClient
from mcp_operator.probe.canary import CanaryResult
from mcp_operator.probe.mcp import probe
from mcp_operator.watch import LABELLED, WATCHED
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from mcp_operator_proxy.services.credentials.token import CredentialProblem, Token
from mcp_operator_proxy.tls import Certificates
from support import resources
from support.apiserver import AWAY, ApiServer, Body
from support.backends import ServedMCP, client, dead_port
from support.gateway import Gateway, make_config, running_gateway
from support.kubeconfig import kubeconfig
from support.oauth import OAuthProvider
from support.tls import issue
from unit.proxy.bridge.harness import raw

KEY = "the-long-api-key-of-alice"
SECRET = "client s3cret:%"
SECRETS = {"key-alice": KEY, "secret": SECRET}
QUICK = {"interval": "200ms", "timeout": "5s", "failureThreshold": 1}


def tools() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("tools")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    @mcp.tool
    def broken() -> str:
        raise ToolError("it fails")

    @mcp.tool
    def lasting() -> str:
        return "the same"

    return mcp


class Proxies:
    """One proxy asks its callers for a key, the other one serves TLS."""

    def __init__(self, gateway: Gateway, provider: OAuthProvider, urls: dict[str, str], tls: tuple[Proxy, int]) -> None:
        self.gateway = gateway
        self.encrypted, self.encrypted_port = tls
        self._provider = provider
        self._urls = urls
        self._round = 0

    def url_of(self, name: str) -> str:
        return self._urls[name]

    @property
    def port(self) -> int:
        return int(self.gateway.base.rpartition(":")[2])

    async def busy(self) -> None:
        """Something of everything, once more."""
        self._round += 1
        proxy = self.gateway.proxy
        assert await proxy.apply(configured(self._urls, self._provider.issuer, f"r{self._round}"), SECRETS)
        proxy.reject(f"bad-{self._round}", "it is none")
        async with (
            client(self.gateway.url, "legacy", auth=KEY) as one,
            client(self.gateway.url, "auto", auth=KEY) as other,
        ):
            for through in (one, other):
                for _ in range(3):
                    assert (await through.call_tool("time_add", {"a": 1, "b": 2})).data == 3
                    await through.call_tool("time_lasting", {})
                assert (await through.call_tool("time_broken", {}, raise_on_error=False)).is_error
                with contextlib.suppress(MCPError):  # the third one within a minute, and all that follow
                    await through.call_tool("files_add", {"a": 1, "b": 2})
                await through.call_tool("cmd_echo", {"text": "hello"}, raise_on_error=False)
        answer = await self.gateway.get(
            "/tools/search", params={"q": "sum"}, headers={"authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code == 200, answer.text
        await self._users()

    async def _users(self) -> None:
        users, credentials = self.gateway.proxy.services.users, self.gateway.proxy.services.credentials
        await users.start("key/alice")
        await users.end("key/alice")
        await users.start("key/bob")
        state = self.gateway.proxy.state
        assert state is not None
        (server,) = [server for server in state.config.servers if server.id == "ns/mine"]
        for user, failure in ((f"a{self._round}", None), (f"b{self._round}", 500)):
            answer = self._provider.sign_in(user)
            soon = Token(answer["access_token"], answer["refresh_token"], time.time() + 5, ("openid",), None)
            await credentials.vault.put(user, "corp", soon)
            if failure:
                self._provider.fail("token", failure)
            with contextlib.suppress(CredentialProblem):  # on a busy machine the token may have ended by now
                await credentials.token_for(server, user, None)


def configured(urls: dict[str, str], issuer: str, revision: str) -> ProxyConfig:
    config = make_config(
        {**urls, "mine": f"http://127.0.0.1:{dead_port()}/mcp"},
        revision=revision,
        auth={"apiKeys": [{"name": "alice", "secret": {"file": "key-alice"}}]},
        providers=[
            {"name": "corp", "kind": "oidc", "issuer": issuer, "clientId": "proxy", "clientSecret": {"file": "secret"}}
        ],
        rateLimits=[{"name": "few", "limit": "2/minute", "servers": "ns/files"}],
        rest={},
    )
    data = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    by_id = {server["id"]: server for server in data["servers"]}
    by_id["ns/mine"]["credential"] = {"kind": "userToken", "provider": "corp"}
    by_id["ns/time"]["tools"] = [{"name": "lasting", "cacheSeconds": 60}]
    by_id["ns/files"]["pinning"] = "warn"
    data["servers"].append({"id": "ns/cmd", "stdio": {"command": raw()[0], "args": raw()[1:]}})
    data["routes"][0]["servers"].append({"server": "ns/cmd", "prefix": "cmd"})
    return ProxyConfig.model_validate(data)


@asynccontextmanager
async def proxies() -> AsyncIterator[Proxies]:
    issued = issue()
    files = {"tls": {"certificate": {"file": "tls.crt"}, "key": {"file": "tls.key"}}}
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(OAuthProvider())
        provider.add_client("proxy", SECRET)
        served = [await stack.enter_async_context(ServedMCP(tools())) for _ in range(2)]
        urls = {"time": served[0].url, "files": served[1].url, "dead": f"http://127.0.0.1:{dead_port()}/mcp"}
        gateway = await stack.enter_async_context(running_gateway(configured(urls, provider.issuer, "r0"), SECRETS))
        encrypted = await stack.enter_async_context(Proxy(certificates=Certificates()))
        server = await stack.enter_async_context(running(encrypted, "127.0.0.1", 0, grace_seconds=2))
        await encrypted.apply(make_config({}, **files), {"tls.crt": issued.chain, "tls.key": issued.key})
        yield Proxies(gateway, provider, urls, (encrypted, server.port))


@dataclass
class Operating:
    metrics: OperatorMetrics
    api: ApiServer
    operator: Operator
    port: int
    url: str
    _round: int = 0

    async def busy(self) -> None:
        self._round += 1
        self.api.refuse("PATCH", "/deployments/", AWAY, times=1)
        self.api.kubectl_apply(resources.container(f"near-{self._round}", "image:1"))
        self.api.kubectl_apply(resources.remote(f"far-{self._round}", self.url, health=QUICK))
        key = Key("McpServer", "team-a", "far")
        self.metrics.swapped(0.4 * self._round)
        self.metrics.called(key, CanaryResult(time=datetime.now(UTC), seconds=0.1, outcome="CallPassed"))
        self.metrics.restarted()


@asynccontextmanager
async def operating(folder: Path, url: str) -> AsyncIterator[Operating]:
    """With a server that lives, one that is dead, and a proxy without pods."""
    registry = CollectorRegistry()
    metrics = OperatorMetrics(registry)
    async with (
        ApiServer() as api,
        KubeClient.connect(kubeconfig(folder / "kubeconfig", api.url), answered=metrics.answered) as kube,
        Operator(parse(["--identity", "test", "--egress-allow", "loopback"]), kube, metrics) as operator,
    ):
        operator._prober._probe = probe

        def observe(event: str, body: Body) -> None:
            ours = (body["metadata"].get("labels") or {}).get(meta.LABEL_MANAGED_BY) == meta.MANAGED_BY
            if body["kind"] in WATCHED and (ours or body["kind"] not in LABELLED):
                operator.observe(body["kind"], event, body)

        def before_metrics() -> None:
            metrics.note_age({kind.kind: 1.5 for kind in meta.KINDS}, operator.longest_reconcile())
            metrics.count_objects(operator.store)

        api.kubectl_apply(resources.remote("far", url, health=QUICK))
        api.kubectl_apply(resources.remote("dead", f"http://127.0.0.1:{dead_port()}/mcp", health=QUICK))
        api.kubectl_apply(resources.proxy(selector={}))
        api.changed = observe
        metrics.leads(leading=True)
        parts = (operator.resync.run(), operator.work(), operator.data_watch.run())
        tasks = [asyncio.create_task(part) for part in parts]
        fine: dict[str, Any] = {"alive": lambda: None, "ready": lambda: None}
        try:
            async with endpoints.serve(
                "127.0.0.1", 0, registry=registry, before_metrics=before_metrics, **fine
            ) as port:
                yield Operating(metrics, api, operator, port, url)
        finally:
            api.changed = lambda *_: None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
