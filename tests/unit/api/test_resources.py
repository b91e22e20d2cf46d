"""From a body to a resource: what the API server hands over, and what stands in a file."""

from typing import Any

import pytest

from mcp_operator.api.resources import InvalidResource, McpServer, parse

SERVER: dict[str, Any] = {
    "apiVersion": "mcp-operator.dev/v1alpha1",
    "kind": "McpServer",
    "metadata": {"name": "time", "namespace": "team"},
    "spec": {"stdio": {"command": "uvx"}},
}
LIVE_METADATA = {
    "name": "time",
    "generateName": "t",
    "uid": "0000",
    "resourceVersion": "7",
    "generation": 2,
    "creationTimestamp": "2026-03-01T12:00:00Z",
    "deletionGracePeriodSeconds": 0,
    "finalizers": [],
    "managedFields": [{"manager": "kubectl"}],
    "ownerReferences": [],
}


def test_id_and_hosting() -> None:
    server = parse(SERVER)
    assert isinstance(server, McpServer)
    assert (server.id, server.spec.hosting) == ("team/time", "Stdio")


@pytest.mark.parametrize("body", [{}, {**SERVER, "kind": "Pod"}, {**SERVER, "apiVersion": "mcp-operator.dev/v2"}])
def test_refuses_other_kinds_and_versions(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidResource, match=r"is no resource of mcp-operator.dev/v1alpha1"):
        parse(body)


def test_a_live_object_is_read_strictly_too() -> None:
    """`kubectl get -o yaml > file` gives a file that can be used."""
    assert parse({**SERVER, "metadata": LIVE_METADATA}, strict=True).metadata.generation == 2


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"name": "time", "label": {}}, "metadata.label: Extra inputs are not permitted"),
        ({}, "metadata.name: Field required"),
        (None, "metadata: Field required"),
        ("time", "metadata: Input should be"),
        ({"name": "time", "labels": {"version": 1}}, "metadata.labels.version: Input should be a valid string"),
    ],
)
def test_metadata_is_checked(metadata: Any, says: str) -> None:
    with pytest.raises(InvalidResource, match=says):
        parse({**SERVER, "metadata": metadata}, strict=True)


def test_a_newer_field_is_no_error_when_the_server_hands_it_over() -> None:
    body = {**SERVER, "spec": {**SERVER["spec"], "later": {"than": "this"}}}
    assert parse(body) == parse(SERVER)


@pytest.mark.parametrize("status", [{"conditions": "none"}, {"tools": {"count": -1}}, None, "text"])
def test_a_status_that_does_not_parse_counts_as_empty(status: Any) -> None:
    assert parse({**SERVER, "status": status}) == parse(SERVER)


def test_every_wrong_field_is_named() -> None:
    spec = {"remote": {"url": "docs", "transport": "http"}, "health": {"interval": "0s", "maxRestarts": -1}}
    with pytest.raises(InvalidResource) as refusal:
        parse({**SERVER, "spec": spec})
    for field in ("spec.remote.transport", "spec.health.interval", "spec.health.maxRestarts"):
        assert field in str(refusal.value)


def test_a_refusal_holds_no_value() -> None:
    headers = [{"name": "Authorization", "value": "Bearer hunter2\n"}]
    spec = {"remote": {"url": "https://me:hunter2@docs.example.com", "headers": headers}}
    with pytest.raises(InvalidResource) as refusal:
        parse({**SERVER, "spec": spec})
    assert "hunter2" not in str(refusal.value)
    assert "spec.remote.headers.0: value must be one line" in str(refusal.value)


@pytest.mark.parametrize("host", ["256.1.1.1", "xn--a", "1.2.3.4.5"])
def test_a_url_whose_host_can_be_none_is_refused_with_its_field(host: str) -> None:
    """The API server lets it through; no configuration could be made of it."""
    spec = {"publicUrl": f"https://{host}", "notices": {"webhook": f"https://{host}/hook"}}
    with pytest.raises(InvalidResource) as refusal:
        parse(
            {
                "apiVersion": SERVER["apiVersion"],
                "kind": "McpProxy",
                "metadata": {"name": "p", "namespace": "n"},
                "spec": spec,
            }
        )
    for field in ("spec.publicUrl", "spec.notices.webhook"):
        assert f"{field}: its host is no name and no address" in str(refusal.value)
