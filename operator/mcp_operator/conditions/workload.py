"""What a Deployment and its pods say of themselves, put into one verdict with the true reason.

The words must hold still while nothing changes: the kubelet tells the same failure in turns of two ways, and names of pods
that were never made carry a new suffix at every attempt. Such parts are left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict, no, plural, yes

Body = Mapping[str, Any]

_PULL_FAILURES: Final = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"}
)
_CONFIG_FAILURES: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NOT_STARTED: Final = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a terminated container whose command never ran."""
_BACK_OFF: Final = re.compile(r'^Back-off pulling image "[^"]*"(: ErrImagePull: )?')
_NO_LOGIN: Final = re.compile(
    r"unauthorized|authentication required|access denied|denied:|40[13] |insufficient_scope", re.IGNORECASE
)
_LOGIN: Final = "; if the registry is private, name its credentials in spec.imagePullSecrets"
_NEW_POD: Final = re.compile(r'^pods "[^"]*" is ')


def workload_verdict(deployment: Body | None, pods: Sequence[Body]) -> Verdict:
    """`Programmed` of something that runs as a Deployment: rolled out as `kubectl rollout status` means it."""
    if deployment is None:
        return no(Type.PROGRAMMED, Reason.DEPLOYING, "the Deployment is being created")
    wanted = deployment.get("spec", {}).get("replicas", 1)
    status = deployment.get("status", {})
    current = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    total, updated, available = (status.get(f, 0) for f in ("replicas", "updatedReplicas", "availableReplicas"))
    if current and total <= updated and updated >= wanted and available >= wanted:
        return yes(Type.PROGRAMMED, Reason.DEPLOYED, f"{plural(wanted, 'pod')} of the Deployment available")
    if trouble := pod_trouble(pods):
        return no(Type.PROGRAMMED, *trouble)
    for condition in status.get("conditions", []):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            why = _NEW_POD.sub("", condition.get("message", ""))
            return no(Type.PROGRAMMED, Reason.APPLY_REFUSED, f"pods are refused: {why}")
    return no(
        Type.PROGRAMMED, Reason.DEPLOYING, f"waiting for {plural(wanted, 'pod')} of the Deployment to be available"
    )


def pod_trouble(pods: Iterable[Body]) -> tuple[Reason, str] | None:
    """The first trouble that a pod reports and that waiting alone is unlikely to mend. The youngest pod is asked first."""
    for pod in sorted(pods, key=_age, reverse=True):
        name, status = pod["metadata"].get("name"), pod.get("status", {})
        for container in status.get("initContainerStatuses", []):
            if trouble := _container_trouble(container, may_end=True):
                return trouble[0], f"pod {name}: {trouble[1]}"
        for container in status.get("containerStatuses", []):
            if trouble := _container_trouble(container, may_end=False):
                return trouble[0], f"pod {name}: {trouble[1]}"
        for condition in status.get("conditions", []):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return Reason.UNSCHEDULABLE, f"pod {name}: {condition.get('message', 'no node takes it')}"
    return None


def _age(pod: Body) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp") or ""), str(pod["metadata"].get("name"))


def _container_trouble(container: Body, *, may_end: bool) -> tuple[Reason, str] | None:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    name = container.get("name")
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if reason in _PULL_FAILURES:
        why = _BACK_OFF.sub("", message) + (_LOGIN if _NO_LOGIN.search(message) else "")
        return Reason.IMAGE_PULL_FAILED, f"image {container.get('image', '')} can't be pulled" + (
            f": {why}" if why else ""
        )
    if ended and ended.get("reason") in _NOT_STARTED:
        return Reason.CONTAINER_CONFIG_ERROR, f"container {name} can't be started: {ended.get('message', '')}"
    if reason in _CONFIG_FAILURES:
        return Reason.CONTAINER_CONFIG_ERROR, f"container {name} can't be started: {message}"
    if reason != "CrashLoopBackOff" and (
        not ended or container.get("ready") or (may_end and not ended.get("exitCode"))
    ):
        return None
    code, why = (ended or {}).get("exitCode", "unknown"), (ended or {}).get("reason", "")
    shown = f" ({why})" if why not in {"", "Error", "Completed"} else ""
    return Reason.CRASHING, f"container {name} exited with code {code}{shown}; see its log"
