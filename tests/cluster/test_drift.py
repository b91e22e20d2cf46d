"""Drift on a real API server, with a real garbage collector: whatever somebody does to what the operator owns is undone.

every child: deleted · edited · without its labels · without its owner · with another owner beside it · hijacked
a resource is deleted and made anew at once, with all three ways of deletion
a namespace that holds everything is deleted, with the operator at work and without it

How long it takes is printed and not asserted: it is a figure of the machine.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import NotFound
from mcp_operator.kube.paths import built_in, path_of
from mcp_operator.reconcile.world import CHILD_KINDS
from support import resources
from support.beside import operating

from .conftest import Kubectl

Body = dict[str, Any]
CORE = {"team": "core"}
HEADER = [{"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "header"}}}]
TOKEN = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"header": "Bearer x"}}
WORLD = [
    TOKEN,
    resources.remote("far", "http://127.0.0.1:9/mcp", labels=CORE, headers=HEADER),
    resources.container("near", "example.invalid/none:1", labels=CORE),
    resources.proxy(selector=CORE, autoscaling={}, ingress={"className": "none", "host": "tools.example.com"}),
    resources.route("extra", {"name": "near"}, path="/extra/mcp"),
]
EDITS: dict[str, Callable[[Body], Body]] = {
    "ConfigMap": lambda _: {"data": {"config.json": "{}"}},
    "Secret": lambda live: {"data": {file: "eA==" for file in live["data"] if "header" in file}},
    "Service": lambda _: {"spec": {"selector": {"nobody": "has-this"}}},
    "ServiceAccount": lambda _: {"automountServiceAccountToken": True},
    "NetworkPolicy": lambda _: {"spec": {"podSelector": {"matchLabels": {"nobody": "has-this"}}}},
    "PodDisruptionBudget": lambda _: {"spec": {"maxUnavailable": 0}},
    "HorizontalPodAutoscaler": lambda _: {"spec": {"maxReplicas": 77}},
    "Ingress": lambda _: {"spec": {"ingressClassName": "another"}},
    "Deployment": lambda _: {"spec": {"template": {"spec": {"enableServiceLinks": True}}}},
}
"""A merge patch that does harm, for each kind of child."""

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.timeout(240)]


@pytest.fixture
def namespace(cluster: Kubectl) -> Iterator[str]:
    name = f"drift-{secrets.token_hex(4)}"
    cluster("create", "namespace", name)
    yield name
    cluster("delete", "namespace", name, "--ignore-not-found", "--wait=false")


@pytest.fixture
async def kube() -> AsyncIterator[KubeClient]:
    async with KubeClient.connect() as client:
        yield client


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 60) -> float:
    """Wait for it; the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the cluster has no event to wait for
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def owned(kube: KubeClient, namespace: str) -> list[Body]:
    """Every child in the namespace, with `kind` and `apiVersion`."""
    found: list[Body] = []
    for kind in CHILD_KINDS:
        with suppress(NotFound):  # the cluster lacks the API
            listing = await kube.list(built_in(kind).path(namespace), f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}")
            found += listing.items
    return found


async def settled(kube: KubeClient, namespace: str) -> list[Body]:
    """The children, when the operator has made all of them and writes no more."""
    known: list[Any] = []

    async def stands_still() -> bool:
        nonlocal known
        await asyncio.sleep(0.5)
        before, known = known, sorted((body["kind"], body["metadata"]["name"], said(body)) for body in children)
        return before == known and {kind for kind, _, _ in known} >= {*EDITS}

    async def look() -> bool:
        nonlocal children
        children = await owned(kube, namespace)
        return await stands_still()

    children: list[Body] = []
    await until(look)
    return children


def said(body: Body) -> str:
    """What the operator says of the object: the hash of what it applied."""
    return str(body["metadata"].get("annotations", {}).get(meta.ANNOTATION_APPLIED_HASH))


def essence(body: Body) -> Body:
    """What the operator decides of an object."""
    metadata = body["metadata"]
    parts = {key: body.get(key) for key in ("data", "binaryData", "automountServiceAccountToken")}
    spec = body.get("spec") or {}
    pod = spec.get("template", {}).get("spec", {})
    return {
        **parts,
        "labels": metadata.get("labels"),
        "owners": metadata.get("ownerReferences"),
        "selector": spec.get("selector"),
        "ports": spec.get("ports") if body["kind"] == "Service" else None,
        "rest": spec if body["kind"] not in {"Deployment", "Service"} else None,
        "pod": {key: pod.get(key) for key in ("containers", "volumes", "enableServiceLinks")},
    }


async def damage(kube: KubeClient, child: Body, patch: Body) -> float:
    """Patch it, and wait until it is as it was; the seconds."""
    path = path_of(child)
    await kube.merge_patch(path, patch)

    async def is_back() -> bool:
        live = await kube.get(path)
        return live is not None and essence({**live, "kind": child["kind"]}) == essence(child)

    return await until(is_back)


async def test_whatever_is_done_to_a_child_is_undone(kube: KubeClient, namespace: str, tmp_path: Path) -> None:
    for body in WORLD:
        Kubectl(namespace)("apply", "-f", "-", body=body)
    foreign = await kube.get(built_in("Secret").path(namespace, "token"))
    assert foreign
    other = {"apiVersion": "v1", "kind": "Secret", "name": "token", "uid": foreign["metadata"]["uid"]}
    with operating(tmp_path / "log", "--namespaces", namespace):
        for child in await settled(kube, namespace):
            kind, name = child["kind"], child["metadata"]["name"]
            owners = child["metadata"]["ownerReferences"]
            seconds = {
                "edited": await damage(kube, child, EDITS[kind](child)) if kind in EDITS else float("nan"),
                "unlabelled": await damage(kube, child, {"metadata": {"labels": None}}),
                "disowned": await damage(kube, child, {"metadata": {"ownerReferences": None}}),
                "uncontrolled": await damage(
                    kube, child, {"metadata": {"ownerReferences": [{**owners[0], "controller": False}]}}
                ),
            }
            await kube.merge_patch(path_of(child), {"metadata": {"ownerReferences": [*owners, other]}})
            seconds["deleted"] = await deleted(kube, child)
            print(f"{kind}/{name}: " + ", ".join(f"{what} {took:.2f} s" for what, took in seconds.items()))
        assert {child["kind"] for child in await settled(kube, namespace)} >= {*EDITS}


async def deleted(kube: KubeClient, child: Body) -> float:
    path, uid = path_of(child), child["metadata"]["uid"]
    await kube.delete(path)

    async def is_another() -> bool:
        live = await kube.get(path)
        return live is not None and live["metadata"]["uid"] != uid and said(live) == said(child)

    return await until(is_another)


async def test_a_hijacked_child_is_left_alone_and_told(kube: KubeClient, namespace: str, tmp_path: Path) -> None:
    """An object has one controller: where that is somebody else by now, taking it back would be a fight without an end."""
    for body in WORLD:
        Kubectl(namespace)("apply", "-f", "-", body=body)
    owner = await kube.get(built_in("Secret").path(namespace, "token"))
    assert owner
    thief = {"apiVersion": "v1", "kind": "Secret", "name": "token", "uid": owner["metadata"]["uid"], "controller": True}
    with operating(tmp_path / "log", "--namespaces", namespace):
        await settled(kube, namespace)
        path = built_in("Service").path(namespace, "tools-proxy")
        await kube.merge_patch(path, {"metadata": {"ownerReferences": [thief]}})

        async def is_told() -> bool:
            body = await kube.get(meta.PROXY.path(namespace, "tools"))
            listed = (body or {}).get("status", {}).get("conditions", [])
            return any(c["reason"] == "ChildNameTaken" and c["type"] == "Programmed" for c in listed)

        await until(is_told)
        await kube.delete(path)

        async def is_ours() -> bool:
            live = await kube.get(path)
            return live is not None and live["metadata"]["ownerReferences"][0]["kind"] == meta.PROXY.kind

        await until(is_ours)


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
async def test_what_is_replaced_gets_children_of_its_own(
    kube: KubeClient, namespace: str, tmp_path: Path, cascade: str
) -> None:
    """Deleted and made anew under its name while the garbage collector is still at work on the children of the old one."""
    kubectl = Kubectl(namespace)
    for body in WORLD:
        kubectl("apply", "-f", "-", body=body)
    names = ("mcpp/tools", "mcps/near")
    with operating(tmp_path / "log", "--namespaces", namespace):
        before = {(child["kind"], child["metadata"]["name"]) for child in await settled(kube, namespace)}
        # An object that waits for its finalizers would be patched and not made anew; in the background it is gone at once.
        kubectl("delete", *names, f"--cascade={cascade}", f"--wait={str(cascade != 'background').lower()}")
        for body in WORLD:
            kubectl("apply", "-f", "-", body=body)
        uids = {kubectl("get", name, "-o", "jsonpath={.metadata.uid}") for name in names}

        async def are_of_the_new() -> bool:
            live = await owned(kube, namespace)
            found = {(child["kind"], child["metadata"]["name"]) for child in live}
            return found == before and all(_controller(child) in uids for child in live)

        print(f"replaced after {await until(are_of_the_new, 90):.1f} s")


def _controller(child: Body) -> str:
    owners = child["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


@pytest.mark.parametrize("at_work", [True, False])
async def test_a_namespace_goes_at_once(kube: KubeClient, namespace: str, tmp_path: Path, *, at_work: bool) -> None:
    """Nothing of ours has a finalizer, and the operator does not fight against the end."""
    for body in WORLD:
        Kubectl(namespace)("apply", "-f", "-", body=body)
    log = tmp_path / "log"
    with operating(log, "--namespaces", namespace):
        children = await settled(kube, namespace)
        resources_ = [await kube.get(kind.path(namespace)) for kind in meta.KINDS]
        bodies = [*children, *(item for listing in resources_ for item in (listing or {})["items"])]
        assert not [body["metadata"]["name"] for body in bodies if body["metadata"].get("finalizers")]
        if at_work:
            print(f"gone after {await gone(kube, namespace):.1f} s, with the operator at work")
            assert "Traceback" not in log.read_text()
    if not at_work:
        print(f"gone after {await gone(kube, namespace):.1f} s, without an operator")


async def gone(kube: KubeClient, namespace: str) -> float:
    path = built_in("Namespace").path(name=namespace)
    await kube.delete(path)

    async def is_gone() -> bool:
        return await kube.get(path) is None

    return await until(is_gone, 120)
