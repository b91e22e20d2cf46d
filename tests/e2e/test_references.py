"""What resources refer to: a changed, a missing and a returning Secret or ConfigMap, and configurations of several MiB."""

import base64
import json
import random
import re
import time
from collections.abc import Callable

from support.kubectl import Body, Namespace, eventually
from support.product import call, tools
from support.resources import proxy, remote, route

CORE = {"team": "core"}
PODS = "mcp-operator.dev/proxy=tools"


def _secret(value: str) -> Body:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"header": value}}


def _pods(namespace: Namespace) -> list[tuple[str, int]]:
    return [
        (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in namespace.pods(PODS)
    ]


def test_a_secret_comes_changes_goes_and_returns(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Missing, it is a condition of the server alone; each change is in use soon, and no pod restarts."""
    source = {"secretKeyRef": {"name": "token", "key": "header"}}
    header = [{"name": "Authorization", "valueFrom": source}]
    target = backend("one")
    namespace.apply(
        remote("guarded", target, labels=CORE, headers=header),
        remote("free", target, labels=CORE),
        proxy(selector=CORE),
    )
    told = namespace.wait("mcps", "guarded", "ResolvedRefs", "False", reason="RefNotFound")
    assert "token" in told["message"]
    namespace.wait("mcpp", "tools", "Programmed")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "free_hello" in tools(url) and "guarded_authorization" not in tools(url))
    before = _pods(namespace)

    seconds = []
    for value in ("Bearer one", "Bearer two", "Bearer three"):
        applied = time.monotonic()
        namespace.apply(_secret(value))
        eventually(lambda value=value: call(url, "guarded_authorization") == value, every=0.02)
        seconds.append(round(time.monotonic() - applied, 2))
    print(f"a changed Secret was in use after {seconds} s")
    namespace.wait("mcps", "guarded", "Ready")

    namespace.delete("secret", "token")
    namespace.wait("mcps", "guarded", "ResolvedRefs", "False", reason="RefNotFound")
    eventually(lambda: "guarded_authorization" not in tools(url))
    assert call(url, "free_hello") == "one/hello"
    namespace.apply(_secret("Bearer four"))
    namespace.wait("mcps", "guarded", "Ready")
    eventually(lambda: call(url, "guarded_authorization") == "Bearer four")
    assert _pods(namespace) == before


def _noise(seed: int, size: int) -> str:
    """Text that hardly compresses."""
    return base64.b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()


def _described(number: int) -> str:
    """A route with half a megabyte of overrides; one of them is of a tool that there is."""
    names = ["hello", *(f"t{n}" for n in range(127))]
    overrides = [{"name": name, "description": _noise(number * 1000 + n, 4000)} for n, name in enumerate(names)]
    return json.dumps(route(f"r{number}", {"name": "one", "tools": {"overrides": overrides}}, path=f"/r{number}/mcp"))


def _have(namespace: Namespace, routes: int) -> None:
    """Exactly so many of these routes. They are too large for the annotation of a client-side apply."""
    for number in range(routes):
        namespace.run("apply", "--server-side", "-f", "-", body=_described(number))
    namespace.run("delete", "mcpr", "--ignore-not-found", *(f"r{number}" for number in range(routes, 12)))


def test_a_configuration_outgrows_its_configmap_and_shrinks_again(
    namespace: Namespace, backend: Callable[..., str]
) -> None:
    """As text, compressed, in two ConfigMaps, as text, in the same pods. Too large at last: that is told, and nothing breaks."""
    namespace.apply(remote("one", backend("one")), proxy(replicas=2))
    namespace.wait("mcpp", "tools", "Programmed")
    before = _pods(namespace)
    url = namespace.service_url("tools-proxy", "/r0/mcp")

    def files() -> list[list[str]]:
        """Of each ConfigMap, without the revision in their names."""
        maps = namespace.listed("configmaps", "app.kubernetes.io/managed-by=mcp-operator")
        held = {m["metadata"]["name"]: sorted(m.get("data") or m["binaryData"]) for m in maps}
        return [[re.sub(r"\.[0-9a-f]{12}\.", ".R.", file) for file in held[name]] for name in sorted(held)]

    plain, compressed = [["config.json"]], [["config.json.gz"]]
    pieces = [["config.json.gz.R.0", "config.json.gz.index"], ["config.json.gz.R.1"]]
    for routes, expected in ((1, plain), (2, compressed), (3, pieces), (1, plain)):
        _have(namespace, routes)
        eventually(lambda expected=expected: files() == expected, why=files)
        namespace.wait("mcpp", "tools", "Programmed", timeout=120)
        eventually(lambda: call(url, "one_hello") == "one/hello")
    _have(namespace, 11)
    told = namespace.wait("mcpp", "tools", "Programmed", "False", reason="ConfigTooLarge", timeout=120)
    assert "MiB" in told["message"]
    assert call(url, "one_hello") == "one/hello"
    _have(namespace, 1)
    namespace.wait("mcpp", "tools", "Ready", timeout=120)
    assert _pods(namespace) == before
