"""Pinned definitions in local mode: the record of a run, and approvals by annotation. A whole run: `test_local`."""

from datetime import UTC, datetime

from mcp_operator.api import meta
from mcp_operator.api.pinning import Definitions, PinnedTool
from mcp_operator.api.resources import McpServer
from mcp_operator.api.server import ServerStatus
from mcp_operator.conditions.server import Health
from mcp_operator.engine.keys import Key
from mcp_operator.local.pinning import LocalPins
from mcp_operator_proxy.pinning.definition import canonical
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = Key("McpServer", "team-a", "far")


def lists(text: str) -> Health:
    return Health(healthy=True, definitions=(("t", canonical({"name": "t", "description": text})),))


def server(pins: LocalPins, health: Health, before: McpServer | None, **annotations: str) -> tuple[McpServer, bool]:
    """The server after a look, with the status that it then has."""
    made = models.server(resources.remote("far", "http://far/mcp", pinning="Enforce"), annotations=annotations)
    made = made.model_copy(update={"status": before.status if before else ServerStatus()})
    found, renewed = pins.look(KEY, made, health, NOW)
    assert found is not None
    assert found.record is not None
    said = Definitions(
        recorded_at=found.record.at,
        pinned=tuple(PinnedTool(tool=tool, digest=digest) for tool, digest in found.record.tools.items()),
        unapproved=found.unapproved,
    )
    return made.model_copy(update={"status": ServerStatus(definitions=said)}), renewed


def questionable(of: McpServer) -> list[str]:
    assert of.status.definitions is not None
    return [one.diff for one in of.status.definitions.unapproved]


def test_each_value_of_the_annotation_is_heeded_once() -> None:
    pins = LocalPins()
    first, renewed = server(pins, lists("one"), None)
    assert renewed
    second, renewed = server(pins, lists("two"), first)
    assert not renewed
    assert questionable(second) == ['description: "one" -> "two"']
    third, renewed = server(pins, lists("two"), second, **{meta.ANNOTATION_APPROVE: "all"})
    assert renewed
    assert questionable(third) == []
    fourth, renewed = server(pins, lists("three"), third, **{meta.ANNOTATION_APPROVE: "all"})
    assert not renewed
    assert questionable(fourth) == ['description: "two" -> "three"']
