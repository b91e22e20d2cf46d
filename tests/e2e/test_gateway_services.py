"""The gateway's services on a real node: two replicas behind one Service, with a real Redis, from the manifests of examples/.

a session begun at one replica is used at the other and ended at the first · tools found over REST
users kept apart: each has a process of its own, through whichever replica it calls
what they wrote to standard error: for operators, by REST and by the inspector
a key renewed without a restart and without a failed call · a policy changed, a Secret deleted: closed
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from support.kubectl import Namespace, eventually
from support.product import BACKEND_IMAGE, backend_objects
from support.resources import container

from .test_examples import example

Body = dict[str, Any]
APP, OPS, NEW = "change-me-key-of-the-app", "change-me-key-of-the-ops", "another-key-of-the-app"
REDIS_IMAGE = "mcp-operator-test/redis:dev"
DIARY = """
import json, sys
told = []
def answer(request):
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        info = {"name": "diary", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        return {"tools": [{"name": "write", "description": "Writes into the diary of a user", "inputSchema": schema}]}
    if method == "tools/call":
        told.append(params["arguments"]["text"])
        print("wrote:", params["arguments"]["text"], file=sys.stderr, flush=True)
        return {"content": [{"type": "text", "text": " ".join(told)}]}
    return {}
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request and "method" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": answer(request)}), flush=True)
"""


def redis() -> list[Body]:
    """Its Deployment and Service."""
    deployment, service = backend_objects("redis", image=REDIS_IMAGE)
    (server,) = deployment["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
    server |= {"ports": [{"containerPort": 6379}], "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1}}
    service["spec"]["ports"] = [{"port": 6379}]  # type: ignore[index]
    return [deployment, service]


def bodies(namespace: Namespace) -> dict[str, Body]:
    """Of the example, but for the Redis and the servers, and with limits that a test does not meet."""
    found = example("gateway-services")
    found["Secret/gateway-stores"]["stringData"]["redis"] = f"redis://redis.{namespace.name}.svc:6379/0"
    for limit in found["McpProxy/gateway"]["spec"]["rateLimits"]:
        limit["limit"] = "1000000/minute"
    found["McpProxy/gateway"]["spec"]["inspector"] = {"enabled": True, "operators": ["ops"]}
    labels = {"gateway": "yes"}
    found["McpServer/time"] = container(
        "time", BACKEND_IMAGE, labels=labels, env={"TOOLS": "hello"}, category="greetings"
    )
    found["McpServer/memory"]["spec"]["stdio"] = {"command": "python3", "args": ["-u", "-c", DIARY]}
    return found


@pytest.fixture
def gateway(namespace: Namespace) -> str:
    """The example at work; the URL of its REST interface, through the Service."""
    namespace.apply(*redis(), *bodies(namespace).values())
    namespace.wait("mcps", "time", "Programmed", timeout=120)
    namespace.wait("mcps", "memory", "Programmed", timeout=120)
    namespace.wait("mcpp", "gateway", "Ready", timeout=120)
    return namespace.service_url("gateway-proxy", "/api")


def replicas(namespace: Namespace) -> list[str]:
    """URLs of the REST interface of each pod."""
    pods = namespace.pods("mcp-operator.dev/proxy=gateway")
    return [f"http://{pod['status']['podIP']}:8080/api" for pod in sorted(pods, key=lambda p: p["metadata"]["name"])]


def ask(url: str, path: str, key: str | None = APP, **body: Any) -> httpx2.Response:
    """GET, or POST where there is a body."""
    headers = {} if key is None else {"x-api-key": key}
    with httpx2.Client(trust_env=False, timeout=30) as client:
        method = "POST" if body else "GET"
        return client.request(method, url + path, headers=headers, json=body or None)


def write(url: str, user: str, text: str, **more: Any) -> str:
    answer = ask(url, "/tools/call", tool_id="memory.write", parameters={"text": text}, user_id=user, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"]["content"][0]["text"])


def logs(url: str, namespace: Namespace, server: str, key: str) -> Body:
    """What the inspector tells of a server, asked of a pod by the URL of its REST interface."""
    with httpx2.Client(trust_env=False, timeout=30) as client:
        page = f"{url.removesuffix('/api')}/ui/api/servers/{namespace.name}/{server}"
        answer = client.get(page, headers={"x-api-key": key})
    assert answer.status_code == 200, answer.text
    found: Body = answer.json()
    return found


def test_operators_read_what_hosted_servers_wrote(namespace: Namespace, gateway: str) -> None:
    begun = ask(gateway, "/sessions/start", user_id="alice", mcp_servers=["memory"])
    assert begun.status_code in (200, 201), begun.text
    for url in replicas(namespace):
        eventually(lambda url=url: "memory.write" in ids(ask(url, "/tools/list")))
        said = f"by-{url.split('/')[2]}"
        write(url, "alice", said)
        eventually(lambda url=url, said=said: f"wrote: {said}" in logs(url, namespace, "memory", OPS)["logs"])
        shown = logs(url, namespace, "memory", OPS)
        assert (shown["logsHint"], shown["process"]["restarts"]) == (None, 0)
        lines = ask(url, "/servers/memory/logs?lines=1000", OPS).json()["lines"]
        assert f"wrote: {said}" in [line["text"] for line in lines]
        assert ask(url, "/servers/memory/logs", APP).status_code == 403
        others = logs(url, namespace, "memory", APP)
        assert (others["logs"], others["logsHint"], others["process"]) == ([], None, None)
        hint = logs(url, namespace, "time", OPS)["logsHint"]
        command = hint[hint.index("kubectl") :].split()
        assert command == ["kubectl", "-n", namespace.name, "logs", "deploy/time-server", "-c", "server"]
    assert namespace.run("logs", "deploy/time-server", "-c", "server") is not None


def ids(answer: httpx2.Response) -> set[str]:
    return {tool["tool_id"] for tool in answer.json()["tools"]} if answer.status_code == 200 else set()


def test_two_replicas_serve_each_others_sessions(namespace: Namespace, gateway: str) -> None:
    one, other = replicas(namespace)
    for url in (one, other):
        eventually(lambda url=url: {"time.hello", "time.add"} <= ids(ask(url, "/tools/list")))
    assert ask(gateway, "/tools/list", None).status_code == 401
    eventually(lambda: "time.add" in ask(gateway, "/tools/search?q=add+two+numbers").text)
    assert ids(ask(gateway, "/tools/list?category=greetings")) >= {"time.hello", "time.add"}

    begun = ask(one, "/sessions/start", user_id="alice", mcp_servers=["memory"])
    assert begun.status_code in (200, 201), begun.text
    assert "alice" in ask(other, "/sessions").text
    assert write(other, "alice", "seen-at-the-other", session_id=begun.json()["session_id"]) == "seen-at-the-other"
    with httpx2.Client(trust_env=False, timeout=30) as client:
        ended = client.delete(f"{one}/sessions/alice", headers={"x-api-key": APP})
    assert ended.json()["success"] is True
    eventually(lambda: "alice" not in ask(other, "/sessions").text)
    pods = namespace.pods("mcp-operator.dev/proxy=gateway")
    assert all(s["restartCount"] == 0 for pod in pods for s in pod["status"]["containerStatuses"])


def test_users_are_kept_apart(namespace: Namespace, gateway: str) -> None:
    """Many at once, through the Service: what one of them has written only that one ever reads."""
    users = [f"user-{number}" for number in range(4)]
    for user in users:
        assert ask(gateway, "/sessions/start", user_id=user, mcp_servers=["memory"]).status_code in (200, 201)

    def keep_a_diary(user: str) -> str:
        return [write(gateway, user, f"{user}/{page}") for page in range(6)][-1]

    with ThreadPoolExecutor(len(users)) as pool:
        read = dict(zip(users, pool.map(keep_a_diary, users), strict=True))
    assert read == {user: " ".join(f"{user}/{page}" for page in range(6)) for user in users}


@contextmanager
def calling(url: str, keys: list[str]) -> Iterator[list[int]]:
    """A client that calls without a pause, with the key that it holds at the time; the statuses that it met."""
    met: list[int] = []
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            met.append(ask(url, "/tools/call", keys[-1], tool_id="time.hello", parameters={}).status_code)

    caller = threading.Thread(target=run)
    caller.start()
    try:
        yield met
    finally:
        done.set()
        caller.join()


def test_a_key_is_renewed_while_it_is_in_use(namespace: Namespace, gateway: str) -> None:
    """The new one beside the old, then callers change over, then the old one goes."""
    eventually(lambda: "time.hello" in ids(ask(gateway, "/tools/list")))
    before = {pod["metadata"]["uid"] for pod in namespace.pods("mcp-operator.dev/proxy=gateway")}
    secret = example("gateway-services")["Secret/gateway-keys"]
    keys = [APP]
    with calling(gateway, keys) as met:
        eventually(lambda: len(met) > 5)
        namespace.apply({**secret, "stringData": {"app": APP, "app-new": NEW, "ops": OPS}})
        for url in replicas(namespace):
            eventually(lambda url=url: ask(url, "/tools/list", NEW).status_code == 200)
        keys.append(NEW)
        count = len(met)
        eventually(lambda: len(met) > count + 5)
        namespace.run("patch", "secret", "gateway-keys", "--type=json", '-p=[{"op": "remove", "path": "/data/app"}]')
        for url in replicas(namespace):
            eventually(lambda url=url: ask(url, "/tools/list", APP).status_code == 401)
    assert set(met) == {200}
    assert {pod["metadata"]["uid"] for pod in namespace.pods("mcp-operator.dev/proxy=gateway")} == before


def test_without_its_secret_it_is_closed(namespace: Namespace, gateway: str) -> None:
    eventually(lambda: ask(gateway, "/tools/list").status_code == 200)
    namespace.run("delete", "configmap", "gateway-policies")
    eventually(lambda: not ids(ask(gateway, "/tools/list")) and ask(gateway, "/tools/list").status_code == 200)
    namespace.run("delete", "secret", "gateway-keys")
    for url in replicas(namespace):
        eventually(lambda url=url: ask(url, "/tools/list").status_code == 401)
    assert ask(gateway, "/tools/list", None).status_code == 401
    namespace.wait("mcpp", "gateway", "ResolvedRefs", "False", reason="RefNotFound")
    namespace.wait("mcpp", "gateway", "Healthy")
