"""Which tools policies cannot tell apart, and when nobody can say. Pure."""

import json

import cedarpy
import pytest

from mcp_operator_proxy.authz.entities import resource_entity
from mcp_operator_proxy.authz.likeness import looks_of
from mcp_operator_proxy.table import Entry


def policies(condition: str, scope: str = "resource") -> dict[str, object]:
    text = f"permit(principal, action, {scope}) when {{ {condition} }};"
    found: dict[str, object] = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    return found


@pytest.mark.parametrize(
    ("condition", "attributes", "named"),
    [
        ("true", set(), set()),
        ("resource.annotations.readOnlyHint", {"annotations"}, set()),
        ('resource has annotations.title && resource["server"] like "ns/*"', {"annotations", "server"}, set()),
        ("principal.tools.contains(resource.name)", {"name"}, set()),
        ('principal in Group::"g"', set(), {("Group", "g")}),
        ('resource == Tool::"x" || Tool::"y" != resource', set(), {("Tool", "x"), ("Tool", "y")}),
        ('resource in [Tool::"x", Server::"ns/s"]', set(), {("Tool", "x"), ("Server", "ns/s")}),
        ('resource is Tool in Server::"ns/s" && resource is Tool', set(), {("Server", "ns/s")}),
        ("if resource.route == context.route then true else resource has category", {"route", "category"}, set()),
    ],
)
def test_knows_what_is_looked_at(condition: str, attributes: set[str], named: set[tuple[str, str]]) -> None:
    looks = looks_of(policies(condition))
    assert looks is not None
    assert (looks.attributes, looks.named) == (attributes, named)


@pytest.mark.parametrize(
    "condition",
    [
        "principal.allowed.contains(resource)",
        "resource == principal.tool",
        "principal.tool == resource",
        "resource == resource",
        "resource in principal.tools",
        "[resource].contains(principal.x)",
        "{a: resource}.a.name == principal.x",
        "(if principal.x then resource else resource).name == principal.y",
        'resource.hasTag("a")',
        'resource is Tool in principal.server',
        'principal in resource',
    ],
)  # fmt: skip
def test_says_where_it_does_not_know(condition: str) -> None:
    assert looks_of(policies(condition)) is None


def test_names_in_scopes_count() -> None:
    looks = looks_of(policies("true", 'resource in Server::"ns/s"'))
    assert looks is not None
    assert looks.named == {("Server", "ns/s")}
    only = looks_of(policies("true", 'resource == Tool::"ns/s/a"'))
    assert only is not None
    one, two, three = [resource_entity("tool", name, Entry("ns/s", name, {}), "/mcp", "") for name in "abc"]
    assert only.kind(one) != only.kind(two)
    assert only.kind(two) == only.kind(three)


def test_unknown_forms_are_not_guessed_at() -> None:
    assert looks_of({"p": {"effect": "permit"}}) is None
    deep: object = True
    for _ in range(10_000):
        deep = {"!": {"arg": deep}}
    scope = {"op": "All"}
    body = {"effect": "permit", "principal": scope, "action": scope, "resource": scope}
    assert looks_of({"p": {**body, "conditions": [{"kind": "when", "body": deep}]}}) is None
