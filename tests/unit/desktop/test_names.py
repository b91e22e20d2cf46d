"""People's names for servers become names of resources."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.api.meta import NAME_MAX_LENGTH
from mcp_operator.api.scalars import NAME
from mcp_operator.desktop.names import resource_name, variable_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("time", "time"),
        ("My Server!", "my-server"),
        ("@scope/server-everything", "scope-server-everything"),
        ("memoryServer", "memoryserver"),
        ("GitHub", "github"),
        ("8ball", "mcp-8ball"),
        ("größe", "gr-e"),
        ("日本", "server"),
        ("a_b.c", "a-b-c"),
        ("", "server"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert resource_name(name) == expected


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert resource_name("My Server", {"my-server"}) == "my-server-2"
    assert resource_name("My Server", {"my-server", "my-server-2"}) == "my-server-3"


def test_a_long_name_is_cut_and_stays_distinct() -> None:
    one, other = resource_name("x" * 80 + "1"), resource_name("x" * 80 + "2")
    assert one != other
    assert len(one) == len(other) == NAME_MAX_LENGTH
    assert resource_name("x" * 80, {resource_name("x" * 80)}).endswith("-2")


@given(st.text(max_size=120), st.sets(st.text(max_size=5)))
def test_every_name_is_one_of_a_resource(name: str, taken: set[str]) -> None:
    found = resource_name(name, taken)
    assert re.fullmatch(NAME, found)
    assert len(found) <= NAME_MAX_LENGTH
    assert found not in taken
    assert resource_name(found) == found, "a name that is one already stays"


@given(st.text(max_size=60))
def test_every_name_of_a_variable_is_one(text: str) -> None:
    assert re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable_name(text))


def test_names_of_variables() -> None:
    assert variable_name("--api-key") == "API_KEY"
    assert variable_name("Authorization") == "AUTHORIZATION"
    assert variable_name("apiKey", {"API_KEY"}) == "API_KEY_2"
    assert variable_name("2fa") == "_2FA"
