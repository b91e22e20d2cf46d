"""Which change enqueues what.

a resource: itself; a server or a route: the proxies that it concerns, but not for its status alone; a proxy that comes or goes: the routes
a server or a Secret of another namespace, or a namespace's labels: the proxies whose routes reach across
a child: its owner, before and after · a pod: by its labels · a Secret or ConfigMap: who refers to it, and the proxies of those
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.api.resources import McpServer
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Change, Store
from mcp_operator.kube.client import KubeClient
from mcp_operator.reconcile.affected import affected
from mcp_operator.reconcile.world import INDEXED_LABELS, LABELLED, World, slimmed
from support import models, resources
from support.kubeconfig import kubeconfig

Body = dict[str, Any]
TOOLS = "McpProxy/tools"
CORE = {"team": "core"}
ROUTES = {"McpRoute/extra"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two proxies, a route and a server that refers to Secret `token`; another namespace with a proxy of its own.

    The proxy `tools` selects the team core, and the route brings the server to it; the other proxies select another team.
    """
    store = Store(label_indexes=INDEXED_LABELS, labelled=LABELLED)
    source = {"secretKeyRef": {"name": "token", "key": "header"}}
    header = [{"name": "Authorization", "valueFrom": source}]
    for body in (
        resources.proxy("tools", selector=CORE),
        resources.proxy("second", selector={"team": "data"}),
        resources.route("extra", {"name": "far"}),
        resources.remote("far", "https://far/mcp", headers=header),
    ):
        store.observe(body["kind"], models.stored(body))
    store.observe("McpProxy", models.stored(resources.proxy("elsewhere", selector=CORE), namespace="team-b"))
    world = World(store, KubeClient.connect(kubeconfig(tmp_path / "config", "http://127.0.0.1:9")))
    world.servers("team-a")
    return world


def keys(world: World, old: Body | None, new: Body | None) -> set[str]:
    some = new or old
    assert some
    change = Change(Key.of(some["kind"], some), old, new)
    found = [*affected(change, world)]
    assert all(key.namespace == "team-a" for key in found)
    return {f"{key.kind}/{key.name}" for key in found}


def _server(**metadata: Any) -> Body:
    return models.stored(resources.remote("one", "https://one/mcp"), **{"labels": CORE, **metadata})


def _child(kind: str, *, managed: bool = True, owner: Body | None = None) -> Body:
    reference = owner or {"kind": "McpServer", "name": "one", "uid": "u", "controller": True}
    labels = {meta.LABEL_MANAGED_BY: meta.MANAGED_BY} if managed else {}
    metadata = {"name": "one-server", "namespace": "team-a", "labels": labels, "ownerReferences": [reference]}
    return {"kind": kind, "metadata": metadata}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, _server(), {"McpServer/one", TOOLS}),
        (_server(), None, {"McpServer/one", TOOLS}),
        (_server(), _server(generation=2), {"McpServer/one", TOOLS}),
        (_server(), _server(labels={"a": "b"}), {"McpServer/one", TOOLS}),
        (_server(), _server(labels={"team": "data"}), {"McpServer/one", TOOLS, "McpProxy/second"}),
        (_server(labels={}), _server(labels={}, generation=2), {"McpServer/one"}),
        (_server(), _server(deletionTimestamp="2026-01-01T00:00:00Z"), {"McpServer/one", TOOLS}),
        (_server(), _server(uid="another"), {"McpServer/one", TOOLS}),
        (_server(), {**_server(resourceVersion="9"), "status": {"url": "x"}}, {"McpServer/one"}),
        (_server(), _server(annotations={meta.ANNOTATION_PAUSED: "true"}), {"McpServer/one"}),
    ],
)
def test_servers(world: World, old: Body | None, new: Body | None, expected: set[str]) -> None:
    assert keys(world, old, new) == expected


def test_a_server_that_a_route_names(world: World) -> None:
    far = models.stored(resources.remote("far", "https://far/mcp"))
    assert keys(world, None, far) == keys(world, far, None) == {"McpServer/far", TOOLS}


def test_routes(world: World) -> None:
    route = models.stored(resources.route("new", {"name": "far"}))
    assert keys(world, None, route) == keys(world, route, None) == {"McpRoute/new", TOOLS}
    assert keys(world, route, {**route, "status": {"path": "/x"}}) == {"McpRoute/new"}
    moved = models.stored(resources.route("new", {"name": "far"}, parent="second"), generation=2)
    assert keys(world, route, moved) == {"McpRoute/new", TOOLS, "McpProxy/second"}


def test_proxies(world: World) -> None:
    proxy = models.stored(resources.proxy("third"))
    assert keys(world, None, proxy) == keys(world, proxy, None) == {"McpProxy/third", *ROUTES}
    assert keys(world, proxy, {**proxy, "status": {"url": "x"}}) == {"McpProxy/third"}


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ServiceAccount", "ConfigMap", "Secret"])
def test_children(world: World, kind: str) -> None:
    child = _child(kind)
    assert keys(world, None, child) == keys(world, child, None) == {"McpServer/one"}
    assert keys(world, child, _child(kind, managed=False)) == {"McpServer/one"}, "it lost its label: it is mended"
    assert keys(world, None, _child(kind, managed=False)) == set()
    foreign = {"kind": "App", "name": "one", "uid": "u", "controller": True}
    assert keys(world, None, _child(kind, owner=foreign)) == set()
    assert keys(world, None, _child(kind, owner={**foreign, "kind": "McpServer", "controller": False})) == set()


@pytest.mark.parametrize(
    ("label", "expected"), [(meta.LABEL_SERVER, {"McpServer/one"}), (meta.LABEL_PROXY, {"McpProxy/one"}), ("a", set())]
)
def test_pods(world: World, label: str, expected: set[str]) -> None:
    pod = {"kind": "Pod", "metadata": {"name": "one-x", "namespace": "team-a", "labels": {label: "one"}}}
    assert keys(world, None, pod) == keys(world, pod, pod) == keys(world, pod, None) == expected


@pytest.mark.parametrize(("name", "expected"), [("token", {"McpServer/far", TOOLS}), ("other", set())])
def test_what_is_referred_to(world: World, name: str, expected: set[str]) -> None:
    secret = {"kind": "Secret", "metadata": {"name": name, "namespace": "team-a"}}
    assert keys(world, None, secret) == keys(world, secret, None) == expected
    assert keys(world, None, {**secret, "kind": "ConfigMap"}) == set()


def test_a_reference_that_is_gone_concerns_nobody(world: World) -> None:
    reference = ("Secret", "team-a", "token")
    assert world.referrers(reference)
    edited = models.stored(resources.remote("far", "https://far/mcp"), generation=2, resourceVersion="2")
    world.store.observe("McpServer", edited)
    world.servers("team-a")
    assert not world.referrers(reference)


def test_models_are_parsed_once_a_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    original: Callable[[Body], object] = __import__("mcp_operator.reconcile.world", fromlist=["parse"]).parse

    def counting(body: Body) -> object:
        parsed.append(body["metadata"]["name"])
        return original(body)

    monkeypatch.setattr("mcp_operator.reconcile.world.parse", counting)
    for _ in range(3):
        world.servers("team-a")
        world.proxies("team-a")
    assert sorted(parsed) == ["second", "tools"]


def test_a_spec_is_read_once_a_generation(world: World) -> None:
    """A status is written again and again."""
    before = world.model(Key("McpServer", "team-a", "far"))
    assert isinstance(before, McpServer)
    told = models.stored(resources.remote("far", "https://far/mcp"), resourceVersion="2", labels=CORE)
    world.store.observe("McpServer", {**told, "status": {"observedGeneration": 1, "url": "https://far/mcp"}})
    after = world.model(Key("McpServer", "team-a", "far"))
    assert isinstance(after, McpServer)
    assert after.spec is before.spec
    assert (after.status.url, after.metadata.labels, after.metadata.resource_version) == ("https://far/mcp", CORE, "2")

    world.store.observe(
        "McpServer", models.stored(resources.remote("far", "https://new/mcp"), generation=2, resourceVersion="3")
    )
    edited = world.model(Key("McpServer", "team-a", "far"))
    assert isinstance(edited, McpServer)
    assert edited.spec.remote is not None
    assert edited.spec.remote.url == "https://new/mcp"

    world.store.observe(
        "McpServer",
        models.stored(resources.remote("far", "https://other/mcp"), generation=2, resourceVersion="4", uid="b"),
    )
    another = world.model(Key("McpServer", "team-a", "far"))
    assert isinstance(another, McpServer)
    assert another.spec.remote is not None
    assert another.spec.remote.url == "https://other/mcp", "another object of that name"


# Across namespaces


def reaching(world: World, *, server: str = "far", namespace: str | None = "platform") -> None:
    """A route of team-b that brings a server of `namespace` to its proxy."""
    item = {"name": server} if namespace is None else {"name": server, "namespace": namespace}
    known = world.store.get(Key("McpRoute", "team-b", "across"))
    generation = known["metadata"]["generation"] + 1 if known else 1
    route = resources.route("across", item, parent="elsewhere")
    version = str(100 + generation)
    world.store.observe(
        "McpRoute", models.stored(route, namespace="team-b", generation=generation, resourceVersion=version)
    )
    world.routes("team-b")


def concerned(world: World, old: Body | None, new: Body | None) -> set[str]:
    some = new or old
    assert some
    return {str(key) for key in affected(Change(Key.of(some["kind"], some), old, new), world)}


ELSEWHERE = "McpProxy/team-b/elsewhere"


def test_a_server_that_a_route_of_another_namespace_brings(world: World) -> None:
    body = _server(namespace="platform")
    assert ELSEWHERE not in concerned(world, None, body)
    reaching(world)
    assert concerned(world, None, body) == {"McpServer/platform/one"}, "it is another that the route brings"
    reaching(world, server="one")
    assert concerned(world, None, body) == concerned(world, body, None) == {"McpServer/platform/one", ELSEWHERE}
    assert concerned(world, body, {**body, "status": {"url": "x"}}) == {"McpServer/platform/one"}
    relabelled = _server(namespace="platform", labels={"a": "b"})
    assert concerned(world, body, relabelled) == {"McpServer/platform/one", ELSEWHERE}
    assert ELSEWHERE not in concerned(world, None, _server(namespace="other"))
    route = world.store.get(Key("McpRoute", "team-b", "across"))
    assert route is not None
    world.store.remove("McpRoute", "team-b", "across")
    world.model(Key("McpRoute", "team-b", "across"))
    assert ELSEWHERE not in concerned(world, None, body)


def test_a_route_that_stays_at_home_reaches_nowhere(world: World) -> None:
    for namespace in (None, "team-b"):
        reaching(world, namespace=namespace)
        assert world.routes_out_of("team-b") == []
        assert world.routes_into("team-b") == []


def test_labels_of_a_namespace_that_has_routes_into_others(world: World) -> None:
    def namespace(name: str, **metadata: Any) -> Body:
        return {"kind": "Namespace", "metadata": {"name": name, "uid": "u", **metadata}}

    before, after = namespace("team-b"), namespace("team-b", labels={"trust": "high"})
    assert concerned(world, before, after) == set()
    reaching(world)
    assert concerned(world, before, after) == concerned(world, None, after) == {ELSEWHERE}
    assert concerned(world, before, namespace("team-b", annotations={"a": "b"})) == set()
    assert concerned(world, namespace("platform"), namespace("platform", labels={"a": "b"})) == set()


def test_a_secret_behind_a_server_of_another_namespace(world: World) -> None:
    reaching(world, namespace="team-a")
    secret = {"kind": "Secret", "metadata": {"name": "token", "namespace": "team-a"}}
    assert ELSEWHERE in concerned(world, None, secret)


def test_labels_of_a_namespace(world: World, tmp_path: Path) -> None:
    body = {
        "kind": "Namespace",
        "metadata": {"name": "team-a", "labels": {"a": "b"}, "annotations": {"note": "x" * 999}},
    }
    change = world.store.observe("Namespace", slimmed(body))
    assert change is not None
    assert change.new == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"a": "b"}}}
    assert world.namespace_labels("team-a") == {"a": "b"}
    assert world.namespace_labels("unknown") == {}
    confined = World(
        world.store, KubeClient.connect(kubeconfig(tmp_path / "c", "http://127.0.0.1:9")), reads_namespaces=False
    )
    assert confined.namespace_labels("team-a") is None
