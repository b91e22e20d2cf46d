"""What policies decide: of whom, of what, with which errors. Pure, with Cedar itself."""

import time
from itertools import pairwise
from typing import Any

import pytest

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.authz.entities import cedar_value, principal_uid
from mcp_operator_proxy.authz.policy import CedarPolicy
from mcp_operator_proxy.authz.settings import policy_of
from mcp_operator_proxy.authz.syntax import statements
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.policy import ALLOW_ALL
from mcp_operator_proxy.swap.validate import ConfigRejected
from mcp_operator_proxy.table import Entry, RouteTable, build_table

ALICE = Principal("alice", "corp", {"groups": ["dev"], "level": 2, "sub": "alice", "scope": "read write"})
BOB = Principal("bob")


def config(policies: str | None, servers: tuple[str, ...] = ("ns/files", "prod/files")) -> ProxyConfig:
    entries = [{"server": server, "prefix": server.replace("/", "-")} for server in servers]
    return ProxyConfig.model_validate(
        {
            "revision": "1",
            "servers": [{"id": server, "url": "http://127.0.0.1:1/mcp", "category": "storage"} for server in servers],
            "routes": [{"name": "McpRoute/ns/r", "path": "/mcp", "servers": entries}],
            **({"authorization": {"policies": policies}} if policies is not None else {}),
        }
    )


def catalogue(*tools: dict[str, Any]) -> Catalogue:
    listed = tools or ({"name": "read", "annotations": {"readOnlyHint": True}}, {"name": "write"})
    schema = {"type": "object"}
    return Catalogue(
        tools=tuple({"inputSchema": schema, **tool} for tool in listed),
        prompts=({"name": "summary"},),
        resources=({"uri": "file:///a", "name": "a"},),
        resource_templates=({"uriTemplate": "file:///dir/{name}", "name": "dir"},),
    )


def made(policies: str) -> tuple[CedarPolicy, RouteTable]:
    wanted = config(policies)
    policy = policy_of(wanted)
    assert isinstance(policy, CedarPolicy)
    return policy, build_table(wanted, {"ns/files": catalogue(), "prod/files": catalogue()})["/mcp"]


def seen(policies: str, principal: Principal | None) -> set[str]:
    """What the lists show; each decision alone says the same."""
    policy, table = made(policies)
    shown = policy.visible(principal, table)
    names: set[str] = set()
    for kind, whole, part in (
        ("tool", table.tools, shown.tools),
        ("prompt", table.prompts, shown.prompts),
        ("resource", table.resources, shown.resources),
        ("resource_template", table.resource_templates, shown.resource_templates),
    ):
        fresh, _ = made(policies)
        alone = {n for n, e in whole.items() if fresh.refusal(principal, "/mcp", kind, n, e) is None}  # type: ignore[arg-type]
        assert alone == set(part), kind
        assert list(part) == [name for name in whole if name in part]
        names |= set(part)
    return names


READ, WRITE, PROD_READ, PROD_WRITE = "ns-files_read", "ns-files_write", "prod-files_read", "prod-files_write"
TOOLS = {READ, WRITE, PROD_READ, PROD_WRITE}
TOOL_CALLS = 'permit(principal, action == Action::"tools/call", resource'


@pytest.mark.parametrize(
    ("policies", "principal", "expected"),
    [
        ("// nothing", ALICE, set()),
        (f"{TOOL_CALLS});", ALICE, TOOLS),
        (f"{TOOL_CALLS});", None, TOOLS),
        (f"{TOOL_CALLS}) when {{ resource.annotations.readOnlyHint }};", ALICE, {READ, PROD_READ}),
        (f"{TOOL_CALLS}) when {{ !resource.annotations.destructiveHint }};", ALICE, set()),
        (f'{TOOL_CALLS}) when {{ principal.groups.contains("dev") }};', ALICE, TOOLS),
        (f'{TOOL_CALLS}) when {{ principal.groups.contains("dev") }};', BOB, set()),
        (f'{TOOL_CALLS}) when {{ principal.groups.contains("dev") }};', None, set()),
        (f'{TOOL_CALLS}) when {{ principal.scopes.containsAll(["read", "write"]) }};', ALICE, TOOLS),
        (f'{TOOL_CALLS}) when {{ principal.level >= 2 && resource.namespace == "prod" }};', ALICE, {PROD_READ, PROD_WRITE}),
        (f'{TOOL_CALLS} in Server::"ns/files");', ALICE, {READ, WRITE}),
        (f'{TOOL_CALLS} == Tool::"ns/files/read");', ALICE, {READ}),
        (f'{TOOL_CALLS}) when {{ resource.exposed like "prod-*" && resource.name == "read" }};', ALICE, {PROD_READ}),
        (f'{TOOL_CALLS}) when {{ resource.category == "storage" && resource.route == "/mcp" }};', ALICE, TOOLS),
        (f'{TOOL_CALLS}) when {{ context.route == "/mcp" && context.claims.sub == "alice" }};', ALICE, TOOLS),
        (f'{TOOL_CALLS}) when {{ context.route == "/mcp" && context.claims.sub == "alice" }};', BOB, set()),
        ('permit(principal == User::"corp/alice", action == Action::"tools/call", resource);', ALICE, TOOLS),
        ('permit(principal == User::"other/alice", action == Action::"tools/call", resource);', ALICE, set()),
        ('permit(principal == ApiKey::"bob", action == Action::"tools/call", resource);', BOB, TOOLS),
        ('permit(principal is Anonymous, action == Action::"tools/call", resource);', None, TOOLS),
        ('permit(principal is Anonymous, action == Action::"tools/call", resource);', BOB, set()),
        ('permit(principal, action == Action::"prompts/get", resource);', BOB, {"ns-files_summary", "prod-files_summary"}),
        (
            'permit(principal, action == Action::"resources/read", resource) when { resource.name like "file:///dir/*" };',
            BOB,
            {"file://ns-files//dir/{name}", "file://prod-files//dir/{name}"},
        ),
        (f'{TOOL_CALLS}); forbid(principal, action, resource == Tool::"ns/files/read");', ALICE, TOOLS - {READ}),
        (f'{TOOL_CALLS}) when {{ [resource].contains(Tool::"ns/files/read") }};', ALICE, {READ}),
        (f'{TOOL_CALLS}) when {{ resource in [Tool::"ns/files/read", Server::"prod/files"] }};', ALICE, TOOLS - {WRITE}),
        (f'{TOOL_CALLS}) unless {{ Tool::"ns/files/read" == resource }};', ALICE, TOOLS - {READ}),
        # a policy that fails: a permit permits nothing, a forbid forbids
        (f'{TOOL_CALLS}); permit(principal, action, resource) when {{ principal.nothing == 1 }};', ALICE, TOOLS),
        (f'{TOOL_CALLS}); forbid(principal, action, resource) when {{ principal.nothing == 1 }};', ALICE, set()),
        (f'{TOOL_CALLS}); forbid(principal, action, resource) when {{ principal.level == 1 }};', ALICE, TOOLS),
    ],
)  # fmt: skip
def test_decides(policies: str, principal: Principal | None, expected: set[str]) -> None:
    assert seen(policies, principal) == expected


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (
            f'{TOOL_CALLS});\n\n// "a" ; comment\npermit(principal,\n action) when;',
            "the policy that begins in line 4: ",
        ),
        ("permit(principal, action, resource)", "the policy that begins in line 1: unexpected end of input"),
        (f'{TOOL_CALLS}) when {{ resource.name == ";" }};\nnonsense;', "the policy that begins in line 2: "),
        ("\n\npermit(principal == ?principal, action, resource);", "line 3: a template"),
        (f'{TOOL_CALLS}) when {{ frobnicate("x") }};', "line 1: `frobnicate` is not a valid function"),
    ],
)
def test_bad_policies_are_refused_with_their_line(policies: str, message: str) -> None:
    with pytest.raises(ConfigRejected) as refused:
        policy_of(config(policies))
    assert str(refused.value).startswith("authorization.policies: ")
    assert message in str(refused.value)


def test_no_policies_are_no_policy() -> None:
    assert policy_of(config(None)) is ALLOW_ALL


def test_splits_policies() -> None:
    text = '// a; b\npermit(principal, action, resource) when { resource.name == "x;\\"" };\n  \nforbid(x);// end;\n'
    assert [line for line, _ in statements(text)] == [2, 4]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"__entity": {"type": "User", "id": "root"}, "a": 1}, {"a": 1}),
        ({"__extn": {"fn": "ip", "arg": "1.1.1.1"}}, {}),
        ([{"__entity": {"type": "User", "id": "root"}}, None, 1.0, 1.5], [{}, 1, "1.5"]),
        (2**63, str(2**63)),
        (-(2**63), -(2**63)),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (True, True),
        (None, None),
        (object(), None),
    ],
)
def test_no_claim_becomes_anything_but_a_value(value: Any, expected: Any) -> None:
    found = cedar_value(value)
    assert found == expected
    assert type(found) is type(expected)


def test_odd_claims_do_not_keep_a_caller_from_being_judged() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    claims = {"deep": deep, "": None, 'x\n"': {"y": [None]}, "issuer": "forged", "caller": 7, "n": 10**40}
    odd = Principal('al"ice\\ü', "corp", claims)
    assert principal_uid(odd) == {"type": "User", "id": 'corp/al"ice\\ü'}
    assert seen(f'{TOOL_CALLS}) when {{ principal.issuer == "corp" }};', odd) == TOOLS


def test_a_decision_is_made_once_for_a_token_and_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, table = made(f"{TOOL_CALLS}) when {{ resource.annotations.readOnlyHint }};")
    asked: list[str] = []
    real = policy._policies.allowed

    def counted(principal: Any, action: str, resources: Any, *rest: Any) -> list[bool]:
        asked.extend(each["id"] for each in resources)
        return real(principal, action, resources, *rest)

    monkeypatch.setattr(policy._policies, "allowed", counted)
    entry = table.tools[READ]
    for _ in range(3):
        assert policy.refusal(ALICE, "/mcp", "tool", READ, entry) is None
        assert policy.visible(ALICE, table) is policy.visible(ALICE, table)
    once = len(asked)
    assert asked.count("ns/files/read") == 2  # alone, and for its kind in the list
    renewed = Principal(ALICE.name, ALICE.issuer, {**ALICE.claims, "groups": []})
    assert policy.refusal(renewed, "/mcp", "tool", READ, entry) is None
    assert len(asked) == once + 1
    changed = Entry(entry.server, entry.name, {**entry.definition, "annotations": {}})
    assert policy.refusal(ALICE, "/mcp", "tool", READ, changed) is not None
    assert policy.refusal(ALICE, "/mcp", "tool", READ, entry) is None


@pytest.mark.parametrize("told_apart", [False, True])
def test_a_thousand_tools_are_judged_at_once(told_apart: bool) -> None:
    """Printed, not asserted: what it costs is in docs/authentication.md."""
    looked_at = 'resource.name like "tool*" && ' if told_apart else ""
    wanted = config(
        f'{TOOL_CALLS}) when {{ {looked_at}resource.annotations.readOnlyHint }};\n'
        'permit(principal, action, resource) when { principal.groups.contains("admin") };\n'
        'forbid(principal, action, resource) when { resource.namespace == "prod" && principal.level < 3 };'
    )  # fmt: skip
    policy = policy_of(wanted)
    tools = [{"name": f"tool{n}", "annotations": {"readOnlyHint": n % 2 == 0}} for n in range(500)]
    table = build_table(wanted, {"ns/files": catalogue(*tools), "prod/files": catalogue(*tools)})["/mcp"]
    assert len(table.tools) == 1000
    laps = [time.perf_counter()]
    assert len(policy.visible(ALICE, table).tools) == 250
    laps.append(time.perf_counter())
    assert len(policy.visible(Principal("carol", "corp", {"groups": [], "level": 3}), table).tools) == 500
    laps.append(time.perf_counter())
    policy.visible(ALICE, table)
    laps.append(time.perf_counter())
    entry = table.tools["ns-files_tool0"]
    policy.refusal(ALICE, "/mcp", "tool", "ns-files_tool0", entry)
    laps.append(time.perf_counter())
    for _ in range(1000):
        policy.refusal(ALICE, "/mcp", "tool", "ns-files_tool0", entry)
    laps.append(time.perf_counter())
    names = ("first caller", "next caller", "again", "one call", "1,000 calls again")
    print({name: f"{(b - a) * 1e3:.3f} ms" for name, (a, b) in zip(names, pairwise(laps), strict=True)})
