"""Digests of what stands behind a hosted server's environment and files.

nothing referred to: none · another value, key or object changes it · what is not referred to does not · other parts do not
missing counts as empty · equal content of another server has another digest
"""

from typing import Any

import pytest

from mcp_operator.api.resources import McpServer
from mcp_operator.compile.content import environment_digest, files_digest
from mcp_operator.compile.lookup import DataId, DataObject
from support import models, resources

Objects = dict[DataId, DataObject]

ENV = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}]}
ENV_FROM = {"envFrom": [{"secretRef": {"name": "s"}}]}
FILES = {"files": [{"path": "/etc/a/b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}]}


def server(name: str = "near", **fields: Any) -> McpServer:
    body = resources.container(name, "image:1")
    body["spec"]["container"].update(fields)
    return models.server(body)


def objects(**data: str) -> Objects:
    return dict([models.secret("s", **data)])


def test_nothing_referred_to_is_no_digest() -> None:
    literal = server(env=[{"name": "A", "value": "1"}])
    assert environment_digest(literal, objects(a="1")) is None
    assert files_digest(server(**ENV), objects(a="1")) is None
    assert environment_digest(server(**FILES), objects(a="1")) is None
    assert environment_digest(models.server(resources.remote("far", "https://x/mcp")), {}) is None


@pytest.mark.parametrize(
    ("fields", "one", "other", "same"),
    [
        (ENV, {"a": "1"}, {"a": "2"}, False),
        (ENV, {"a": "1"}, {"a": "1", "b": "2"}, True),
        (ENV, {"a": "1"}, {"b": "1"}, False),
        (ENV_FROM, {"a": "1"}, {"a": "2"}, False),
        (ENV_FROM, {"a": "1"}, {"a": "1", "b": "2"}, False),
        (ENV_FROM, {"a": "bc"}, {"ab": "c"}, False),
    ],
)
def test_environment(fields: dict[str, Any], one: dict[str, str], other: dict[str, str], same: bool) -> None:
    digests = {environment_digest(server(**fields), objects(**data)) for data in (one, other)}
    assert None not in digests
    assert (len(digests) == 1) == same


def test_versions_alone_are_no_change() -> None:
    relabelled = dict([models.secret("s", "8", a="1")])
    assert environment_digest(server(**ENV), relabelled) == environment_digest(server(**ENV), objects(a="1"))


def test_files() -> None:
    digests = {files_digest(server(**FILES), objects(a=value)) for value in ("1", "2", "1")}
    assert len(digests) == 2


def test_missing_is_empty() -> None:
    assert environment_digest(server(**ENV), {}) == environment_digest(server(**ENV), objects(b="1"))
    assert environment_digest(server(**ENV_FROM), {})
    assert files_digest(server(**FILES), {})


def test_equal_values_of_two_servers_do_not_show() -> None:
    assert environment_digest(server("one", **ENV), objects(a="1")) != environment_digest(
        server("two", **ENV), objects(a="1")
    )


def test_the_key_of_users_counts() -> None:
    user = models.server(resources.stdio("near", "uvx", isolation="user"))
    one, other = (dict([models.secret("near-server-identity", key=key)]) for key in ("a", "b"))
    assert environment_digest(user, one) != environment_digest(user, other)
