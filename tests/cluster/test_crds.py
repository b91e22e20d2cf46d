"""What kubectl shows of the three kinds: columns, short names, category, explanations, status."""

import pytest

from mcp_operator.api import meta
from mcp_operator.api.resources import parse
from support.manifests import Body

from .conftest import Kubectl

NOW = "2026-03-01T12:00:00Z"
READY = {
    "type": "Ready",
    "status": "False",
    "reason": "Unreachable",
    "message": "connection refused",
    "observedGeneration": 1,
    "lastTransitionTime": NOW,
}
CANARY = {**READY, "type": "CanaryPassing", "reason": "NotServed"}
SERVER_STATUS = {
    "observedGeneration": 1,
    "conditions": [READY, CANARY],
    "hosting": "Stdio",
    "url": "http://time-server.default.svc:8080/mcp",
    "serverInfo": {"name": "mcp-time", "version": "1.0"},
    "protocolVersion": "2025-11-25",
    "tools": {"count": 2, "names": ["convert_time", "get_current_time"], "digest": "sha256:00"},
    "probe": {"time": NOW, "latencyMilliseconds": 3.5, "latency": "4ms"},
    "restarts": 2,
}
PROXY_STATUS = {
    "conditions": [READY],
    "url": "http://tools.default.svc/mcp",
    "serverCount": 3,
    "toolCount": 17,
    "revision": "0a1b2c3d4e5f",
    "replicas": 2,
    "replicaSummary": "1/2",
}
ROUTE_STATUS = {"conditions": [READY], "proxies": "tools", "path": "/research/mcp", "serverCount": 2}


def body(kind: meta.Kind, spec: Body) -> Body:
    return {"apiVersion": meta.API_VERSION, "kind": kind.kind, "metadata": {"name": "one"}, "spec": spec}


OBJECTS = {
    meta.SERVER: (body(meta.SERVER, {"stdio": {"command": "uvx"}}), SERVER_STATUS),
    meta.PROXY: (body(meta.PROXY, {"replicas": 2}), PROXY_STATUS),
    meta.ROUTE: (body(meta.ROUTE, {"parentRefs": [{"name": "tools"}], "servers": [{"name": "docs"}]}), ROUTE_STATUS),
}
COLUMNS = {
    meta.SERVER: {"NAME": "one", "READY": "False", "KIND": "Stdio", "TOOLS": "2", "LATENCY": "4ms"},
    meta.PROXY: {
        "NAME": "one",
        "READY": "False",
        "SERVERS": "3",
        "TOOLS": "17",
        "REVISION": "0a1b2c3d4e5f",
        "REPLICAS": "1/2",
        "URL": "http://tools.default.svc/mcp",
    },
    meta.ROUTE: {"NAME": "one", "READY": "False", "PROXY": "tools", "PATH": "/research/mcp", "SERVERS": "2"},
}


CATALOGUE = {
    "CANARY": "False",
    "RESTARTS": "2",
    "DIGEST": "sha256:00",
    "NAMES": '["convert_time","get_current_time"]',
}


@pytest.fixture(scope="module")
def fresh(kubectl: Kubectl) -> dict[meta.Kind, Body]:
    """One object of each kind as the server first stored it, before its status was written."""
    return {kind: kubectl.json("create", "-f", "-", body=spec) for kind, (spec, _) in OBJECTS.items()}


@pytest.fixture(scope="module")
def written(kubectl: Kubectl, fresh: dict[meta.Kind, Body]) -> dict[meta.Kind, Body]:
    """The same after the operator's way of writing a status: server-side apply on the subresource."""
    return {
        kind: kubectl.json(
            *(
                "apply",
                "--server-side",
                "--subresource=status",
                f"--field-manager={meta.STATUS_FIELD_MANAGER}",
                "-f",
                "-",
            ),
            body={**{key: spec[key] for key in ("apiVersion", "kind", "metadata")}, "status": status},
        )
        for kind, (spec, status) in OBJECTS.items()
    }


def rows(table: str) -> tuple[list[str], list[str]]:
    """Head and only row of kubectl's table: columns stand apart by two or more spaces."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]
    assert len(lines) == 2
    return lines[0], lines[1]


@pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)
def test_get_shows_the_columns(kubectl: Kubectl, written: dict[meta.Kind, Body], kind: meta.Kind) -> None:
    head, row = rows(kubectl("get", kind.short_name))
    assert head == [*COLUMNS[kind], "AGE"]
    assert dict(zip(head, row, strict=True)).items() >= COLUMNS[kind].items()


@pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)
def test_wide_adds_reason_and_message_and_of_a_server_its_catalogue(
    kubectl: Kubectl, written: dict[meta.Kind, Body], kind: meta.Kind
) -> None:
    more = {"REASON": "Unreachable", "MESSAGE": "connection refused"} | (CATALOGUE if kind == meta.SERVER else {})
    head, row = rows(kubectl("get", kind.short_name, "-o", "wide"))
    assert head == [*COLUMNS[kind], "AGE", *more]
    assert dict(zip(head, row, strict=True)).items() >= more.items()


def test_the_category_lists_all_kinds(kubectl: Kubectl, written: dict[meta.Kind, Body]) -> None:
    names = kubectl("get", meta.CATEGORY, "-o", "name").split()
    assert sorted(names) == sorted(f"{kind.kind.lower()}.{meta.GROUP}/one" for kind in meta.KINDS)


@pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)
def test_status_is_written_apart_and_read_by_the_models(written: dict[meta.Kind, Body], kind: meta.Kind) -> None:
    _, status = OBJECTS[kind]
    assert written[kind]["status"] == status
    assert written[kind]["metadata"]["generation"] == 1
    read = parse(written[kind], strict=True)
    assert read.status.conditions[0].reason == "Unreachable"
    assert read.status.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True) == status


@pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)
def test_ready_is_unknown_from_first_sight(fresh: dict[meta.Kind, Body], kind: meta.Kind) -> None:
    """kstatus (Flux, Argo CD, `kubectl wait`) takes a resource without conditions for finished."""
    [condition] = fresh[kind]["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "Unknown")


def test_a_spec_write_leaves_the_status_alone(kubectl: Kubectl, written: dict[meta.Kind, Body]) -> None:
    patch = '{"spec": {"timeouts": {"call": "1m"}}, "status": {"url": "http://elsewhere"}}'
    changed = kubectl.json("patch", "mcps", "one", "--type=merge", "-p", patch)
    assert changed["status"]["url"] == SERVER_STATUS["url"]
    assert changed["metadata"]["generation"] == 2


REMOTE = {"remote": {"url": "http://far.example.com"}}
EMPTIED = {
    "arguments": (meta.SERVER, REMOTE | {"canary": {"tool": "a", "arguments": {"a": 1}}}, {"canary": {"tool": "a", "arguments": {}}}),
    "expect": (meta.SERVER, REMOTE | {"canary": {"tool": "a", "expect": {"contains": "x"}}}, {"canary": {"tool": "a", "expect": {}}}),
    "health": (meta.SERVER, REMOTE | {"health": {"interval": "1m"}}, {"health": {}}),
    "pod template": (meta.PROXY, {"podTemplate": {"metadata": {"labels": {"a": "b"}}}}, {"podTemplate": {"metadata": {}}}),
    "servers": (meta.PROXY, {"servers": {"selector": {"matchLabels": {"a": "b"}}}}, {"servers": {}}),
    "autoscaling": (meta.PROXY, {"autoscaling": {"maxReplicas": 4}}, {"autoscaling": {}}),
    "resources": (meta.PROXY, {"resources": {"requests": {"cpu": "1"}}}, {"resources": {"requests": {}}}),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "after"), EMPTIED.values(), ids=EMPTIED)
def test_what_becomes_empty_may_be_applied(kubectl: Kubectl, kind: meta.Kind, before: Body, after: Body) -> None:
    """By server-side apply, as GitOps tools do it: an object whose last field goes is not refused as null."""
    for spec in (before, {**before, **after}):
        applied = body(kind, spec) | {"metadata": {"name": "emptied"}}
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", body=applied)
    kubectl("delete", kind.plural, "emptied")


def test_a_proxy_scales(kubectl: Kubectl, written: dict[meta.Kind, Body]) -> None:
    kubectl("scale", "mcpp/one", "--replicas=3")
    assert kubectl.json("get", "mcpp", "one")["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("mcpserver", "One MCP server: remote, or hosted in a pod of the cluster."),
        ("mcpserver.spec.remote", "URL of its MCP endpoint, http or https."),
        ("mcpserver.spec.stdio.command", "Program to run, looked up in PATH"),
        ("mcpproxy.spec", "How tools and prompts are named."),
        ("mcproute.spec.servers.prefix", "What stands before tool names"),
        ("mcproute.spec.servers.selector", "Labels of the McpServers; `{}` takes all."),
        ("mcproute.status", "What is true of the resource."),
    ],
)
def test_explain_reads_well(kubectl: Kubectl, path: str, says: str) -> None:
    text = " ".join(kubectl.eventually("explain", path).split())
    assert says in text
    assert "<no description>" not in text


@pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)
def test_the_server_has_no_complaint_about_the_schema(kubectl: Kubectl, kind: meta.Kind) -> None:
    """`NonStructuralSchema` is how a server tells; rules that cost too much it refuses at once."""
    conditions = kubectl.json("get", "crd", kind.crd_name)["status"]["conditions"]
    found = {condition["type"]: condition["status"] for condition in conditions}
    assert found == {"NamesAccepted": "True", "Established": "True"}
