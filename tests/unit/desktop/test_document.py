"""The file of a client: where its servers stand, comments, what is no such file."""

import json

import pytest

from mcp_operator.desktop.document import NotReadable, read

TIME = {"time": {"command": "uvx"}}


@pytest.mark.parametrize(
    "data",
    [
        {"mcpServers": TIME, "theme": "dark"},
        {"servers": TIME, "inputs": []},
        {"mcp": {"servers": TIME}, "editor.fontSize": 12},
        {"context_servers": TIME},
    ],
)
def test_where_servers_stand(data: object) -> None:
    assert read(json.dumps(data).encode()) == TIME


def test_comments_and_commas_too_many() -> None:
    text = """\ufeff{
      // the servers
      "mcpServers": {
        "time": {"command": "uvx", "args": ["http://x", "/* no comment */", "a,]",],}, /* the
        last */
      },
    }"""
    assert read(text.encode()) == {"time": {"command": "uvx", "args": ["http://x", "/* no comment */", "a,]"]}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff", "not UTF-8 text (byte 0)"),
        (b"", "not JSON: Expecting value (line 1)"),
        (b"// a\n/* b\n*/ {\n,", "(line 4)"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "not an object"),
        (b"{}", "holds no mcpServers"),
        (b'{"mcpServers": []}', "mcpServers is not an object"),
        (b'{"command": "uvx"}', "holds one server alone"),
    ],
)
def test_what_is_no_such_file(content: bytes, says: str) -> None:
    with pytest.raises(NotReadable) as caught:
        read(content)
    assert says in str(caught.value)


def test_no_value_stands_in_an_error() -> None:
    with pytest.raises(NotReadable) as caught:
        read(b'{"mcpServers": {"a": {"env": {"TOKEN": "hunter2"')
    assert "hunter2" not in str(caught.value)
