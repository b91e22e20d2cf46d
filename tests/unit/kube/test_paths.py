import pytest

from mcp_operator.kube.paths import BUILT_IN, built_in, object_path, path_of


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("v1", "configmaps", "a", "b"), "/api/v1/namespaces/a/configmaps/b"),
        (("v1", "configmaps", "a"), "/api/v1/namespaces/a/configmaps"),
        (("v1", "configmaps"), "/api/v1/configmaps"),
        (("v1", "namespaces", None, "a"), "/api/v1/namespaces/a"),
        (("apps/v1", "deployments", "a", "b"), "/apis/apps/v1/namespaces/a/deployments/b"),
        (("coordination.k8s.io/v1", "leases", "a"), "/apis/coordination.k8s.io/v1/namespaces/a/leases"),
        (("rbac.authorization.k8s.io/v1", "clusterroles", None, "system:node/x"),
         "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode%2Fx"),
    ],
)  # fmt: skip
def test_paths(arguments: tuple[str | None, ...], path: str) -> None:
    assert object_path(*arguments) == path  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no object"):
        object_path("v1", "secrets", "a", name)


@pytest.mark.parametrize(
    ("kind", "api_version"),
    [
        ("Deployment", "apps/v1"),
        ("Service", "v1"),
        ("ConfigMap", "v1"),
        ("Secret", "v1"),
        ("ServiceAccount", "v1"),
        ("Pod", "v1"),
        ("Event", "v1"),
        ("Lease", "coordination.k8s.io/v1"),
        ("HorizontalPodAutoscaler", "autoscaling/v2"),
    ],
)
def test_the_path_of_an_object_follows_from_its_body(kind: str, api_version: str) -> None:
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": "a", "name": "b"}}
    resource = built_in(kind)
    assert path_of(body) == object_path(api_version, resource.plural, "a", "b")
    assert resource.path("a", "b") == path_of(body)


def test_a_cluster_scoped_object_has_no_namespace_in_its_path() -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "ignored"}}
    assert path_of(body) == "/api/v1/namespaces/a"


def test_custom_kinds_are_named_by_the_caller() -> None:
    body = {"apiVersion": "example.com/v1", "kind": "Goose", "metadata": {"namespace": "a", "name": "b"}}
    assert path_of(body, {"Goose": "geese"}) == "/apis/example.com/v1/namespaces/a/geese/b"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"apiVersion": "v1", "kind": "Goose", "metadata": {"name": "b"}}, "no path is known for v1 Goose"),
        ({"apiVersion": "v2", "kind": "Pod", "metadata": {"name": "b"}}, "no path is known for v2 Pod"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a"}}, "Pod without a name"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}, "Pod b without a namespace"),
    ],
)
def test_an_object_without_a_place_is_refused(body: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        path_of(body)


def test_no_kind_stands_twice() -> None:
    kinds = [resource.kind for resource in BUILT_IN.values()]
    assert len(kinds) == len(set(kinds))
    with pytest.raises(KeyError):
        built_in("Goose")
