"""Ids, categories, and what of several routes is shown."""

from typing import Any

import pytest

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.registry.listing import LONGEST_CATEGORY, Listing, Shown, category, listing
from mcp_operator_proxy.table import build_table


def config(*servers: dict[str, Any], routes: dict[str, dict[str, str]]) -> ProxyConfig:
    """`routes` maps a path to the prefixes of the servers by id."""
    return ProxyConfig.model_validate(
        {
            "revision": "r1",
            "servers": [{"url": "http://127.0.0.1:1/mcp", **server} for server in servers],
            "routes": [
                {
                    "name": f"McpRoute/ns{path}",
                    "path": path,
                    "servers": [{"server": server, "prefix": prefix} for server, prefix in entries.items()],
                }
                for path, entries in routes.items()
            ],
        }
    )


def shown(of: ProxyConfig, **tools: list[str | dict[str, Any]]) -> Shown:
    """`tools` by the server's id, with `_` for what no keyword can hold."""
    catalogues = {
        server.id: Catalogue(
            tuple(
                {"inputSchema": {"type": "object"}, **({"name": tool} if isinstance(tool, str) else tool)}
                for tool in tools.get(server.id.replace("/", "_").replace(".", "_"), [])
            )
        )
        for server in of.servers
    }
    return {path: table.tools for path, table in build_table(of, catalogues).items()}


def names(found: Listing) -> dict[str, tuple[str, str]]:
    return {tool_id: (tool.path, tool.document.name) for tool_id, tool in found.tools.items()}


def test_a_tool_of_several_routes_is_listed_once_as_the_first_shows_it() -> None:
    made = config({"id": "ns/git"}, routes={"/a": {"ns/git": "g"}, "/b": {"ns/git": "other"}})
    found = listing(made, shown(made, ns_git=["clone", "push"]))
    assert names(found) == {"git.clone": ("/a", "g_clone"), "git.push": ("/a", "g_push")}
    assert found.tools["git.clone"].server == "ns/git"
    assert found.tools["git.clone"].entry.name == "clone"


def test_servers_of_one_name_are_told_apart_by_their_namespaces() -> None:
    made = config(
        {"id": "a/git"}, {"id": "b/git"}, {"id": "b/x"}, routes={"/m": {"a/git": "a", "b/git": "b", "b/x": "x"}}
    )
    found = listing(made, shown(made, a_git=["t"], b_git=["t"], b_x=["t"]))
    assert list(found.tools) == ["a/git.t", "b/git.t", "x.t"]
    assert [tool.document.server for tool in found.tools.values()] == ["a/git", "b/git", "x"]


def test_no_tool_gets_the_id_of_another() -> None:
    made = config({"id": "ns/a"}, {"id": "ns/a.b"}, routes={"/m": {"ns/a": "p", "ns/a.b": "q"}})
    tools = shown(made, ns_a=["b.c"], ns_a_b=["c"])
    whole = listing(made, tools)
    assert names(whole) == {"a.b.c": ("/m", "p_b.c"), "a.b.c~": ("/m", "q_c")}
    part = {"/m": {name: entry for name, entry in tools["/m"].items() if entry.server == "ns/a.b"}}
    assert list(listing(made, part, whole).tools) == ["a.b.c~"]
    assert listing(made, part, whole).tools["a.b.c~"] is whole.tools["a.b.c~"]


def test_what_is_read_of_a_definition() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    made = config({"id": "ns/s"}, routes={"/m": {"ns/s": ""}})
    tools = shown(
        made,
        ns_s=[
            {"name": "one", "title": "One", "description": "first", "inputSchema": schema},
            {"name": "two", "annotations": {"title": "Two"}},
            {"name": "odd", "title": 7, "description": None, "annotations": "none"},
        ],
    )
    one, two, odd = (tool.document for tool in listing(made, tools).tools.values())
    assert (one.title, one.description, one.parameters) == ("One", "first", schema)
    assert (two.title, odd.title, odd.description) == ("Two", "", "")


@pytest.mark.parametrize(
    ("server", "meta", "expected"),
    [
        ({}, None, ""),
        ({}, {"category": "theirs"}, "theirs"),
        ({}, {"example.com/category": "theirs"}, "theirs"),
        ({}, {"category": "x" * (LONGEST_CATEGORY + 1)}, ""),
        ({}, {"category": ["no"], 7: 8}, ""),
        ({}, "nonsense", ""),
        ({"category": "mine"}, {"category": "theirs"}, "mine"),
        ({"category": "mine", "tools": [{"name": "t*", "category": "of the tool"}]}, None, "of the tool"),
        ({"category": "mine", "tools": [{"name": "t*", "category": ""}]}, {"category": "theirs"}, ""),
        ({"category": "mine", "tools": [{"name": "t*"}, {"name": "other", "category": "no"}]}, None, "mine"),
    ],
)
def test_categories(server: dict[str, Any], meta: Any, expected: str) -> None:
    made = config({"id": "ns/s", **server}, routes={"/m": {"ns/s": ""}})
    assert category(made.servers[0], "tool", {"name": "tool", "_meta": meta}) == expected
