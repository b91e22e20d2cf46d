"""A change as a diff: what differs by itself, Secrets, JSON inside ConfigMaps."""

import base64
import gzip
import json
from typing import Any

from mcp_operator.cli.yamls import dumped
from mcp_operator.planning.diff import lines, shown, title
from mcp_operator.planning.dryrun import Change

Body = dict[str, Any]


def body(kind: str = "ConfigMap", *, metadata: Body | None = None, **rest: Any) -> Body:
    head = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "n", **(metadata or {})}}
    return head | rest


def diff(before: Body | None, after: Body | None) -> list[str]:
    return lines(Change(before, after), dumped)


def test_the_title_is_that_of_kubectl_diff() -> None:
    assert title(Change(None, body())) == "v1.ConfigMap.n.a"
    deployment = {**body("Deployment"), "apiVersion": "apps/v1"}
    assert title(Change(deployment, None)) == "apps.v1.Deployment.n.a"


def test_a_new_object_a_changed_one_and_one_that_goes() -> None:
    one, other = body(data={"a": "1"}), body(data={"a": "2"})
    assert diff(None, one)[:3] == [
        "diff live/v1.ConfigMap.n.a planned/v1.ConfigMap.n.a",
        "--- /dev/null",
        "+++ planned/v1.ConfigMap.n.a",
    ]
    assert [line for line in diff(one, other) if line[0] in "+-"][2:] == ["-  a: '1'", "+  a: '2'"]
    assert diff(one, None)[2] == "+++ /dev/null"
    assert all(line[0] == "-" for line in diff(one, None)[4:])


def test_what_differs_by_itself_is_no_difference() -> None:
    owner = {"kind": "McpProxy", "name": "p"}
    before = body(
        metadata={
            "uid": "1",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": "x",
            "managedFields": [1],
            "annotations": {
                "mcp-operator.dev/applied-hash": "1",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
            "ownerReferences": [{**owner, "uid": "1"}],
        },
        status={"a": 1},
        data={"b": "1", "a": "2"},
    )
    after = body(metadata={"uid": "2", "ownerReferences": [{**owner, "uid": "2"}]}, data={"a": "2", "b": "1"})
    assert diff(before, after) == []


def test_values_of_secrets_are_never_shown() -> None:
    before = body("Secret", data={"same": "aHVudGVyMg==", "new": "b2xk", "gone": "Z29uZQ=="})
    after = body("Secret", data={"same": "aHVudGVyMg==", "new": "bmV3", "more": "bW9yZQ=="})
    text = diff(before, after)
    assert [line for line in text if line[0] in "+-"][2:] == [
        "-  gone: '***'",
        "-  new: '*** (before)'",
        "+  more: '***'",
        "+  new: '*** (after)'",
    ]
    for both in (diff(before, after), diff(None, after), diff(before, None)):
        assert not any(value in "\n".join(both) for value in ("aHVudGVyMg", "b2xk", "bmV3", "Z29uZQ", "bW9yZQ"))


def test_an_annotation_may_hold_a_secret_too() -> None:
    noted = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": '{"data": "hunter2"}'}}
    assert "hunter2" not in "\n".join(diff(None, body("Secret", metadata=noted, data={"a": "eA=="})))


def test_json_in_a_config_map_is_shown_in_lines() -> None:
    config = {"servers": [{"id": "a"}]}
    text = "\n".join(diff(None, body(data={"config.json": json.dumps(config), "plain": "a b"})))
    assert '+          "id": "a"' in text
    zipped = base64.b64encode(gzip.compress(json.dumps(config).encode())).decode()
    assert '"id": "a"' in "\n".join(diff(None, body(binaryData={"config.json.gz": zipped})))
    huge = base64.b64encode(gzip.compress(bytes(2**24 + 1))).decode()
    assert (shown(body(binaryData={"config.json.gz": huge})) or {})["binaryData"] == {"config.json.gz": huge}
    broken = body(binaryData={"config.json.gz": "AAAA", "other.gz": "!"})
    assert (shown(broken) or {})["binaryData"] == {"config.json.gz": "AAAA", "other.gz": "!"}
