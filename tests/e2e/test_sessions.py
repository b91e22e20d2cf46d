"""Sessions of the handshake eras in a proxy of several pods with several workers each: any of them answers for any session."""

import json
from collections.abc import Callable
from typing import Any

import httpx2

from support.kubectl import Namespace, eventually
from support.resources import proxy, remote

CORE = {"team": "core"}
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
VERSION = "2025-11-25"


def _post(url: str, body: dict[str, Any], session: str | None = None) -> httpx2.Response:
    """One request on a connection of its own."""
    more = {} if session is None else {"mcp-session-id": session, "mcp-protocol-version": VERSION}
    return httpx2.post(url, json={"jsonrpc": "2.0", **body}, headers={**HEADERS, **more}, timeout=20)


def _result(response: httpx2.Response) -> Any:
    """The result in a JSON answer or in the last event of a stream."""
    assert response.status_code == 200, f"{response.status_code} {response.text}"
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")][-1]
    return json.loads(text)["result"]


def _open(url: str) -> str:
    params = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    answer = _post(url, {"id": 0, "method": "initialize", "params": params})
    _result(answer)
    session = answer.headers["mcp-session-id"]
    assert _post(url, {"method": "notifications/initialized"}, session).status_code == 202
    return session


def _add(url: str, session: str, number: int) -> str:
    params = {"name": "steady_add", "arguments": {"a": number, "b": 1}}
    answer = _post(url, {"id": number, "method": "tools/call", "params": params}, session)
    text: str = _result(answer)["content"][0]["text"]
    return text


def test_any_replica_answers_for_any_session(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Through the Service and at each pod; ended at one it is ended at all; after the death of its pod it goes on."""
    namespace.apply(remote("steady", backend("steady"), labels=CORE), proxy(selector=CORE, replicas=2, workers=2))
    namespace.wait("mcpp", "tools", "Ready")
    service = namespace.service_url("tools-proxy", "/mcp")
    pods = {
        pod["metadata"]["name"]: f"http://{pod['status']['podIP']}:8080/mcp"
        for pod in namespace.pods("mcp-operator.dev/proxy=tools")
    }
    assert len(pods) == 2
    session = _open(service)
    for number, url in enumerate([service, *pods.values()] * 8):
        assert _add(url, session, number) == str(number + 1)

    first, second = pods.values()
    ended = _open(first)
    assert httpx2.delete(second, headers={**HEADERS, "mcp-session-id": ended}, timeout=20).status_code in (200, 204)
    for url in pods.values():
        assert _post(url, {"id": 1, "method": "tools/list"}, ended).status_code == 404

    victim, survivor = pods
    orphan = _open(pods[victim])
    assert _add(pods[survivor], orphan, 7) == "8"
    namespace.run("delete", "pod", victim, "--grace-period=0", "--force")
    eventually(
        lambda: victim not in {pod["metadata"]["name"] for pod in namespace.pods("mcp-operator.dev/proxy=tools")}
    )
    assert _add(pods[survivor], orphan, 8) == "9"
    assert _add(pods[survivor], orphan, 9) == "10"
