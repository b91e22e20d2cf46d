"""Custom resource definitions that a test gives to an API server."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ESTABLISHED_SECONDS = 60.0
POLL_SECONDS = 0.1


def open_definition(kind: str, plural: str, group: str, version: str = "v1", *, status: bool = False) -> dict[str, Any]:
    """Of another project's API just the kind, without its schema; with `status` as a subresource."""
    served: dict[str, Any] = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    if status:
        served["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/2466"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [served],
        },
    }


@contextmanager
def open_definitions(kubectl: Callable[..., str], *kinds: tuple[str, str, str, str]) -> Iterator[None]:
    """Let the API server know kinds of other projects (kind, plural, group, version) for a while."""
    names = [f"{plural}.{group}" for _, plural, group, _ in kinds]
    items = [open_definition(*kind) for kind in kinds]
    kubectl("apply", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": items})
    try:
        wait_established(kubectl, *names)
        yield
    finally:
        kubectl("delete", "crd", *names)


def wait_established(kubectl: Callable[..., str], *names: str) -> None:
    """Wait until the API server serves the definitions of these names (`mcpservers.mcp-operator.dev`) and tells of them.

    `kubectl wait` fails at once on a definition that is so new that its conditions are still null; and one that is established
    is served a moment later. Discovery as a whole, in which kubectl and Helm look for kinds, may follow after that.
    """
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while not (all(_is_served(kubectl, name) for name in names) and _are_discovered(kubectl, *names)):
        assert time.monotonic() < deadline, f"not established: {', '.join(names)}"
        time.sleep(POLL_SECONDS)


def _is_served(kubectl: Callable[..., str], name: str) -> bool:
    body = json.loads(kubectl("get", "crd", name, "-o", "json"))
    conditions = (body.get("status") or {}).get("conditions") or ()
    if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
        return False
    plural, _, group = name.partition(".")
    versions = [version["name"] for version in body["spec"]["versions"] if version["served"]]
    try:
        listed = [kubectl("get", "--raw", f"/apis/{group}/{version}") for version in versions]
        for version in versions:
            kubectl("get", "--raw", f"/apis/{group}/{version}/{plural}?limit=1")
    except AssertionError:
        return False
    return all(any(found["name"] == plural for found in json.loads(text)["resources"]) for text in listed)


def _are_discovered(kubectl: Callable[..., str], *names: str) -> bool:
    try:
        return set(names) <= set(kubectl("api-resources", "--cached=false", "--output=name").split())
    except AssertionError:  # a group that is just coming can't be told of yet
        return False
