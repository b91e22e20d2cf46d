"""What a server refers to: found in the spec, decoded from the API's form, turned into a connection.

references: headers · CA bundle · environment of both hostings · nothing of literal values
decoded: Secret (base64, stringData) · ConfigMap (text, binary) · what is no base64
header values: literal, secret, one line end dropped
"""

import base64

import pytest

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
