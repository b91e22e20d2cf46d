"""`/servers` and `/health`: how servers are, and their life in the hands of operators."""

import asyncio
from typing import Any

import psutil
import pytest

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.report import StatusReport
from mcp_operator_proxy.services.lifecycle import STOPPED
from mcp_operator_proxy.services.rest.models import ServerHealth, ServerState
from mcp_operator_proxy.services.rest.own import verdict
from support.gateway import Gateway, make_config, running_gateway
from support.stores import running_redis
from support.waiting import Eventually

from .backends import STDIO, calculator
from .conftest import Rest, call, problem

KEY = "k" * 40


async def act(gateway: Gateway, name: str, action: str) -> dict[str, Any]:
    answer = await gateway.http.post(f"{gateway.base}/servers/{name}/{action}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_server_is_named_by_its_name_or_with_its_namespace(serving: Rest) -> None:
    async with calculator() as served:
        servers = [{"id": f"{ns}/calc", "url": served.url} for ns in ("one", "two")]
        servers.append({"id": "one/only", "url": served.url})
        entries = [{"server": server["id"], "prefix": f"p{n}"} for n, server in enumerate(servers)]
        routes = [{"name": "r", "path": "/mcp", "servers": entries}]
        config = ProxyConfig.model_validate({"revision": "1", "servers": servers, "routes": routes, "rest": {}})
        async with running_gateway(config) as gateway:
            for path in ("one/calc", "one%2Fcalc"):
                assert (await gateway.get(f"/servers/{path}")).json()["server_id"] == "one/calc"
            assert (await gateway.get("/servers/only")).json()["server_id"] == "one/only"
            assert "one/calc, two/calc" in problem(await gateway.get("/servers/calc"), "ambiguous-server")["detail"]
            problem(await gateway.get("/tools/list?server_id=calc"), "ambiguous-server")
            assert [s["server_id"] for s in (await gateway.get("/servers")).json()["servers"]] == [
                s["id"] for s in servers
            ]
            assert (await call(gateway, "one/calc.add", {"a": 1})).json()["success"]
            assert (await call(gateway, "only.add", {"a": 1})).json()["success"]


async def test_stop_and_start(serving: Rest) -> None:
    async with (
        calculator() as served,
        calculator() as other,
        serving({"calc": served.url, "more": other.url}) as gateway,
    ):
        assert (await act(gateway, "calc", "stop"))["state"] == "stopped"
        stopped = problem(await call(gateway, "calc.add", {"a": 1}), "server-unavailable")
        assert "an operator has stopped it" in stopped["detail"]
        assert (await call(gateway, "more.add", {"a": 1})).status_code == 200
        assert (await gateway.get("/tools/list")).json()["total"] == 5
        assert (await gateway.get("/health")).json()["status"] == "healthy"
        status = StatusReport.model_validate_json((await gateway.get("/status")).content)
        assert {server.id: (server.state, server.stopped) for server in status.servers} == {
            "ns/calc": ("pending", True),
            "ns/more": ("ready", False),
        }
        metrics = (await gateway.get("/metrics")).text
        assert 'mcp_proxy_backend_up{server="ns/more"}' in metrics
        assert 'mcp_proxy_backend_up{server="ns/calc"}' not in metrics
        # A new configuration does not start it.
        await gateway.proxy.apply(make_config({"calc": served.url, "more": other.url}, rest={}, accessLog=False))
        assert (await gateway.get("/servers/calc")).json()["state"] == "stopped"
        assert (await act(gateway, "calc", "start"))["state"] == "running"
        assert (await call(gateway, "calc.add", {"a": 1})).status_code == 200
        assert (await act(gateway, "calc", "start"))["state"] == "running"


async def test_calls_in_flight_end_before_a_server_does(serving: Rest, eventually: Eventually) -> None:
    slow = {"tools": [{"name": "slow", "callTimeoutSeconds": 0.5}]}
    async with calculator() as served, serving({"calc": served.url}, server=slow) as gateway:
        calling = asyncio.create_task(call(gateway, "calc.slow"))
        await eventually(lambda: "tools/call" in served.methods or calling.done())
        await act(gateway, "calc", "stop")
        problem(await calling, "tool-timeout")  # its own end, not that of its server


def stdio_config(**more: Any) -> ProxyConfig:
    entry = {"id": "ns/noisy", "stdio": {**STDIO, "env": [{"name": "TOKEN", "secret": {"file": "token"}}]}}
    routes = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/noisy", "prefix": "noisy"}]}]
    return ProxyConfig.model_validate({"revision": "1", "servers": [entry], "routes": routes, "rest": {}, **more})


async def test_the_life_of_a_process(eventually: Eventually) -> None:
    async with running_gateway(stdio_config(), {"token": "hunter2-hunter2"}) as gateway:

        async def pid() -> int:
            found: int = (await call(gateway, "noisy.pid")).json()["result"]["structuredContent"]["result"]
            return found

        first = await pid()
        shown = (await gateway.get("/servers/noisy")).json()
        assert (shown["transport"], shown["process"]["pid"], shown["state"]) == ("stdio", first, "running")
        logs = (await gateway.get("/servers/noisy/logs?lines=1000")).json()
        assert logs["server_id"] == "ns/noisy"
        said = [line["text"] for line in logs["lines"] if "starting with" in line["text"]]
        assert said
        assert "hunter2" not in str(logs)
        await act(gateway, "noisy", "restart")
        second = await pid()
        assert second != first
        await act(gateway, "noisy", "stop")
        await eventually(lambda: not _alive(second))
        problem(await gateway.get("/servers/noisy/logs"), "no-process")
        await act(gateway, "noisy", "start")
        assert await pid() not in (first, second)


def _alive(pid: int) -> bool:
    return bool(psutil.pid_exists(pid))


async def test_replicas_that_share_a_redis_do_the_same(eventually: Eventually) -> None:
    stores = {"redis": {"file": "redis"}, "encryptionKeys": [{"file": "key"}]}
    with running_redis() as redis:
        secrets = {"redis": redis.url, "key": KEY}
        async with calculator() as served:
            config = make_config({"calc": served.url}, rest={}, stores=stores)
            async with running_gateway(config, secrets) as one, running_gateway(config, secrets) as other:
                await act(one, "calc", "stop")

                async def state(gateway: Gateway, wanted: str) -> bool:
                    return bool((await gateway.get("/servers/calc")).json()["state"] == wanted)

                await eventually(lambda: state(other, "stopped"))
                assert await one.proxy.services.stores.keyvalue.keys(STOPPED) == [f"{STOPPED}ns/calc"]
                async with running_gateway(config, secrets) as late:
                    await eventually(lambda: state(late, "stopped"))
                await act(other, "calc", "start")
                await eventually(lambda: state(one, "running"))


def health(*states: ServerState) -> list[ServerHealth]:
    return [ServerHealth(server_id=f"s{n}", state=state, error=None) for n, state in enumerate(states)]


@pytest.mark.parametrize(
    ("not_ready", "servers", "stores", "status"),
    [
        (None, [], {}, "healthy"),
        (None, health("running", "stopped"), {"redis": "up", "database": "unused"}, "healthy"),
        (None, health("running", "error"), {}, "degraded"),
        (None, health("running", "pending"), {}, "degraded"),
        (None, health("running"), {"redis": "down", "database": "up"}, "degraded"),
        (None, health("running"), {"redis": "up", "database": "down"}, "degraded"),
        (None, health("error", "error"), {}, "down"),
        (None, health("error", "stopped"), {}, "down"),
        ("draining", health("running"), {}, "down"),
    ],
)
def test_healthy_degraded_down(
    not_ready: str | None, servers: list[ServerHealth], stores: dict[str, str], status: str
) -> None:
    found, reason = verdict(not_ready, servers, stores)
    assert found == status
    assert (reason is None) == (status == "healthy")


async def test_health_over_http(serving: Rest, eventually: Eventually) -> None:
    stores = {"redis": {"file": "redis"}, "encryptionKeys": [{"file": "key"}]}
    with running_redis() as redis:
        async with (
            calculator() as served,
            calculator() as other,
            serving(
                {"calc": served.url, "more": other.url},
                {"redis": redis.url, "key": KEY},
                stores=stores,
                server={"refreshSeconds": 0.2, "retry": {"backoffSeconds": 0.1}},
            ) as gateway,
        ):
            body = (await gateway.get("/health")).json()
            assert (body["status"], body["redis"], body["database"]) == ("healthy", "up", "unused")
            assert body["version"]
            assert body["uptime_seconds"] > 0
            await other.stop()

            async def says(status: int, text: str) -> bool:
                answer = await gateway.get("/health")
                return (answer.status_code, answer.json()["status"]) == (status, text)

            await eventually(lambda: says(200, "degraded"))
            assert (await gateway.get("/health")).json()["reason"] == "no answer from ns/more"
            await served.stop()
            await eventually(lambda: says(503, "down"))
            await served.start()
            await eventually(lambda: says(200, "degraded"))
