"""What a Deployment and its pods say of themselves, put into one verdict with the true reason."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict, no, plural, yes

Body = Mapping[str, Any]

_PULL_FAILURES = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"}
)
_CONFIG_FAILURES = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def workload_verdict(deployment: Body | None, pods: Sequence[Body]) -> Verdict:
    """`Programmed` of something that runs as a Deployment."""
    if deployment is None:
        return no(Type.PROGRAMMED, Reason.DEPLOYING, "the Deployment is being created")
    wanted = deployment.get("spec", {}).get("replicas", 1)
    status = deployment.get("status", {})
    current = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    available, updated = status.get("availableReplicas", 0), status.get("updatedReplicas", 0)
    if current and available >= wanted and updated >= wanted:
        return yes(Type.PROGRAMMED, Reason.DEPLOYED, f"{plural(wanted, 'pod')} of the Deployment available")
    if trouble := pod_trouble(pods):
        return no(Type.PROGRAMMED, *trouble)
    for condition in status.get("conditions", []):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return no(Type.PROGRAMMED, Reason.APPLY_REFUSED, f"pods are refused: {condition.get('message', '')}")
    return no(
        Type.PROGRAMMED, Reason.DEPLOYING, f"waiting for {plural(wanted, 'pod')} of the Deployment to be available"
    )


def pod_trouble(pods: Iterable[Body]) -> tuple[Reason, str] | None:
    """The first trouble that a pod reports and that waiting alone is unlikely to mend."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("name"))):
        name, status = pod["metadata"].get("name"), pod.get("status", {})
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            if trouble := _container_trouble(container):
                return trouble[0], f"pod {name}: {trouble[1]}"
        for condition in status.get("conditions", []):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return Reason.UNSCHEDULABLE, f"pod {name}: {condition.get('message', 'no node takes it')}"
    return None


def _container_trouble(container: Body) -> tuple[Reason, str] | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    image = container.get("image", "")
    if reason in _PULL_FAILURES:
        return Reason.IMAGE_PULL_FAILED, f"image {image} can't be pulled ({reason}): {message}"
    if reason in _CONFIG_FAILURES:
        return Reason.CONTAINER_CONFIG_ERROR, f"{reason}: {message}"
    last = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated") or {}
    if reason == "CrashLoopBackOff" or (last and last.get("exitCode")):
        return (
            Reason.CRASHING,
            f"container {container.get('name')} exited with code {last.get('exitCode')}; see its log",
        )
    return None
