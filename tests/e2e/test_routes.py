"""Routes: paths, prefixes, filters, overrides, selectors, conflicts, other namespaces, long names; a header from a Secret, rotated."""

from collections.abc import Callable, Iterator

import pytest

from support.kubectl import Namespace, eventually, kubectl
from support.product import call, tools
from support.resources import proxy, remote, route

CORE = {"team": "core"}


@pytest.fixture
def platform(namespace: Namespace) -> Iterator[Namespace]:
    """A second namespace, of those who offer servers to others."""
    name = f"{namespace.name[:50]}-platform"
    kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", name)
    yield Namespace(name)
    kubectl("delete", "namespace", name, "--wait=false")


def test_a_server_of_another_namespace(namespace: Namespace, platform: Namespace, backend: Callable[..., str]) -> None:
    """Not without its consent; then with the credentials of its own namespace; and no more when that is taken away."""
    url = backend("far", TOOLS="look")
    platform.apply(_secret("token", "Bearer theirs"), remote("far", url, headers=_header("token")))
    namespace.apply(_secret("token", "Bearer ours"), proxy())
    namespace.apply(route("extra", {"name": "far", "namespace": platform.name}))
    refused = namespace.wait("mcpr", "extra", "ResolvedRefs", "False", reason="RefNotPermitted")
    assert "spec.allowedRoutes" in refused["message"]
    trusted = {"from": "Selector", "selector": {"matchLabels": {"trust": "high"}}}
    consent = {"allowedRoutes": {"namespaces": trusted}}
    platform.apply(remote("far", url, headers=_header("token"), **consent))
    kubectl("label", "namespace", namespace.name, "trust=high")
    namespace.wait("mcpr", "extra", "Ready")
    served = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(served, "far_authorization") == "Bearer theirs")
    kubectl("label", "namespace", namespace.name, "trust-")
    namespace.wait("mcpr", "extra", "ResolvedRefs", "False", reason="RefNotPermitted")
    eventually(lambda: tools(served) == set())


def test_names_that_are_too_long(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Shortened, told and callable; and under the other rule not served."""
    namespace.apply(remote("docs", backend("docs", TOOLS="y" * 40), labels=CORE))
    namespace.apply(proxy(selector=CORE, naming={"maxLength": 30}))
    told = namespace.wait("mcpp", "tools", "NameTooLong")
    short = next(
        word.strip("'") for word in told["message"].split() if word.startswith("'docs_yyy") and "_" in word[8:]
    )
    assert len(short) == 30
    namespace.wait("mcps", "docs", "NameTooLong")
    served = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(served, short) == f"docs/{'y' * 40}")
    namespace.apply(proxy(selector=CORE, naming={"maxLength": 30, "tooLong": "Refuse"}))
    eventually(lambda: short not in tools(served) and "docs_add" in tools(served))
    namespace.apply(proxy(selector=CORE, naming={"maxLength": 100}))
    eventually(lambda: call(served, f"docs_{'y' * 40}") == f"docs/{'y' * 40}")
    eventually(lambda: namespace.condition("mcps", "docs", "NameTooLong")["status"] == "Missing")


def _header(secret: str) -> list[dict[str, object]]:
    return [{"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": secret, "key": "header"}}}]


def _secret(name: str, value: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"header": value}}


def test_route_filters_and_renames(namespace: Namespace, backend: Callable[..., str]) -> None:
    namespace.apply(
        remote("docs", backend("docs", TOOLS="search,search_raw,read")),
        remote("wiki", backend("wiki", TOOLS="look"), labels=CORE),
        proxy(),
        route(
            "research",
            {
                "name": "docs",
                "prefix": "d",
                "tools": {
                    "include": ["search*", "read"],
                    "exclude": ["search_raw"],
                    "overrides": [{"name": "read", "rename": "fetch", "description": "Read one page"}],
                },
            },
            {"selector": {"matchLabels": CORE}},
            path="/research/mcp",
        ),
    )
    namespace.wait("mcpr", "research", "Ready")
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/research/mcp")
    expected = {"d_search", "d_fetch", "wiki_look", "wiki_add", "wiki_authorization", "wiki_slow", "wiki_die"}
    eventually(lambda: tools(url) == expected, why=lambda: tools(url))
    assert call(url, "d_fetch") == "docs/read"
    assert tools(namespace.service_url("tools-proxy", "/mcp")) == set()
    status = namespace.get("mcpr", "research")["status"]
    assert (status["proxies"], status["path"], status["serverCount"]) == ("tools", "/research/mcp", 2)


def test_conflicts_are_told_and_the_older_wins(namespace: Namespace, backend: Callable[..., str]) -> None:
    namespace.apply(remote("one", backend("one")), remote("two", backend("two")), proxy())
    namespace.apply(route("older", {"name": "one", "prefix": ""}))
    namespace.wait("mcpr", "older", "Accepted")
    created = namespace.get("mcpr", "older")["metadata"]["creationTimestamp"]

    def younger() -> bool:
        namespace.run("delete", "mcpr", "younger", "--ignore-not-found")
        namespace.apply(route("younger", {"name": "two", "prefix": ""}))
        return namespace.get("mcpr", "younger")["metadata"]["creationTimestamp"] > created

    eventually(younger, every=0.5)
    told = namespace.wait("mcpr", "younger", "Accepted", "False", reason="NameConflict")
    assert "one" in told["message"]
    assert "two" in told["message"]
    assert namespace.condition("mcpr", "older", "Accepted")["status"] == "True"
    winner = namespace.wait("mcpr", "older", "Conflicted", reason="NameConflict")
    assert "two" in winner["message"]
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(url, "hello") == "one/hello")

    namespace.apply(route("younger", {"name": "nobody"}, {"name": "two", "prefix": "one"}))
    missing = namespace.wait("mcpr", "younger", "ResolvedRefs", "False", reason="ServerNotFound")
    assert "nobody" in missing["message"]


def test_secret_header_rotates(namespace: Namespace, backend: Callable[..., str]) -> None:
    """A header from a Secret is sent; a rotated one is in use within seconds, in the same pod; it never shows."""
    url = backend("guarded")
    namespace.apply(remote("guarded", url, labels=CORE, headers=_header("token")), proxy(selector=CORE))
    missing = namespace.wait("mcps", "guarded", "ResolvedRefs", "False", reason="RefNotFound")
    assert "token" in missing["message"]
    namespace.apply(_secret("token", "Bearer first-secret"))
    namespace.wait("mcps", "guarded", "Ready")
    namespace.wait("mcpp", "tools", "Ready")
    served = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(served, "guarded_authorization") == "Bearer first-secret")
    pods = [pod["metadata"]["uid"] for pod in namespace.pods("mcp-operator.dev/proxy=tools")]

    namespace.apply(_secret("token", "Bearer second-secret"))
    eventually(lambda: call(served, "guarded_authorization") == "Bearer second-secret", timeout=20)
    assert [pod["metadata"]["uid"] for pod in namespace.pods("mcp-operator.dev/proxy=tools")] == pods
    _no_secret_shows(namespace, "first-secret", "second-secret")


def _no_secret_shows(namespace: Namespace, *secrets: str) -> None:
    shown = namespace.run("get", "mcp,configmaps,deployments,events", "-o", "yaml")
    shown += namespace.run("logs", "deployment/tools-proxy")
    shown += Namespace("mcp-system").run("logs", "deployment/mcp-operator")
    shown = "\n".join(line for line in shown.splitlines() if "last-applied-configuration" not in line)
    for secret in secrets:
        assert secret not in shown


def test_wrong_token_is_told(namespace: Namespace, backend: Callable[..., str]) -> None:
    namespace.apply(
        _secret("token", "Bearer wrong"),
        remote("guarded", backend("guarded", REQUIRE="Bearer right"), labels=CORE, headers=_header("token")),
        proxy(selector=CORE),
    )
    told = namespace.wait("mcps", "guarded", "Healthy", "False", reason="Unauthorized")
    assert "wrong" not in told["message"]
    namespace.apply(_secret("token", "Bearer right"))
    namespace.wait("mcps", "guarded", "Ready", timeout=30)
