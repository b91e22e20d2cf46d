"""What the operator may do: what its code does, and nothing else."""

from collections.abc import Iterable, Iterator

import pytest

from mcp_operator import watch
from mcp_operator.api import meta
from mcp_operator.reconcile.world import CHILD_KINDS

from .conftest import CASES, Body, Helm, values_of

Right = tuple[str, str, str]
"""API group, resource, verb."""

READ = ("get", "list", "watch")
ROLES = {"Role", "ClusterRole"}


def needed(*, clusterwide: bool = True) -> Iterator[Right]:
    """From what is watched, applied and written."""
    for group, _, plural in watch.watched(clusterwide=clusterwide).values():
        yield from ((group, plural, verb) for verb in ("list", "watch"))
    for kind in CHILD_KINDS:
        group, _, plural = watch.WATCHED[kind]
        yield from ((group, plural, verb) for verb in ("get", "create", "patch", "delete"))
    for resource in meta.KINDS:
        yield meta.GROUP, f"{resource.plural}/status", "patch"
    for owner in (meta.SERVER, meta.PROXY):
        yield meta.GROUP, f"{owner.plural}/finalizers", "update"
    yield meta.GROUP, meta.SERVER.plural, "patch"  # an annotation that approves definitions is taken away once heeded
    yield "", "pods", "patch"
    yield from (("", "events", verb) for verb in ("create", "patch"))


def rights(role: Body) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def named(bodies: Iterable[Body], name: str) -> list[Body]:
    return [body for body in bodies if body["kind"] in ROLES and body["metadata"]["name"] == name]


def test_the_cluster_role_is_what_the_operator_needs(helm: Helm) -> None:
    (role,) = named(helm.objects(), "mcp-system-mcp-operator")
    assert role["kind"] == "ClusterRole"
    definitions = {("apiextensions.k8s.io", "customresourcedefinitions", verb) for verb in ("list", "watch")}
    assert rights(role) == {*needed(), *definitions}


def test_watching_namespaces_needs_nothing_of_the_cluster(helm: Helm) -> None:
    bodies = helm.objects(*values_of("namespaces"))
    roles = named(bodies, "mcp-system-mcp-operator")
    assert [(role["kind"], role["metadata"]["namespace"]) for role in roles] == [("Role", "team-a"), ("Role", "team-b")]
    assert all(rights(role) == set(needed(clusterwide=False)) for role in roles)
    assert not [body for body in bodies if body["kind"].startswith("Cluster")]


@pytest.mark.parametrize("case", [*CASES, "upgrade"])
def test_no_role_has_a_wildcard(helm: Helm, case: str) -> None:
    bodies = helm.objects(*(["--is-upgrade"] if case == "upgrade" else values_of(case)))
    for role in (body for body in bodies if body["kind"] in ROLES):
        for right in rights(role):
            assert "*" not in "".join(right)
        assert not any("nonResourceURLs" in rule for rule in role["rules"])


def test_nobody_else_reads_secrets(helm: Helm) -> None:
    readers = [
        body["metadata"]["name"]
        for body in helm.objects("--is-upgrade")
        if body["kind"] in ROLES and any(resource == "secrets" for _, resource, _ in rights(body))
    ]
    assert readers == ["mcp-system-mcp-operator"]


def test_the_lease_is_the_only_one_of_its_namespace(helm: Helm) -> None:
    bodies = helm.objects()
    (role,) = named(bodies, "mcp-operator-leader")
    (lease,) = [body for body in bodies if body["kind"] == "Lease"]
    assert lease["metadata"]["namespace"] == role["metadata"]["namespace"] == "mcp-system"
    (rule,) = role["rules"]
    assert (rule["resources"], rule["resourceNames"]) == (["leases"], [lease["metadata"]["name"]])
    assert rule["verbs"] == ["get", "update"]


@pytest.mark.parametrize("case", CASES)
def test_every_binding_has_its_role_and_the_account(helm: Helm, case: str) -> None:
    bodies = helm.objects(*values_of(case))
    (deployment,) = [body for body in bodies if body["kind"] == "Deployment"]
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    roles = {(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]) for body in bodies}
    bindings = [body for body in bodies if body["kind"].endswith("RoleBinding")]
    for binding in bindings:
        reference = binding["roleRef"]
        assert (reference["kind"], binding["metadata"].get("namespace"), reference["name"]) in roles
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "mcp-system"}]


def test_the_built_in_roles_are_extended(helm: Helm) -> None:
    view, edit = (named(helm.objects(), f"mcp-system-mcp-operator-{name}")[0] for name in ("view", "edit"))
    plurals = {kind.plural for kind in meta.KINDS}
    assert rights(view) == {(meta.GROUP, plural, verb) for plural in plurals for verb in READ}
    writes = ("create", "update", "patch", "delete", "deletecollection")
    assert rights(edit) == {(meta.GROUP, plural, verb) for plural in plurals for verb in writes}
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
