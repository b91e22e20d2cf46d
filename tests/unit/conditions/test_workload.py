"""A Deployment and its pods, as API servers and kubelets word them, and the verdict on them.

rolled out or not: the counts of `kubectl rollout status` · pods that are refused · each kind of trouble, in the kubelet's words
the same words while nothing changes: in turns of pulling, of crashing, at every new attempt
"""

from typing import Any

import pytest

from mcp_operator.conditions.reasons import Type
from mcp_operator.conditions.workload import pod_trouble, workload_verdict

Body = dict[str, Any]
IMAGE = "registry.example.com/search:1"
PULL = f'failed to pull and unpack image "{IMAGE}": not found'


def deployment(wanted: int = 1, generation: int = 2, **status: Any) -> Body:
    whole = {"observedGeneration": 2, "replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted}
    return {
        "metadata": {"name": "search-server", "generation": generation},
        "spec": {"replicas": wanted},
        "status": {key: value for key, value in {**whole, **status}.items() if value is not None},
    }


def pod(*containers: Body, name: str = "search-server-1-a", created: int = 1, **status: Any) -> Body:
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{created}Z"},
        "status": {"phase": "Pending", "containerStatuses": list(containers), **status},
    }


def container(*, waiting: Body | None = None, last: Body | None = None, now: Body | None = None, **more: Any) -> Body:
    state = {"waiting": waiting} if waiting else {"terminated": now} if now else {"running": {"startedAt": "x"}}
    ended = {"lastState": {"terminated": last}} if last else {"lastState": {}}
    return {"name": "server", "image": IMAGE, "ready": False, "restartCount": 1, "state": state, **ended, **more}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, ("False", "Deploying")),
        ({"metadata": {"generation": 1}, "spec": {}}, ("False", "Deploying")),
        (deployment(), ("True", "Deployed")),
        (deployment(3), ("True", "Deployed")),
        (deployment(0, replicas=None, updatedReplicas=None, availableReplicas=None), ("True", "Deployed")),
        (deployment(generation=3), ("False", "Deploying")),
        (deployment(availableReplicas=None), ("False", "Deploying")),
        (deployment(2, availableReplicas=1), ("False", "Deploying")),
        (deployment(updatedReplicas=None), ("False", "Deploying")),
        # Surge: the old pod is available, the new one exists. The rollout is not done.
        (deployment(replicas=2), ("False", "Deploying")),
    ],
)
def test_rollout(body: Body | None, expected: tuple[str, str]) -> None:
    verdict = workload_verdict(body, [])
    assert (verdict.type, verdict.status, verdict.reason) == (Type.PROGRAMMED, *expected)


def _refused(suffix: str) -> Body:
    message = f'pods "search-server-6d4cf56db6-{suffix}" is forbidden: violates PodSecurity "restricted:latest"'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return deployment(replicas=None, updatedReplicas=None, availableReplicas=None, conditions=[condition])


def test_refused_pods_are_told_in_the_same_words_at_every_attempt() -> None:
    first, second = workload_verdict(_refused("x8k2z"), []), workload_verdict(_refused("p4q7m"), [])
    assert first == second
    assert (first.reason, first.message) == (
        "ApplyRefused",
        'pods are refused: forbidden: violates PodSecurity "restricted:latest"',
    )


def test_trouble_is_no_matter_once_all_is_available() -> None:
    crashed = pod(container(last={"exitCode": 1}, ready=True))
    assert workload_verdict(deployment(), [crashed]).status == "True"
    assert (
        workload_verdict(deployment(availableReplicas=0), [pod(container(waiting={"reason": "X"}))]).reason
        == "Deploying"
    )


TROUBLES: list[tuple[str, Body, tuple[str, str]]] = [
    (
        "no such image",
        container(waiting={"reason": "ErrImagePull", "message": PULL}),
        ("ImagePullFailed", f"image {IMAGE} can't be pulled: {PULL}"),
    ),
    (
        "no such image, backing off",
        container(
            waiting={
                "reason": "ImagePullBackOff",
                "message": f'Back-off pulling image "{IMAGE}": ErrImagePull: {PULL}',
            }
        ),
        ("ImagePullFailed", f"image {IMAGE} can't be pulled: {PULL}"),
    ),
    (
        "no such image, an older kubelet",
        container(waiting={"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'}),
        ("ImagePullFailed", f"image {IMAGE} can't be pulled"),
    ),
    (
        "a private registry",
        container(waiting={"reason": "ErrImagePull", "message": "pull access denied: authorization failed"}),
        (
            "ImagePullFailed",
            (
                f"image {IMAGE} can't be pulled: pull access denied: authorization failed; "
                "if the registry is private, name its credentials in spec.imagePullSecrets"
            ),
        ),
    ),
    (
        "never to be pulled",
        container(waiting={"reason": "ErrImageNeverPull", "message": "Container image is not present"}),
        ("ImagePullFailed", f"image {IMAGE} can't be pulled: Container image is not present"),
    ),
    (
        "a Secret is missing",
        container(waiting={"reason": "CreateContainerConfigError", "message": 'secret "token" not found'}),
        ("ContainerConfigError", 'container server can\'t be started: secret "token" not found'),
    ),
    (
        "no such command",
        container(
            waiting={"reason": "RunContainerError", "message": 'exec: "nope": not found, this time'},
            last={"exitCode": 128, "reason": "StartError", "message": 'exec: "nope": not found'},
        ),
        ("ContainerConfigError", 'container server can\'t be started: exec: "nope": not found'),
    ),
    (
        "no such command, backing off",
        container(
            waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"},
            last={"exitCode": 128, "reason": "StartError", "message": 'exec: "nope": not found'},
        ),
        ("ContainerConfigError", 'container server can\'t be started: exec: "nope": not found'),
    ),
    (
        "crashing, backing off",
        container(
            waiting={"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"},
            last={"exitCode": 1, "reason": "Error"},
        ),
        ("Crashing", "container server exited with code 1; see its log"),
    ),
    (
        "crashing, started again",
        container(last={"exitCode": 1, "reason": "Error"}),
        ("Crashing", "container server exited with code 1; see its log"),
    ),
    (
        "crashing, ended just now",
        container(now={"exitCode": 1, "reason": "Error"}, last={"exitCode": 2, "reason": "Error"}),
        ("Crashing", "container server exited with code 1; see its log"),
    ),
    (
        "it ends although it should not",
        container(last={"exitCode": 0, "reason": "Completed"}),
        ("Crashing", "container server exited with code 0; see its log"),
    ),
    (
        "out of memory",
        container(last={"exitCode": 137, "reason": "OOMKilled"}),
        ("Crashing", "container server exited with code 137 (OOMKilled); see its log"),
    ),
    (
        "backing off without a reason",
        container(waiting={"reason": "CrashLoopBackOff"}),
        ("Crashing", "container server exited with code unknown; see its log"),
    ),
]


@pytest.mark.parametrize(("status", "expected"), [case[1:] for case in TROUBLES], ids=[case[0] for case in TROUBLES])
def test_trouble(status: Body, expected: tuple[str, str]) -> None:
    assert pod_trouble([pod(status)]) == (expected[0], f"pod search-server-1-a: {expected[1]}")


@pytest.mark.parametrize(
    "status",
    [
        container(),
        container(waiting={"reason": "ContainerCreating"}),
        container(waiting={"reason": "PodInitializing"}),
        container(ready=True, last={"exitCode": 1, "reason": "Error"}),
    ],
)
def test_no_trouble(status: Body) -> None:
    assert pod_trouble([pod(status), {"metadata": {"name": "new"}}]) is None


def test_init_containers_may_end() -> None:
    done = container(now={"exitCode": 0, "reason": "Completed"})
    failed = container(now={"exitCode": 3, "reason": "Error"})
    assert pod_trouble([pod(initContainerStatuses=[done])]) is None
    trouble = pod_trouble([pod(initContainerStatuses=[done, failed])])
    assert trouble is not None
    assert "exited with code 3" in trouble[1]


def test_no_node() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: Insufficient cpu"}
    assert pod_trouble([pod(conditions=[condition])]) == (
        "Unschedulable",
        "pod search-server-1-a: 0/3 nodes are available: Insufficient cpu",
    )


def test_the_youngest_pod_is_asked_first() -> None:
    """In a rollout the old pod's trouble is why there is a new one."""
    old = pod(container(last={"exitCode": 1}), name="a", created=1)
    new = pod(container(waiting={"reason": "ErrImagePull"}), name="b", created=2)
    for pods in ([old, new], [new, old]):
        trouble = pod_trouble(pods)
        assert trouble is not None
        assert trouble[0] == "ImagePullFailed"
