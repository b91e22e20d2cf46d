"""What the models say to manifests: the same table that the API server is asked (tests/cluster)."""

from pathlib import Path

import pytest

from mcp_operator.api.resources import InvalidResource, parse
from support.manifests import ACCEPTED, REFUSED, Accepted, Refused, example_files, resources


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_refuses_and_says_where_and_why(case: Refused) -> None:
    with pytest.raises(InvalidResource) as refusal:
        parse(case.body, strict=True)
    text = str(refusal.value)
    assert case.says in text
    assert case.field_in_python in text
    assert "hunter2" not in text


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_accepts(case: Accepted) -> None:
    assert parse(case.body, strict=True).metadata.name == case.body["metadata"]["name"]


@pytest.mark.parametrize("path", example_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_is_valid(path: Path) -> None:
    for body in resources(path):
        parse(body, strict=True)


def test_the_examples_show_every_kind() -> None:
    assert {body["kind"] for path in example_files() for body in resources(path)} == {
        "McpServer",
        "McpProxy",
        "McpRoute",
    }
