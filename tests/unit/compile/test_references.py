"""What a server refers to: found in the spec, decoded from the API's form, turned into a connection.

references: headers · CA bundle · environment of both hostings · nothing of literal values
decoded: Secret (base64, stringData) · ConfigMap (text, binary) · what is no base64
header values: literal, secret, one line end dropped
"""

import base64
from typing import Any

import pytest

from mcp_operator.api.resources import McpServer
from mcp_operator.compile.references import decoded, references, resolve
from support import models, resources

TEAM = models.NAMESPACE


def _ref(kind: str, name: str, key: str = "k") -> dict[str, dict[str, str]]:
    return {f"{kind}KeyRef": {"name": name, "key": key}}


def test_every_reference_is_found() -> None:
    headers = [{"name": "A", "valueFrom": _ref("secret", "one")}, {"name": "B", "value": "plain"}]
    body = resources.remote("far", "https://x/mcp", headers=headers)
    body["spec"]["remote"]["tls"] = {"caBundle": _ref("configMap", "ca")}
    assert set(references(models.server(body))) == {("Secret", TEAM, "one"), ("ConfigMap", TEAM, "ca")}
    environment = [
        {"name": "A", "valueFrom": _ref("secret", "two")},
        {"name": "B", "valueFrom": _ref("configMap", "c")},
    ]
    for body in (resources.stdio("near", "uvx"), resources.container("near", "image")):
        hosting = "stdio" if "stdio" in body["spec"] else "container"
        body["spec"][hosting]["env"] = [*environment, {"name": "C", "value": "plain"}]
        assert set(references(models.server(body))) == {("Secret", TEAM, "two"), ("ConfigMap", TEAM, "c")}


def test_references_of_a_credential() -> None:
    endpoint = {
        "url": "https://a",
        "clientId": "x",
        "clientSecret": _ref("secret", "client"),
        "caBundle": _ref("configMap", "ca"),
    }
    body = resources.remote("far", "https://x/mcp")
    body["spec"]["credential"] = {"clientCredentials": {"endpoint": endpoint}}
    server = models.server(body)
    assert set(references(server)) == {("Secret", TEAM, "client"), ("ConfigMap", TEAM, "ca")}
    assert [problem.message.split(":")[0] for problem in resolve(server, {}).problems] == [
        f"spec.credential.clientCredentials.endpoint.{name}" for name in ("clientSecret", "caBundle")
    ]


def _hosted(**fields: Any) -> McpServer:
    body = resources.container("near", "image", imagePullSecrets=fields.pop("pull", []))
    body["spec"]["container"].update(fields)
    return models.server(body)


def test_references_of_whole_objects_files_and_pull_secrets() -> None:
    server = _hosted(
        envFrom=[{"secretRef": {"name": "one"}}, {"configMapRef": {"name": "two"}}],
        files=[
            {"path": "/a/b", "valueFrom": _ref("secret", "three")},
            {"path": "/a/c", "valueFrom": _ref("configMap", "four")},
        ],
        pull=[{"name": "five"}],
    )
    found = {("Secret", "one"), ("ConfigMap", "two"), ("Secret", "three"), ("ConfigMap", "four"), ("Secret", "five")}
    assert {(kind, name) for kind, _, name in references(server)} == found
    user = models.server(resources.stdio("near", "uvx", isolation="user"))
    assert set(references(user)) == {("Secret", TEAM, "near-server-identity")}


@pytest.mark.parametrize(
    ("fields", "problems", "pulling"),
    [
        ({"envFrom": [{"secretRef": {"name": "s"}}]}, [], []),
        ({"envFrom": [{"secretRef": {"name": "gone"}}]}, ["Secret team-a/gone is not found"], []),
        ({"envFrom": [{"secretRef": {"name": "gone", "optional": True}}]}, [], []),
        ({"envFrom": [{"configMapRef": {"name": "s"}}]}, ["ConfigMap team-a/s is not found"], []),
        ({"files": [{"path": "/a/b", "valueFrom": _ref("secret", "s", "a")}]}, [], []),
        ({"files": [{"path": "/a/b", "valueFrom": _ref("secret", "s", "b")}]}, ["Secret team-a/s has no key b"], []),
        ({"pull": [{"name": "login"}]}, [], []),
        ({"pull": [{"name": "gone"}]}, [], ["Secret team-a/gone of imagePullSecrets is not found"]),
        ({"pull": [{"name": "s"}]}, [], ["Secret team-a/s of imagePullSecrets has no key .dockerconfigjson"]),
    ],
)
def test_what_a_hosted_server_misses(fields: dict[str, Any], problems: list[str], pulling: list[str]) -> None:
    objects = dict([models.secret("s", a="x"), models.secret("login", **{".dockerconfigjson": "{}"})])
    resolved = resolve(_hosted(**fields), objects)
    for found, expected in ((resolved.problems, problems), (resolved.pulling, pulling)):
        assert [problem.message.startswith(start) for problem, start in zip(found, expected, strict=True)] == [
            True for _ in expected
        ]


def test_the_key_of_a_server_with_users() -> None:
    server = models.server(resources.stdio("near", "uvx", isolation="user"))
    assert resolve(server, {}).identity is None
    resolved = resolve(server, dict([models.secret("near-server-identity", "9", key="k" * 32)]))
    assert resolved.identity
    assert resolved.secrets == {resolved.identity.file: b"k" * 32}
    assert resolved.identity.file.endswith(".9")
    assert resolved.problems == ()


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("Secret", {"data": {"a": base64.b64encode(b"\xff\0").decode()}}, {"a": b"\xff\0"}),
        ("Secret", {"data": {"a": "b25l"}, "stringData": {"a": "two"}}, {"a": b"two"}),
        ("Secret", {"data": {"a": "not base64!"}}, {"a": b""}),
        ("Secret", {"data": None}, {}),
        ("ConfigMap", {"data": {"a": "ü"}, "binaryData": {"b": "b25l"}}, {"a": "ü".encode(), "b": b"one"}),
        ("ConfigMap", {}, {}),
    ],
)
def test_decoded(kind: str, body: dict[str, object], expected: dict[str, bytes]) -> None:
    assert decoded("Secret" if kind == "Secret" else "ConfigMap", body) == expected


def test_header_values() -> None:
    headers = [{"name": "A", "valueFrom": _ref("secret", "s", "header")}, {"name": "B", "value": "plain"}]
    server = models.server(resources.remote("far", "https://x/mcp", headers=headers))
    resolved = resolve(server, dict([models.secret("s", header="Bearer t\n")]))
    assert resolved.header_values() == {"A": "Bearer t", "B": "plain"}
    assert "Bearer t" not in repr(resolved)
