"""One file to manifests: what is taken, what is refused and with which words at which line, what is ignored."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp_operator.api.resources import McpServer
from mcp_operator.engine.keys import Key
from mcp_operator.local.manifests import MAX_BYTES, FileContent, Severity, read_manifests
from support.manifests import EXAMPLES, documents, example_files

HEAD = "apiVersion: mcp-operator.dev/v1alpha1\nkind: McpServer\n"
GOOD = HEAD + "metadata: {name: time}\nspec: {stdio: {command: uvx, args: [mcp-server-time]}}\n"
TIME = Key("McpServer", "default", "time")


def read(text: str, path: str = "a.yaml") -> FileContent:
    return read_manifests(path, text.encode())


@dataclass(frozen=True)
class Refused:
    """`key` is the object that is known to be meant; None where that can't be told."""

    text: str
    line: int
    says: str
    key: Key | None = None


SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
S, C = Key("Secret", "default", "s"), Key("ConfigMap", "default", "c")
NAMED = HEAD + "metadata: {name: time}\n"

REFUSED = {
    "not YAML": Refused("a: [\n", 2, "not YAML"),
    "no object": Refused("- a\n- b\n", 1, "no Kubernetes object"),
    "a string": Refused("hello\n", 1, "no Kubernetes object"),
    "no kind": Refused("# x\napiVersion: v1\nmetadata: {name: x}\n", 2, "kind is missing"),
    "no apiVersion": Refused("kind: McpServer\nmetadata: {name: x}\n", 1, "apiVersion is missing"),
    "kind that is no string": Refused("apiVersion: v1\nkind: [a]\n", 2, "kind must be a string"),
    "misspelt kind": Refused(
        GOOD.replace("McpServer", "McpSever"),
        2,
        "there is no kind McpSever in mcp-operator.dev/v1alpha1; did you mean McpServer?",
    ),
    "unknown kind of ours": Refused(GOOD.replace("McpServer", "Gateway"), 2, "has McpServer, McpProxy, McpRoute"),
    "kind of another group": Refused(
        GOOD.replace("mcp-operator.dev/", "example.com/"), 2, "use apiVersion: mcp-operator.dev/v1alpha1"
    ),
    "unknown version": Refused(
        GOOD.replace("v1alpha1", "v9"), 1, "mcp-operator.dev/v9 is not known; use mcp-operator.dev/v1alpha1"
    ),
    "no metadata": Refused(HEAD + "spec: {}\n", 1, "metadata.name is missing"),
    "no name": Refused(HEAD + "metadata:\n  labels: {a: b}\n", 3, "metadata.name is missing"),
    "name that is a number": Refused(HEAD + "metadata:\n  name: 7\n", 4, "metadata.name must be a string"),
    "namespace that is a number": Refused(
        HEAD + "metadata:\n  name: time\n  namespace: 7\n", 5, "metadata.namespace must be a DNS label"
    ),
    "namespace that leads elsewhere": Refused(
        HEAD + "metadata:\n  name: time\n  namespace: ../../x\n", 5, "must be a DNS label"
    ),
    "name of a route that is none": Refused(
        GOOD.replace("McpServer", "McpRoute").replace("name: time", "name: a/b"), 3, "metadata.name may hold"
    ),
    "unknown field": Refused(NAMED + "spec:\n  stdio:\n    command: uvx\n    argz: [x]\n", 7, "spec.stdio.argz", TIME),
    "missing field": Refused(NAMED + "spec:\n  stdio:\n    args: [x]\n", 5, "spec.stdio.command", TIME),
    "two kinds of server": Refused(
        NAMED + "spec:\n  stdio: {command: a}\n  remote: {url: http://x}\n", 4, "exactly one of", TIME
    ),
    "name that is no label": Refused(
        GOOD.replace("name: time", "name: Time_1"), 1, "DNS label", Key("McpServer", "default", "Time_1")
    ),
    "label that is no string": Refused(
        GOOD.replace("name: time", "name: time, labels: {a: 1}"), 3, "metadata.labels.a", TIME
    ),
    "Secret that is not base64": Refused(
        SECRET + "data:\n  ok: eA==\n  token: hunter2!\n",
        6,
        "data.token: is not base64; plain text goes into stringData",
        S,
    ),
    "Secret with a number": Refused(SECRET + "stringData: {pin: 1234}\n", 4, "must be a string; quote it", S),
    "ConfigMap with a list": Refused(CONFIG + "data: [a]\n", 4, "must be a mapping", C),
    "ConfigMap with stringData": Refused(CONFIG + "stringData: {a: b}\n", 4, "a ConfigMap has data", C),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refuses_with_place_and_reason(case: Refused) -> None:
    content = read(case.text)
    (found,) = content.diagnostics
    assert case.says in found.message
    assert (found.path, found.line, found.severity) == ("a.yaml", case.line, Severity.ERROR)
    assert "hunter2" not in str(found)
    assert set(content.invalid) == ({case.key} if case.key else set())
    assert content.unclear is (case.key is None)


IGNORED = {
    "another kind": ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n", "a.yaml", "Deployment web is not used here"),
    "a Kustomization": ("kind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\n", "a.yaml", "Kustomization is not used here"),
    "a kustomization file": ("resources: [time.yaml]\n", "x/kustomization.yaml", "Kustomization is not used here"),
    "an empty file": ("# nothing\n", "a.yaml", "there is nothing in it"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "path", "says"), IGNORED.values(), ids=IGNORED)
def test_ignores_with_a_note(text: str, path: str, says: str) -> None:
    content = read(text, path)
    (found,) = content.diagnostics
    assert found.severity is Severity.NOTE
    assert says in found.message
    assert not content.unclear
    assert not content.manifests


def test_one_bad_document_does_not_spoil_the_others() -> None:
    content = read(GOOD + "---\n" + GOOD.replace("name: time", "name: other").replace("command", "comand"))
    assert [manifest.key for manifest in content.manifests] == [TIME]
    assert set(content.invalid) == {Key("McpServer", "default", "other")}


def test_a_file_that_is_too_large_or_no_text() -> None:
    (large,) = read_manifests("a.yaml", b"#" * (MAX_BYTES + 1)).diagnostics
    assert "larger than 4 MiB" in large.message
    (binary,) = read_manifests("a.yaml", b"a: \xff\xfe").diagnostics
    assert "not UTF-8 text (byte 3)" in binary.message


def test_namespaces_and_data() -> None:
    text = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: other}\n"
        "data: {a: eA==, b: eQ==}\nstringData: {b: z}\n---\n" + GOOD
    )
    secret, server = read_manifests("a.yaml", text.encode(), "team").manifests
    assert secret.key == Key("Secret", "other", "s")
    assert secret.data == {"a": b"x", "b": b"z"}
    assert server.key == Key("McpServer", "team", "time")
    assert isinstance(server.resource, McpServer)
    assert server.resource.metadata.namespace == "team"


def test_labels_of_a_namespace() -> None:
    content = read("apiVersion: v1\nkind: Namespace\nmetadata: {name: platform, labels: {trust: high}}\n")
    (manifest,) = content.manifests
    assert (manifest.key, manifest.labels) == (Key("Namespace", "", "platform"), {"trust": "high"})
    assert content.diagnostics == ()
    wrong = read("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: platform\n  labels: {trust: true}\n")
    assert [d.line for d in wrong.diagnostics] == [5]
    assert (
        wrong.diagnostics[0].message == "Namespace platform: metadata.labels must be a mapping of strings; quote them"
    )


def test_a_list_as_kubectl_prints_it() -> None:
    item = {"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": "time"}}
    body = '{"apiVersion":"v1","kind":"List","items":[%s]}'
    sound = json.dumps(item | {"spec": {"remote": {"url": "http://x.example.com/mcp"}}})
    content = read(body % f"{sound},{json.dumps(item | {'spec': {}})}", "a.json")
    assert [manifest.key for manifest in content.manifests] == [TIME]
    assert len(content.diagnostics) == 1


@pytest.mark.parametrize("path", example_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_is_read_without_a_word(path: Path) -> None:
    """But for what only a cluster runs, as a collector of traces: that is said to be ignored."""
    assert EXAMPLES in path.parents
    others = [body for body in documents(path) if body["kind"] in {"Deployment", "Service"}]
    assert [(found.severity, found.message) for found in read_manifests(str(path), path.read_bytes()).diagnostics] == [
        (Severity.NOTE, f"{body['kind']} {body['metadata']['name']} is not used here: ignored") for body in others
    ]
