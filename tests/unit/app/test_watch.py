"""The kopf handlers and settings: one handler a kind, that remembers and no more; streams that never give up."""

from itertools import islice
from typing import Any

import pytest

from mcp_operator import watch
from mcp_operator.api import meta
from mcp_operator.reconcile.world import CHILD_KINDS

Seen = list[tuple[str, str | None, Any]]


def _handlers(sink: watch.Sink, *, clusterwide: bool = True) -> dict[str, Any]:
    found = watch.registry(sink, clusterwide=clusterwide)._watching.get_all_handlers()
    return {str(handler.id): handler for handler in found}


def test_every_kind_has_a_handler_with_an_id() -> None:
    handlers = _handlers(lambda *_: None, clusterwide=False)
    assert handlers.keys() == {f"observe-{plural}" for _, _, plural in watch.WATCHED.values()}
    everywhere = _handlers(lambda *_: None)
    assert everywhere.keys() - handlers.keys() == {"observe-namespaces"}
    assert set(CHILD_KINDS) | {kind.kind for kind in meta.KINDS} | {"Pod"} == set(watch.WATCHED)


@pytest.mark.parametrize(
    ("kind", "api_version"), [("Deployment", "apps/v1"), ("Secret", "v1"), ("McpServer", meta.API_VERSION)]
)
async def test_events_reach_the_sink_with_kind_and_version(kind: str, api_version: str) -> None:
    """Objects of a list come without both; whoever writes to them or tells of them needs both."""
    seen: Seen = []
    plural = watch.WATCHED[kind][2]
    handler = _handlers(lambda *event: seen.append(event))[f"observe-{plural}"]
    body = {"metadata": {"name": "a"}}
    await handler.fn(event={"type": None, "object": body}, logger=None, memo=None)
    whole = {**body, "apiVersion": api_version, "kind": kind}
    await handler.fn(event={"type": "DELETED", "object": whole}, extra="ignored")
    assert seen == [(kind, None, whole), (kind, "DELETED", whole)]


def test_settings() -> None:
    settings = watch.settings()
    assert settings.scanning.disabled
    assert not watch.settings(clusterwide=True).scanning.disabled, "it may see CRDs come and go"
    assert settings.peering.standalone
    assert not settings.posting.enabled
    assert settings.watching.client_timeout is not None
    assert settings.watching.client_timeout > (settings.watching.server_timeout or 0)
    selectors = settings.watching.label_selectors
    assert selectors["apps", "v1", "deployments"] == watch.CHILD_SELECTOR
    assert selectors["", "v1", "secrets"] == watch.CHILD_SELECTOR, "nobody else's is read"
    backoffs = settings.networking.error_backoffs
    assert not isinstance(backoffs, int | float)
    assert [*islice(backoffs, 9)] == [1, 2, 3, 5, 8, 13, 21, 30, 30]
    assert [*islice(backoffs, 2)] == [1, 2], "every outage starts anew"
