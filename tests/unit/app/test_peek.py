"""What the watch events of a second say together."""

from typing import Any

import pytest

from mcp_operator.app.peek import later_changes, summed_up
from mcp_operator.engine.audit import Later
from mcp_operator.kube.client import KubeClient
from support.apiserver import ApiServer, Refusal


def event(kind: str, uid: str, version: str) -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": {"uid": uid, "resourceVersion": version}}}


BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "40"}}}


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], Later()),
        ([BOOKMARK], Later(as_of="40")),
        ([event("ADDED", "a", "9"), event("MODIFIED", "b", "10")], Later(changed="10")),
        ([event("MODIFIED", "b", "10"), event("MODIFIED", "a", "9"), BOOKMARK], Later(changed="10", as_of="40")),
        ([event("DELETED", "a", "9")], Later(deleted=True)),
        ([event("ADDED", "a", "9"), event("DELETED", "a", "11")], Later(deleted=True)),
        ([event("DELETED", "a", "9"), event("ADDED", "b", "11")], Later(changed="11", deleted=True)),
    ],
)
def test_events_together(events: list[dict[str, Any]], said: Later) -> None:
    assert summed_up(events) == said


async def test_a_version_that_is_too_old(api: ApiServer, kube: KubeClient) -> None:
    api.refuse("GET", "/secrets", Refusal(410, "Expired", "too old resource version"))
    assert await later_changes(kube, "/api/v1/secrets", "7", None) == Later(expired=True)
