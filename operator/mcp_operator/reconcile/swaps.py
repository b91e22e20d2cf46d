"""Configurations under way to the pods: which pod is hurried on, and when again.

The kubelet syncs a pod's mounted ConfigMaps about once a minute, and at once when the pod object changes: so each pod gets
the revision as an annotation. The kubelet may take that update a moment before its watch brings it the new ConfigMap; a pod
that still lags after `NUDGE_SECONDS` is annotated again, `NUDGES` times at most.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from mcp_operator.api.meta import ANNOTATION_REVISION
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object

NUDGE_SECONDS: Final = 1.0
NUDGES: Final = 30
"""How often one pod is annotated for one revision at most."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """An annotation that a pod shall get."""

    pod: Object
    value: str


@dataclass(frozen=True, slots=True)
class _Hurried:
    revision: str
    count: int
    at: float


class Swaps:
    """What this process did to hurry pods on. Nothing here must survive a restart."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, annotation: str = ANNOTATION_REVISION) -> None:
        self._clock = clock
        self._annotation = annotation
        self._hurried: dict[Key, dict[str, _Hurried]] = {}

    def nudges(
        self, proxy: Key, revision: str, pods: Iterable[Object], done: Iterable[str], unheard: Iterable[str] = ()
    ) -> tuple[list[Nudge], float | None]:
        """Pods of `proxy` to annotate now, and in how many seconds to ask again (None: not by time).

        `done` names the pods that answered for the revision, by running or by refusing it; `unheard` those that nobody has
        asked yet, as this process has just begun: who was annotated for the revision is not known to lag.
        """
        before, finished, silent = self._hurried.pop(proxy, {}), set(done), set(unheard)
        lagging = [pod for pod in pods if pod["metadata"]["name"] not in finished]
        chosen, now = [], self._clock()
        after: dict[str, _Hurried] = {}
        for pod in lagging:
            uid, (annotated, number) = pod["metadata"]["uid"], annotated_with(pod, self._annotation)
            known = before.get(uid)
            if known is None or known.revision != revision:
                # Annotated by the process before this one: it may just be on its way.
                known = _Hurried(revision, 0, now if annotated == revision else now - NUDGE_SECONDS)
            if known.count == 0 and annotated == revision and pod["metadata"]["name"] in silent:
                known = _Hurried(revision, 0, now)
            if known.count < NUDGES and now - known.at >= NUDGE_SECONDS:
                known = _Hurried(revision, known.count + 1, now)
                chosen.append(Nudge(pod, f"{revision}+{number + 1}" if annotated == revision else revision))
            after[uid] = known
        if after:
            self._hurried[proxy] = after
        waits = any(known.count < NUDGES for known in after.values())
        return chosen, NUDGE_SECONDS if waits else None

    @staticmethod
    def announcements(revision: str, pods: Iterable[Object]) -> list[Nudge]:
        """Pods that are being started, to be told which revision they should be ready with: once, as nothing lags yet."""
        return [Nudge(pod, revision) for pod in pods if annotated_with(pod, ANNOTATION_REVISION)[0] != revision]

    def forget(self, proxy: Key) -> None:
        """Drop what is remembered of a proxy that is gone."""
        self._hurried.pop(proxy, None)


def annotated_with(pod: Object, annotation: str) -> tuple[str, int]:
    """The revision that the pod was last annotated with, and how often again."""
    value = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    revision, _, number = value.partition("+")
    return revision, int(number) if number.isdecimal() else 0
