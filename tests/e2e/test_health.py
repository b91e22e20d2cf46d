"""What users do and see when servers are unwell: restarts and their reset, a canary, the catalogue in the status."""

import json
import urllib.request
from collections.abc import Callable
from typing import Any

from support.kubectl import Namespace, eventually
from support.product import BACKEND_IMAGE, backend_objects
from support.resources import container, proxy, remote

CORE = {"team": "core"}
RESTARTED_AT = "mcp-operator.dev/restarted-at"


def _events(namespace: Namespace, name: str) -> dict[str, int]:
    """Reasons of the Events about an McpServer, and how often each came."""
    told: dict[str, int] = {}
    for event in namespace.listed("events"):
        if event["involvedObject"]["kind"] == "McpServer" and event["involvedObject"]["name"] == name:
            told[event["reason"]] = told.get(event["reason"], 0) + event.get("count", 1)
    return told


def _ordered(namespace: Namespace, deployment: str) -> str:
    template = namespace.get("deployment", deployment)["spec"]["template"]["metadata"]
    return str(template.get("annotations", {}).get(RESTARTED_AT, ""))


def test_a_server_that_hangs_is_restarted(namespace: Namespace) -> None:
    """Its pod is up and it never answers: restarted up to the limit, told, restarted again when asked, and well once mended."""
    health = {"interval": "1s", "timeout": "1s", "failureThreshold": 2, "maxRestarts": 1}
    hung = container("hung", BACKEND_IMAGE, labels=CORE, env={"NAME": "hung", "MODE": "hang"}, health=health)
    namespace.apply(hung)
    eventually(
        lambda: namespace.get("mcps", "hung").get("status", {}).get("restarts") == 1,
        timeout=90,
        why=lambda: namespace.get("mcps", "hung").get("status"),
    )
    first = _ordered(namespace, "hung-server")
    assert first
    stalled = namespace.wait("mcps", "hung", "Stalled", reason="RestartLimitReached", timeout=90)
    assert "it was restarted 1 time and still does not answer" in stalled["message"]
    assert namespace.condition("mcps", "hung", "Ready")["reason"] == "Timeout"
    assert _ordered(namespace, "hung-server") == first, "the limit holds"
    eventually(lambda: "RestartLimitReached" in _events(namespace, "hung"), why=lambda: _events(namespace, "hung"))
    assert _events(namespace, "hung")["Restarting"] == 1

    namespace.run("annotate", "mcps/hung", "mcp-operator.dev/reset-restarts=again", "--overwrite")
    eventually(lambda: _ordered(namespace, "hung-server") not in {"", first}, timeout=60)
    eventually(lambda: namespace.get("mcps", "hung")["status"]["restartsReset"] == "again")
    told = {"Restarting": 2, "RestartsReset": 1}
    eventually(lambda: told.items() <= _events(namespace, "hung").items(), why=lambda: _events(namespace, "hung"))

    namespace.apply(container("hung", BACKEND_IMAGE, labels=CORE, env={"NAME": "hung"}, health=health))
    namespace.wait("mcps", "hung", "Ready", timeout=90)
    assert namespace.condition("mcps", "hung", "Stalled")["status"] == "Missing"
    assert namespace.get("mcps", "hung")["status"]["restarts"] == 0


def test_a_canary_of_a_server_that_only_lists(namespace: Namespace, backend: Callable[..., str]) -> None:
    """A tool that fails is no tool: the server is Ready, as it was discovered, and its canary says what clients meet."""
    canary = {"tool": "add", "arguments": {"a": 1, "b": 2}, "expect": {"matches": "^3$"}, "interval": "1s"}
    namespace.apply(remote("sums", backend("sums"), labels=CORE, canary=canary), proxy(selector=CORE))
    passed = namespace.wait("mcps", "sums", "CanaryPassing")
    assert passed["message"] == f"add answers as expected through McpProxy {namespace.name}/tools at /mcp"
    canary |= {"arguments": {"a": "one", "b": 2}}
    namespace.apply(remote("sums", f"http://sums.{namespace.name}.svc:8080/mcp", labels=CORE, canary=canary))
    failed = namespace.wait("mcps", "sums", "CanaryPassing", "False", reason="CallFailed")
    assert "sums_add through McpProxy" in failed["message"]
    assert namespace.wait("mcps", "sums", "Ready")["reason"] == "Ready"
    eventually(lambda: {"CallPassed", "CallFailed"} <= _events(namespace, "sums").keys())


def test_the_catalogue(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Count, names and digest in the status and with `-o wide`; the same at the proxy's /status; a changed tool changes both."""
    namespace.apply(remote("books", backend("books", TOOLS="lend,find"), labels=CORE), proxy(selector=CORE))
    namespace.wait("mcps", "books", "Ready")
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/status")

    def at_the_proxy() -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as answer:
            found = [server for server in json.load(answer)["servers"] if server["id"] == f"{namespace.name}/books"]
        return dict(found[0])

    def told() -> dict[str, Any]:
        return dict(namespace.get("mcps", "books")["status"]["tools"])

    eventually(lambda: at_the_proxy()["digest"] == told()["digest"], why=lambda: (at_the_proxy(), told()))
    first = told()
    assert {"lend", "find", "add"} <= set(first["names"])
    assert first["names"] == at_the_proxy()["tools"]
    assert first["count"] == len(first["names"])
    wide = namespace.run("get", "mcps", "books", "-o", "wide")
    assert all(column in wide for column in ("CANARY", "RESTARTS", "DIGEST", "NAMES", first["digest"], "lend"))

    namespace.apply(*backend_objects("books", TOOLS="lend,seek"))
    eventually(lambda: "seek" in told()["names"], timeout=90, why=told)
    assert told()["digest"] != first["digest"]
    eventually(lambda: at_the_proxy()["digest"] == told()["digest"], why=lambda: (at_the_proxy(), told()))
