"""The user's podTemplate over the generated one.

merged: nothing · a new field · maps by field · keyed lists by key, others whole · null · $patch · unions keep one member
refused: wrong shapes, by field · what the product rests on: labels, containers, images, commands, ports, mounts, variables, volumes
"""

import copy
from typing import Any

import pytest

from mcp_operator.desired.podtemplate import PodTemplateRefused, merged

Body = dict[str, Any]

GENERATED: Body = {
    "metadata": {"labels": {"mcp-operator.dev/server": "near", "app.kubernetes.io/managed-by": "mcp-operator"}},
    "spec": {
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [
            {
                "name": "server",
                "image": "image:1",
                "args": ["--fast"],
                "env": [{"name": "A", "value": "1"}, {"name": "MCP_OWN", "value": "x"}],
                "ports": [{"name": "mcp", "containerPort": 8080, "protocol": "TCP"}],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "config", "mountPath": "/config", "readOnly": True}],
                "readinessProbe": {"tcpSocket": {"port": "mcp"}, "periodSeconds": 2},
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            }
        ],
        "volumes": [
            {"name": "config", "projected": {"sources": [{"secret": {"name": "s"}}]}},
            {"name": "cache", "emptyDir": {}},
        ],
    },
}


def container(**fields: Any) -> Body:
    return {"spec": {"containers": [{"name": "server", **fields}]}}


def server_of(template: Body) -> Body:
    found: Body = template["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("user", [None, {}, {"spec": {}}, {"metadata": {}, "spec": {"containers": []}}])
def test_nothing_said_is_nothing_changed(user: Body | None) -> None:
    assert merged(GENERATED, user) == GENERATED


def test_inputs_stay_as_they_are() -> None:
    generated, user = copy.deepcopy(GENERATED), container(env=[{"name": "A", "value": "2"}], securityContext=None)
    before = copy.deepcopy(user)
    merged(generated, user)
    assert (generated, user) == (GENERATED, before)


@pytest.mark.parametrize(
    ("user", "where", "value"),
    [
        pytest.param({"spec": {"priorityClassName": "high"}}, ("priorityClassName",), "high", id="new-field"),
        pytest.param(
            {"spec": {"nodeSelector": {"env": "prod", "ports": "many"}}},
            ("nodeSelector",),
            {"env": "prod", "ports": "many"},
            id="names-of-lists-as-keys",
        ),
        pytest.param(
            {"spec": {"automountServiceAccountToken": True}}, ("automountServiceAccountToken",), True, id="scalar"
        ),
        pytest.param(
            {"spec": {"automountServiceAccountToken": None}}, ("automountServiceAccountToken",), ..., id="null"
        ),
        pytest.param(
            {"spec": {"tolerations": [{"key": "a"}, {"key": "a"}]}},
            ("tolerations",),
            [{"key": "a"}, {"key": "a"}],
            id="list-without-key",
        ),
        pytest.param(
            {"spec": {"imagePullSecrets": [{"name": "mine"}]}},
            ("imagePullSecrets",),
            [{"name": "pull"}, {"name": "mine"}],
            id="list-by-name",
        ),
        pytest.param(
            {"spec": {"imagePullSecrets": [{"name": "pull", "$patch": "delete"}, {"name": "mine"}]}},
            ("imagePullSecrets",),
            [{"name": "mine"}],
            id="delete-an-element",
        ),
        pytest.param(
            {"spec": {"imagePullSecrets": [{"$patch": "replace"}, {"name": "mine"}]}},
            ("imagePullSecrets",),
            [{"name": "mine"}],
            id="replace-a-list",
        ),
        pytest.param(
            {"spec": {"initContainers": [{"name": "first", "image": "x"}]}},
            ("initContainers",),
            [{"name": "first", "image": "x"}],
            id="list-where-there-was-none",
        ),
        pytest.param(
            {"spec": {"volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}]}},
            ("volumes", 1),
            {"name": "cache", "persistentVolumeClaim": {"claimName": "c"}},
            id="another-source-of-an-empty-volume",
        ),
        pytest.param(
            {"spec": {"volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}]}},
            ("volumes", 1),
            {"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}},
            id="more-of-a-volume",
        ),
    ],
)
def test_spec(user: Body, where: tuple[Any, ...], value: Any) -> None:
    found: Any = merged(GENERATED, user)["spec"]
    for key in where:
        found = found.get(key, ...) if isinstance(found, dict) else found[key]
    assert found == value


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        pytest.param(
            {
                "env": [
                    {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "B", "value": "2"},
                ]
            },
            "env",
            [
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "MCP_OWN", "value": "x"},
                {"name": "B", "value": "2"},
            ],
            id="env-by-name-with-one-source",
        ),
        pytest.param(
            {"ports": [{"containerPort": 8080, "protocol": "UDP"}, {"containerPort": 9090, "name": "metrics"}]},
            "ports",
            [
                {"name": "mcp", "containerPort": 8080, "protocol": "TCP"},
                {"containerPort": 8080, "protocol": "UDP"},
                {"containerPort": 9090, "name": "metrics"},
            ],
            id="ports-by-number-and-protocol",
        ),
        pytest.param(
            {"securityContext": {"runAsUser": 0, "capabilities": {"add": ["NET_RAW"]}}},
            "securityContext",
            {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
                "runAsUser": 0,
            },
            id="maps-by-field",
        ),
        pytest.param(
            {"securityContext": {"$patch": "replace", "runAsUser": 0}},
            "securityContext",
            {"runAsUser": 0},
            id="replace-a-map",
        ),
        pytest.param(
            {"readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}},
            "readinessProbe",
            {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 2},
            id="a-probe-asks-in-one-way",
        ),
        pytest.param(
            {"lifecycle": {"preStop": {"sleep": {"seconds": 30}}}},
            "lifecycle",
            {"preStop": {"sleep": {"seconds": 30}}},
            id="the-same-way-with-another-value",
        ),
        pytest.param({"lifecycle": None}, "lifecycle", ..., id="null"),
        pytest.param(
            {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            "volumeMounts",
            [
                {"name": "config", "mountPath": "/config", "readOnly": True},
                {"name": "data", "mountPath": "/data"},
            ],
            id="another-mount",
        ),
    ],
)
def test_container(fields: Body, name: str, value: Any) -> None:
    assert server_of(merged(GENERATED, container(**fields))).get(name, ...) == value


def test_a_sidecar_comes_after_the_generated_containers() -> None:
    result = merged(GENERATED, {"spec": {"containers": [{"name": "log", "image": "log:1", "command": ["tail"]}]}})
    assert [one["name"] for one in result["spec"]["containers"]] == ["server", "log"]
    assert server_of(result) == server_of(GENERATED)


def test_labels_and_annotations_are_added() -> None:
    result = merged(GENERATED, {"metadata": {"labels": {"env": "prod"}, "annotations": {"note": "n"}}})
    assert result["metadata"] == {
        "labels": {**GENERATED["metadata"]["labels"], "env": "prod"},
        "annotations": {"note": "n"},
    }


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"spec": "x"}, "spec.podTemplate.spec must be an object"),
        ({"spec": {"containers": {}}}, "spec.podTemplate.spec.containers must be a list"),
        ({"spec": {"containers": ["x"]}}, "spec.podTemplate.spec.containers[0] needs name"),
        ({"spec": {"initContainers": [{"image": "x"}]}}, "spec.podTemplate.spec.initContainers[0] needs name"),
        (container(securityContext="none"), "containers[0].securityContext must be an object"),
        (container(env="none"), "containers[0].env must be a list"),
        (container(**{"$patch": "remove"}), "$patch is merge, replace or delete"),
        (container(**{"$retainKeys": ["name"]}), "the directive $retainKeys is not known"),
        ({"spec": {"$patch": "delete"}}, "set a field to null to remove it"),
        ({"spec": {"imagePullSecrets": [{"$patch": "merge"}]}}, "can say $patch: replace alone"),
        ({"metadata": {"name": "x"}}, "not name"),
    ],
)
def test_malformed(user: Body, words: str) -> None:
    with pytest.raises(PodTemplateRefused) as refused:
        merged(GENERATED, user)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (
            {"metadata": {"labels": {"mcp-operator.dev/server": "other"}}},
            "mcp-operator.dev/server is the operator's own",
        ),
        ({"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}, "managed-by is the operator's own"),
        ({"metadata": {"labels": None}}, "is the operator's own"),
        ({"metadata": {"annotations": {"mcp-operator.dev/restarted-at": "x"}}}, "restarted-at is the operator's own"),
        ({"spec": None}, "the container server can't be removed"),
        ({"spec": {"$patch": "replace"}}, "the container server can't be removed"),
        ({"spec": {"containers": [{"$patch": "replace"}]}}, "the container server can't be removed"),
        (container(**{"$patch": "delete"}), "the container server can't be removed"),
        (container(image="evil:1"), "gets its image from the resource"),
        (container(command=["sh"]), "gets its command from the resource"),
        (container(args=None), "gets its args from the resource"),
        (container(ports=[{"containerPort": 8080, "name": "other"}]), "needs its own ports"),
        (container(volumeMounts=[{"mountPath": "/config", "name": "cache"}]), "needs its own volumeMounts"),
        (container(volumeMounts=[{"$patch": "replace"}]), "needs its own volumeMounts"),
        (container(env=[{"name": "MCP_OWN", "value": "y"}]), "needs the variable MCP_OWN"),
        ({"spec": {"volumes": [{"name": "config", "emptyDir": {}}]}}, "the volume config is the operator's own"),
        ({"spec": {"volumes": [{"name": "cache", "$patch": "delete"}]}}, "the volume cache is the operator's own"),
    ],
)
def test_protected(user: Body, words: str) -> None:
    with pytest.raises(PodTemplateRefused) as refused:
        merged(GENERATED, user)
    assert words in str(refused.value)
    assert str(refused.value).startswith("spec.podTemplate")
