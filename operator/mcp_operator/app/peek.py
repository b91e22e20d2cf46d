"""What the API server has after a version, for the audit of the watch streams."""

from collections.abc import Iterable, Mapping
from typing import Any

from mcp_operator.engine.audit import Later
from mcp_operator.engine.store import number
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Gone


async def later_changes(kube: KubeClient, path: str, since: str, selector: str | None) -> Later:
    """Look at a collection for a second. Raises the errors of `kube.errors`, but for a version that is too old."""
    try:
        return summed_up(await kube.changes_since(path, since, selector))
    except Gone:
        return Later(expired=True)


def summed_up(events: Iterable[Mapping[str, Any]]) -> Later:
    """What watch events say together: an object that is gone in the end counts as deleted alone."""
    alive: dict[str, str] = {}
    deleted, as_of = False, None
    for event in events:
        metadata = event["object"]["metadata"]
        version = metadata.get("resourceVersion", "")
        if event["type"] == "BOOKMARK":
            as_of = version
        elif event["type"] == "DELETED":
            deleted = True
            alive.pop(metadata["uid"], None)
        else:
            alive[metadata["uid"]] = version
    newest = max(alive.values(), key=lambda version: number(version) or 0, default=None)
    return Later(changed=newest, deleted=deleted, as_of=as_of)
