"""Wrong input at every edge: a clear error where its author looks, and nothing lost."""

import json
from collections.abc import Callable

import httpx2
import pytest

from support.kubectl import KubectlError, Namespace, eventually
from support.product import call, tools
from support.resources import container, proxy, remote

CORE = {"team": "core"}


def test_manifest_is_refused(namespace: Namespace) -> None:
    wrong = remote("both", "http://x/mcp") | {}
    wrong["spec"]["stdio"] = {"command": "uvx"}
    with pytest.raises(KubectlError, match="exactly one of remote, container and stdio"):
        namespace.apply(wrong)
    misspelt = remote("misspelt", "http://x/mcp")
    misspelt["spec"]["remote"]["urll"] = "http://y"
    with pytest.raises(KubectlError, match="urll"):
        namespace.apply(misspelt)


@pytest.mark.parametrize(("mode", "reason"), [("garbage", "NotMCP"), ("hang", "Timeout")])
def test_malformed_backend(namespace: Namespace, backend: Callable[..., str], mode: str, reason: str) -> None:
    """A backend that speaks no MCP, or nothing, is told apart, and delays nobody else."""
    namespace.apply(
        remote("odd", backend("odd", MODE=mode), labels=CORE),
        remote("good", backend("good"), labels=CORE),
        proxy(selector=CORE),
    )
    namespace.wait("mcps", "odd", "Healthy", "False", reason=reason)
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(url, "good_hello") == "good/hello")
    assert not any(name.startswith("odd_") for name in tools(url))


def test_unreachable_backend(namespace: Namespace) -> None:
    namespace.apply(
        remote("nowhere", f"http://nowhere.{namespace.name}.svc:8080/mcp", labels=CORE), proxy(selector=CORE)
    )
    namespace.wait("mcps", "nowhere", "Healthy", "False", reason="DNSFailure")
    namespace.wait("mcpp", "tools", "Programmed")


def test_image_that_does_not_exist(namespace: Namespace) -> None:
    namespace.apply(container("ghost", "mcp-operator-test/ghost:none", labels=CORE))
    told = namespace.wait("mcps", "ghost", "Ready", "False", reason="ImagePullFailed")
    assert "mcp-operator-test/ghost:none" in told["message"]

    def events() -> str:
        """Reasons; an Event is sent after the status that it tells of."""
        return namespace.run(
            "get", "events", "--field-selector", "involvedObject.name=ghost", "-o", "jsonpath={..reason}"
        )

    eventually(lambda: "ImagePullFailed" in events(), why=events)


def test_requests_that_are_no_mcp(namespace: Namespace, backend: Callable[..., str]) -> None:
    namespace.apply(remote("good", backend("good"), labels=CORE), proxy(selector=CORE))
    namespace.wait("mcpp", "tools", "Ready")
    base = namespace.service_url("tools-proxy", "")
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    with httpx2.Client(base_url=base, headers=headers, timeout=20) as http:
        broken = http.post("/mcp", content=b"{not json")
        assert broken.status_code == 400
        assert broken.json()["error"]["code"] == -32700
        assert http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call"}).status_code == 400
        evil = http.post("/mcp", json={}, headers={"origin": "http://evil.example"})
        assert evil.status_code == 403
        missing = http.get("/nowhere")
        assert missing.status_code == 404
        assert "/mcp" in missing.text
        assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
        assert "mcp_" in http.get("/metrics").text
    assert call(f"{base}/mcp", "good_hello") == "good/hello"


def test_bad_config_is_refused_whole(namespace: Namespace, backend: Callable[..., str]) -> None:
    """A config that the proxy cannot take changes nothing that it serves; its /status and the conditions say why."""
    namespace.apply(remote("good", backend("good"), labels=CORE), proxy(selector=CORE))
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(url, "good_hello") == "good/hello")
    revision = namespace.get("mcpp", "tools")["status"]["revision"]

    namespace.run("annotate", "mcpp", "tools", "mcp-operator.dev/paused=true")
    namespace.wait("mcpp", "tools", "Programmed", "Unknown", reason="Paused")
    config = json.loads(namespace.get("configmap", "tools-proxy-config")["data"]["config.json"])
    config["routes"][0]["servers"][0]["server"] = "nobody/knows"
    patch = {"data": {"config.json": json.dumps(config | {"revision": "badbadbadbad"})}}
    namespace.run("patch", "configmap", "tools-proxy-config", "--type=merge", "-p", json.dumps(patch))
    namespace.run("annotate", "pods", "-l", "mcp-operator.dev/proxy=tools", "touched=now", "--overwrite")

    told = namespace.wait("mcpp", "tools", "Programmed", "False", reason="ConfigRejected", timeout=60)
    assert "nobody/knows" in told["message"]
    assert revision in told["message"]
    status = httpx2.get(namespace.service_url("tools-proxy", "/status"), timeout=10).json()
    assert status["revision"] == revision
    assert "nobody/knows" in status["rejected"]["message"]
    assert call(url, "good_hello") == "good/hello"

    namespace.run("annotate", "mcpp", "tools", "mcp-operator.dev/paused-")
    namespace.wait("mcpp", "tools", "Programmed")
    assert httpx2.get(namespace.service_url("tools-proxy", "/status"), timeout=10).json()["rejected"] is None
