"""The examples of docs/library.md, run one after the other."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator_proxy import ToolProxy
from mcp_operator_proxy.library.command import _parser
from mcp_operator_proxy.library.document import ServerSpec, known_fields
from mcp_operator_proxy.library.parse import parse
from unit.library.servers import clock

DOCS = Path(__file__).parents[3] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: str, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall((DOCS / page).read_text()) if language in languages]


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_the_examples_run() -> None:
    async with clock() as served:
        world: dict[str, Any] = {"URL": served.url, "__name__": "docs"}
        bodies = examples("library.md", "python")
        assert len(bodies) >= 6
        for number, body in enumerate(bodies):
            code = compile(body, f"library.md example {number + 1}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, world)
            if inspect.iscoroutine(running):
                await running
        assert isinstance(world["proxy"], ToolProxy)
        assert served.methods.count("tools/call") >= 3


def test_the_configs_of_the_command_are_right() -> None:
    bodies = examples("proxy-command.md", "json", "yaml")
    assert len(bodies) >= 4
    for body in bodies:
        parse(yaml.safe_load(body), {"TOKEN": "t", "DOCS_TOKEN": "d"})


def test_every_field_and_option_is_explained() -> None:
    text = (DOCS / "proxy-command.md").read_text()
    fields = {field for field in known_fields(ServerSpec) if field not in ("tools", "description")}
    assert [field for field in sorted(fields) if f"`{field}`" not in text] == []
    options = {option for action in _parser("x")._actions for option in action.option_strings} - {"-h", "--help"}
    assert [option for option in sorted(options) if option not in text] == []
