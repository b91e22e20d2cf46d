"""The rules of kstatus for custom resources: what Flux and `cli-utils` make of an object.

Source: sigs.k8s.io/cli-utils/pkg/kstatus, its README and `status.Compute`: the generic properties first (deletion, generation,
Reconciling, Stalled), then Ready; a resource with none of these counts as done.
"""

from collections.abc import Mapping
from typing import Any


def computed(body: Mapping[str, Any]) -> str:
    """`Terminating`, `InProgress`, `Failed` or `Current`."""
    metadata, status = body["metadata"], body.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata.get("generation"):
        return "InProgress"
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for kind, result in (("Reconciling", "InProgress"), ("Stalled", "Failed")):
        if kind in conditions and conditions[kind]["status"] == "True":
            return result
    ready = conditions.get("Ready")
    return "InProgress" if ready is not None and ready["status"] != "True" else "Current"
