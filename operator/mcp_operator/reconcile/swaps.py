"""Configurations under way to the pods: which pod is hurried on, and when again.

The kubelet syncs a pod's mounted ConfigMaps about once a minute, and at once when the pod object changes: so each pod gets
the revision as an annotation. The kubelet may take that update a moment before its watch brings it the new ConfigMap; a pod
that still lags after `NUDGE_SECONDS` is annotated again.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mcp_operator.api.meta import ANNOTATION_REVISION
from mcp_operator.engine.store import Object

NUDGE_SECONDS: Final = 1.0
NUDGES: Final = 30
"""How often one pod is annotated for one revision at most."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """An annotation that a pod shall get."""

    pod: Object
    value: str


class Swaps:
    """What this process did to hurry pods on. Nothing here must survive a restart."""

    def __init__(self) -> None:
        self._nudged: dict[str, tuple[str, int, float]] = {}

    def nudges(self, revision: str, pods: Iterable[Object], done: Iterable[str]) -> list[Nudge]:
        """Pods to annotate now: those without the revision, and those that were given it and still lag.

        `done` names the pods that answered for the revision, by running or by refusing it.
        """
        now = time.monotonic()
        finished = set(done)
        chosen = []
        for pod in pods:
            uid = pod["metadata"]["uid"]
            annotated = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_REVISION, "")
            known, count, at = self._nudged.get(uid, ("", 0, 0.0))
            if annotated.partition("+")[0] == revision:
                lags = pod["metadata"]["name"] not in finished and count < NUDGES
                if not lags or (known == revision and now - at < NUDGE_SECONDS):
                    continue
            count = count + 1 if known == revision else 1
            self._nudged[uid] = (revision, count, now)
            chosen.append(Nudge(pod, revision if count == 1 else f"{revision}+{count - 1}"))
        return chosen

    def retain(self, uids: Iterable[str]) -> None:
        """Forget pods that are no more."""
        alive = set(uids)
        self._nudged = {uid: state for uid, state in self._nudged.items() if uid in alive}
