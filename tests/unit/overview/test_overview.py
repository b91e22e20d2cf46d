"""What `status` shows: states, the tree, tables, data."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_operator.overview.data import as_data
from mcp_operator.overview.model import Overview, overview, view
from mcp_operator.overview.text import tables, trees
from support import models, resources
from support.statuses import CASES

Body = dict[str, Any]
NOW = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


def plain(text: str, _: object) -> str:
    return text


def marked(text: str, colour: str | None) -> str:
    return f"<{colour}>{text}</>" if colour else text


def of(kind: str, case: str, name: str, **more: Any) -> Body:
    """A case under another name, with other fields of its spec and metadata."""
    body = CASES[kind][case].body
    metadata = {**body["metadata"], "name": name, **more.pop("metadata", {})}
    return {**body, "metadata": metadata, "spec": {**body["spec"], **more}}


CORE = {"labels": {"team": "core"}}
WORLD = [
    of("McpProxy", "ready", "tools", servers={"selector": {"matchLabels": CORE["labels"]}}),
    of("McpServer", "ready", "time", metadata=CORE),
    of("McpServer", "unhealthy", "docs", metadata=CORE),
    of("McpServer", "ready", "lonely"),
    of("McpRoute", "ready", "research", path="/research/mcp", servers=[{"name": "docs", "prefix": "d"}]),
    of("McpRoute", "no-server", "broken", servers=[{"name": "gone"}]),
    of("McpRoute", "no-proxy", "adrift", parentRefs=[{"name": "nowhere"}]),
]


@pytest.mark.parametrize(
    ("kind", "case", "state"),
    [
        ("McpServer", "pending", "Unknown"),
        ("McpServer", "ready", "Ready"),
        ("McpServer", "outdated", "Outdated"),
        ("McpServer", "terminating", "Deleting"),
        ("McpServer", "not-probed", "Unknown"),
        ("McpServer", "unhealthy", "NotReady"),
        ("McpServer", "refused", "NotReady"),
        ("McpProxy", "swapping", "NotReady"),
        ("McpRoute", "no-proxy", "NotReady"),
    ],
)
def test_states(kind: str, case: str, state: str) -> None:
    assert view(CASES[kind][case].body).state == state


def test_a_body_that_can_not_be_read_is_shown_with_the_reason() -> None:
    body = models.stored({**resources.remote("bad", "x"), "spec": {"remote": {"url": "hunter2"}}})
    found = overview([body])
    (bad,) = found.views
    assert (bad.state, bad.reason) == ("NotReady", "Invalid")
    assert "spec.remote" in bad.message
    assert "hunter2" not in bad.message
    assert not found.all_ready


def test_the_tree() -> None:
    assert list(trees(overview(WORLD), plain)) == [
        "tools   Ready   http://tools-proxy.team-a.svc/mcp   0 tools, 1/1 replicas",
        "├── /mcp",
        "│   ├── docs   docs_*   ConnectionRefused",
        "│   │       Healthy=False ConnectionRefused: nothing listens there",
        "│   └── time   time_*   Ready   1 tool",
        "├── /research/mcp",
        "│   └── docs   d_*   ConnectionRefused   McpRoute research",
        "│           Healthy=False ConnectionRefused: nothing listens there",
        "└── McpRoute broken   ServerNotFound",
        "        ResolvedRefs=False ServerNotFound: McpServer team-a/one is not found",
        "",
        "McpServer lonely is on no proxy   Ready",
        "McpRoute adrift is attached to no proxy   ParentNotFound",
        "    Accepted=False ParentNotFound: McpProxy team-a/tools is not found; create it or mend parentRefs",
        "    Programmed=False ParentNotFound: no proxy serves the route",
        "    ResolvedRefs=Unknown ParentNotFound: the servers that it names are looked at when it has a proxy",
    ]


def test_a_wide_tree_has_every_condition_and_whole_messages() -> None:
    body = of("McpServer", "unhealthy", "docs", metadata=CORE)
    long = "x" * 300
    body["status"] = {**body["status"], "conditions": [{**c, "message": long} for c in body["status"]["conditions"]]}
    wide = list(trees(overview([WORLD[0], body]), plain, wide=True))
    told = [line.split("=")[0].split()[-1] for line in wide if line.endswith(long)]
    assert told == ["Accepted", "Healthy", "Programmed", "Ready", "ResolvedRefs"]
    narrow = [line for line in trees(overview([WORLD[0], body]), plain) if "xxx" in line]
    assert [len(line) < 200 and line.endswith("…") for line in narrow] == [True]


def test_a_proxy_without_a_server_says_so() -> None:
    assert "└── /mcp   no server" in list(trees(overview([WORLD[0]]), plain))


def test_colours_follow_the_state() -> None:
    lines = list(trees(overview(WORLD), marked))
    assert any("<green>Ready</>" in line for line in lines)
    assert any("<red>ConnectionRefused</>" in line for line in lines)
    table = list(tables(overview(WORLD), marked, NOW))
    assert any("<green>True </>" in line for line in table), "the padding is inside, so that columns stay in line"


def test_tables_read_as_kubectl_get_does() -> None:
    lines = list(tables(overview([*WORLD[1:3], WORLD[0]]), plain, NOW))
    assert lines == [
        "McpProxies",
        "NAME    READY   SERVERS   TOOLS   REVISION       REPLICAS   URL                                 AGE",
        f"tools   True    1         0       {WORLD[0]['status']['revision']}   1/1        http://tools-proxy.team-a.svc/mcp   5m",
        "",
        "McpServers",
        "NAME   READY   KIND        TOOLS   LATENCY   AGE",
        "docs   False   Remote      0                 5m",
        "time   True    Container   1                 5m",
        "",
    ]


def test_wide_tables_and_namespaces() -> None:
    lines = list(tables(overview(WORLD), plain, NOW, wide=True, namespaces=True))
    heads = [line.split() for line in lines if line.startswith("NAMESPACE")]
    assert all(head[:3] == ["NAMESPACE", "NAME", "READY"] and head[-2:] == ["REASON", "MESSAGE"] for head in heads)
    assert any("nothing listens there" in line for line in lines)


def test_only_the_namespace_is_shown() -> None:
    other = {**WORLD[1], "metadata": {**WORLD[1]["metadata"], "namespace": "team-b"}}
    found = overview([*WORLD, other], ["team-b"])
    assert [v.key.namespace for v in found.views] == ["team-b"]
    assert (list(found.trees), [v.key.name for v in found.unserved]) == ([], ["time"])
    assert found.all_ready


def test_messages_move_no_cursor() -> None:
    body = copy.deepcopy(of("McpServer", "unhealthy", "docs"))
    for condition in body["status"]["conditions"]:
        condition["message"] = "gone\x1b[2J\nand\x07 back"
    found = overview([body])
    for wide in (False, True):
        lines = [*trees(found, plain, wide=wide), *tables(found, plain, NOW, wide=wide)]
        assert any("gone\N{REPLACEMENT CHARACTER}[2J and\N{REPLACEMENT CHARACTER} back" in line for line in lines)
        assert all(line.isprintable() for line in lines)


def test_a_newer_spec_is_not_ready_yet() -> None:
    body = of("McpServer", "ready", "time")
    assert overview([body]).all_ready
    body["metadata"]["generation"] += 1
    assert not overview([body]).all_ready


def test_nothing_at_all() -> None:
    found = Overview()
    assert (list(tables(found, plain, NOW)), list(trees(found, plain)), found.all_ready) == ([], [], True)


def test_data_for_programs() -> None:
    data = as_data(overview(WORLD))
    assert data["ready"] is False
    (proxy,) = data["proxies"]
    assert proxy["paths"] == [
        {
            "path": "/mcp",
            "servers": [
                {"namespace": "team-a", "name": "docs", "prefix": "docs", "route": None, "state": "NotReady"},
                {"namespace": "team-a", "name": "time", "prefix": "time", "route": None, "state": "Ready"},
            ],
        },
        {
            "path": "/research/mcp",
            "servers": [
                {"namespace": "team-a", "name": "docs", "prefix": "d", "route": "team-a/research", "state": "NotReady"}
            ],
        },
    ]
    assert data["unserved"] == [{"namespace": "team-a", "name": "lonely"}]
    assert data["unattached"] == [{"namespace": "team-a", "name": "adrift"}]
    docs = next(r for r in data["resources"] if r["name"] == "docs")
    assert (docs["state"], docs["reason"]) == ("NotReady", "ConnectionRefused")
    assert {c["type"] for c in docs["conditions"]} >= {"Ready", "Healthy"}


def test_an_age_of_days() -> None:
    (line,) = [line for line in tables(overview([WORLD[1]]), plain, NOW + timedelta(days=9)) if "time" in line]
    assert line.endswith("9d")
