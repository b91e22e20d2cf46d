import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import Route, shortened
from mcp_operator_proxy.table import Changes, build_route, changes, join_uri, split_uri


def tool(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def route(*servers: dict[str, object], **more: object) -> Route:
    return Route.model_validate({"name": "McpRoute/ns/r", "path": "/mcp", "servers": list(servers), **more})


TIME = Catalogue(tools=(tool("now"), tool("zone")), prompts=({"name": "ask"},))
DOCS = Catalogue(
    tools=(tool("search"), tool("search_raw"), tool("read", description="old", _meta={"k": 1})),
    resources=({"uri": "file:///a.txt", "name": "a"},),
    resource_templates=({"uriTemplate": "docs://page/{id}", "name": "page"},),
)


@pytest.mark.parametrize(
    ("servers", "naming", "names"),
    [
        ([{"server": "ns/time", "prefix": "time"}], "{prefix}_{tool}", ["time_now", "time_zone"]),
        ([{"server": "ns/time", "prefix": ""}], "{prefix}_{tool}", ["now", "zone"]),
        ([{"server": "ns/time", "prefix": "t"}], "{namespace}.{server}.{tool}", ["ns.time.now", "ns.time.zone"]),
        (
            [{"server": "ns/docs", "prefix": "d", "tools": {"include": ["search*"]}}],
            "{prefix}_{tool}",
            ["d_search", "d_search_raw"],
        ),
        (
            [{"server": "ns/docs", "prefix": "d", "tools": {"include": ["search*", "read"], "exclude": ["*_raw"]}}],
            "{prefix}_{tool}",
            ["d_search", "d_read"],
        ),
        ([{"server": "ns/docs", "prefix": "d", "tools": {"include": []}}], "{prefix}_{tool}", []),
        (
            [{"server": "ns/docs", "prefix": "d", "tools": {"overrides": [{"name": "read", "rename": "fetch"}]}}],
            "{prefix}_{tool}",
            ["d_search", "d_search_raw", "d_fetch"],
        ),
        (
            [{"server": "ns/time", "prefix": "t"}, {"server": "ns/new", "prefix": "n"}],
            "{prefix}_{tool}",
            ["t_now", "t_zone"],
        ),
    ],
)
def test_names(servers: list[dict[str, object]], naming: str, names: list[str]) -> None:
    table = build_route(route(*servers, naming=naming), {"ns/time": TIME, "ns/docs": DOCS})
    assert list(table.tools) == names


def test_a_definition_is_shown_as_it_came_but_for_name_and_description() -> None:
    overrides = [{"name": "read", "rename": "fetch", "description": "new"}]
    table = build_route(
        route({"server": "ns/docs", "prefix": "d", "tools": {"overrides": overrides}}), {"ns/docs": DOCS}
    )
    entry = table.tools["d_fetch"]
    assert entry.definition == tool("d_fetch", description="new", _meta={"k": 1})
    assert (entry.server, entry.name) == ("ns/docs", "read")
    assert table.schema_of("d_fetch") == {"type": "object"}
    assert table.schema_of("read") is None


def test_the_earlier_server_has_a_name_that_two_claim() -> None:
    other = Catalogue(tools=(tool("now", title="other"), tool("more")))
    servers = [{"server": "ns/time", "prefix": ""}, {"server": "ns/other", "prefix": ""}]
    table = build_route(route(*servers), {"ns/time": TIME, "ns/other": other})
    assert list(table.tools) == ["now", "zone", "more"]
    assert table.tools["now"].server == "ns/time"
    (conflict,) = table.conflicts
    assert (conflict.kind, conflict.name, conflict.winner, conflict.loser) == ("tool", "now", "ns/time", "ns/other")


def test_a_tool_renamed_onto_another_of_its_server_is_a_conflict() -> None:
    overrides = [{"name": "zone", "rename": "now"}]
    table = build_route(
        route({"server": "ns/time", "prefix": "", "tools": {"overrides": overrides}}), {"ns/time": TIME}
    )
    assert [e.name for e in table.tools.values()] == ["now"]
    assert table.conflicts[0].loser == "ns/time"


@pytest.mark.parametrize(
    "uri", ["file:///etc/hosts", "data://one", "http://h/p?q=1#f", "weird+x://a//b/", "x://"], ids=str
)
def test_a_uri_finds_its_way_back(uri: str) -> None:
    exposed = join_uri("docs", uri)
    assert exposed != uri
    assert split_uri(exposed) == ("docs", uri)
    assert join_uri("", uri) == uri


def test_a_uri_without_an_authority_stays_as_it_is() -> None:
    assert join_uri("docs", "urn:isbn:1") == "urn:isbn:1"
    assert split_uri("urn:isbn:1") is None


@pytest.mark.parametrize(
    ("prefixes", "uri", "found"),
    [
        (("d", "t"), "file://d//a.txt", ("ns/docs", "file:///a.txt")),
        (("d", "t"), "docs://d/page/7", ("ns/docs", "docs://page/7")),
        (("d", "t"), "any://t/thing", ("ns/time", "any://thing")),
        (("d", "t"), "file:///a.txt", None),
        (("d", "t"), "docs://x/page/7", None),
        (("", "t"), "file:///a.txt", ("ns/docs", "file:///a.txt")),
        (("", "t"), "unlisted://x", ("ns/docs", "unlisted://x")),
        (("", ""), "docs://page/7", ("ns/docs", "docs://page/7")),
        (("", ""), "unlisted://x", None),
    ],
)
def test_which_server_has_a_resource(prefixes: tuple[str, str], uri: str, found: tuple[str, str] | None) -> None:
    servers = [{"server": "ns/docs", "prefix": prefixes[0]}, {"server": "ns/time", "prefix": prefixes[1]}]
    table = build_route(route(*servers), {"ns/time": TIME, "ns/docs": DOCS})
    assert table.resource(uri) == found


def test_templates_and_prompts_carry_the_prefix() -> None:
    table = build_route(
        route({"server": "ns/docs", "prefix": "d"}, {"server": "ns/time", "prefix": "t"}),
        {"ns/docs": DOCS, "ns/time": TIME},
    )
    assert list(table.resource_templates) == ["docs://d/page/{id}"]
    assert list(table.prompts) == ["t_ask"]
    assert table.report().prompts == ("t_ask",)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (TIME, Changes()),
        (Catalogue(tools=TIME.tools[:1], prompts=TIME.prompts), Changes(tools=True)),
        (Catalogue(tools=(tool("now", title="T"), tool("zone")), prompts=TIME.prompts), Changes(tools=True)),
        (Catalogue(tools=TIME.tools), Changes(prompts=True)),
        (
            Catalogue(tools=TIME.tools, prompts=TIME.prompts, resource_templates=DOCS.resource_templates),
            Changes(resources=True),
        ),
    ],
)
def test_changes(new: Catalogue, expected: Changes) -> None:
    shown = route({"server": "ns/time", "prefix": "t"})
    assert changes(build_route(shown, {"ns/time": TIME}), build_route(shown, {"ns/time": new})) == expected


LONG = Catalogue(
    tools=(tool("x" * 40), tool("x" * 40 + "y"), tool("short")), prompts=({"name": "p" * 40}, {"name": "ask"})
)


def budget(too_long: str, *, prefix: str = "l", **more: object) -> Route:
    name_budget = {"maxLength": 20, "tooLong": too_long}
    return route({"server": "ns/long", "prefix": prefix, **more}, nameBudget=name_budget)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def test_names_over_the_budget_are_shortened() -> None:
    table = build_route(budget("shorten"), {"ns/long": LONG})
    first, second, prompt = "l_" + "x" * 40, "l_" + "x" * 40 + "y", "l_" + "p" * 40
    shown = [f"l_{'x' * 9}_{digest(first)}", f"l_{'x' * 9}_{digest(second)}"]
    assert list(table.tools) == [*shown, "l_short"]
    assert {len(name) for name in shown} == {20}
    assert [entry.name for entry in table.tools.values()] == ["x" * 40, "x" * 40 + "y", "short"], (
        "calls find the server's"
    )
    assert table.tools[shown[0]].definition["name"] == shown[0]
    assert list(table.prompts) == [f"l_{'p' * 9}_{digest(prompt)}", "l_ask"]
    told = [(long.kind, long.name, long.server, long.shown) for long in table.long_names]
    assert told == [
        ("tool", first, "ns/long", shown[0]),
        ("tool", second, "ns/long", shown[1]),
        ("prompt", prompt, "ns/long", f"l_{'p' * 9}_{digest(prompt)}"),
    ]
    assert table.conflicts == ()


def test_names_over_the_budget_are_refused() -> None:
    table = build_route(budget("refuse"), {"ns/long": LONG})
    assert list(table.tools) == ["l_short"]
    assert list(table.prompts) == ["l_ask"]
    assert [long.shown for long in table.long_names] == [None, None, None]
    assert all(name == "l_short" for name in table.report().tools)


def test_a_name_without_a_prefix_has_a_budget_too_and_a_renamed_tool_by_its_new_name() -> None:
    overrides = [{"name": "x" * 40, "rename": "fits"}, {"name": "short", "rename": "r" * 30}]
    table = build_route(budget("shorten", prefix="", tools={"overrides": overrides}), {"ns/long": LONG})
    names = ["fits", f"{'x' * 11}_{digest('x' * 40 + 'y')}", f"{'r' * 11}_{digest('r' * 30)}"]
    assert list(table.tools) == names


def test_a_hidden_tool_is_not_told_of() -> None:
    table = build_route(budget("refuse", tools={"exclude": ["x*"]}), {"ns/long": LONG})
    assert [long.kind for long in table.long_names] == ["prompt"]


def test_a_short_name_that_another_tool_has_is_a_conflict() -> None:
    taken = f"l_{'x' * 9}_{digest('l_' + 'x' * 40)}"
    catalogue = Catalogue(tools=(tool(taken.removeprefix("l_")), tool("x" * 40)))
    table = build_route(budget("shorten"), {"ns/long": catalogue})
    assert [entry.name for entry in table.tools.values()] == [taken.removeprefix("l_")]
    assert [(c.kind, c.name, c.winner, c.loser) for c in table.conflicts] == [("tool", taken, "ns/long", "ns/long")]


@given(name=st.text(min_size=17, max_size=400), length=st.integers(16, 300))
def test_a_shortened_name_follows_from_the_whole_one(name: str, length: int) -> None:
    short = shortened(name, length)
    assert shortened(name, length) == short
    assert len(short) <= length
    assert re.search(r"_[0-9a-f]{8}\Z", short)
    assert shortened(name + "!", length) != short


@pytest.mark.parametrize("value", [{"maxLength": 15}, {"maxLength": 1025}, {"maxLength": 64, "tooLong": "cut"}, 64])
def test_a_budget_that_makes_no_sense_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="nameBudget"):
        route(nameBudget=value)
