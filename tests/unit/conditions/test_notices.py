"""Who is told of a conflict and of names that are too long: the proxy, routes and servers on both sides.

two routes · a route and the proxy's own selector · one route with itself · a name in two catalogues · twice in one
too long: shortened, refused, many · what concerns no server or path of the configuration · notices of several proxies
"""

from typing import Any

from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.notices import Notice, Notices, noted, noted_before, notices
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator_proxy.report import Conflict, LongName
from support import models, resources

ONE, TWO = (models.server(resources.remote(name, f"http://{name}/mcp")) for name in ("one", "two"))
PATH = "McpProxy/team-a/tools"
Told = dict[str, list[tuple[str, str]]]


def _compiled(*routes: Any, **spec: Any) -> tuple[Any, Compiled]:
    proxy = models.proxy(resources.proxy(**spec))
    found = [models.route(body, age=-number) for number, body in enumerate(routes)]
    return proxy, compile_proxy(proxy, routes=found, servers=[ONE, TWO], objects={}, url_of=cluster_url)


def _notices(outcome: tuple[Any, Compiled], conflicts: Any = (), long_names: Any = ()) -> Notices:
    return notices(*outcome, conflicts, long_names)


def _types(found: Any) -> Told:
    return {about: [(notice.type, notice.reason) for notice in told] for about, told in found.items()}


def _text(found: tuple[Notice, ...]) -> str:
    (notice,) = found
    (text,) = notice.texts
    return text


def _both(reason: str) -> Told:
    return {server: [("Conflicted", reason)] for server in ("team-a/one", "team-a/two")}


def test_both_routes_and_both_servers() -> None:
    older, younger = (resources.route(name, {"name": of, "prefix": "x"}) for name, of in (("a", "one"), ("b", "two")))
    told = _notices(_compiled(older, younger))
    assert _types(told.routes) == {"team-a/a": [("Conflicted", "PrefixConflict")]}, "the loser's Accepted says it"
    assert _types(told.servers) == _both("PrefixConflict")
    assert told.proxy == ()
    assert "also claimed by McpServer team-a/two (McpRoute team-a/b)" in _text(told.routes["team-a/a"])
    assert _text(told.servers["team-a/two"]).startswith(
        "McpProxy team-a/tools: prefix 'x' of McpServer team-a/two is taken"
    )


def test_a_server_that_two_routes_name() -> None:
    told = _notices(_compiled(resources.route("a", {"name": "one"}), resources.route("b", {"name": "one"})))
    assert _types(told.routes) == {"team-a/a": [("Conflicted", "ServerConflict")]}
    assert _types(told.servers) == {"team-a/one": [("Conflicted", "ServerConflict")]}


def test_a_route_wins_over_the_proxy_s_own_selector() -> None:
    told = _notices(_compiled(resources.route("a", {"name": "two", "prefix": "one"}), selector={}))
    assert _types(told.routes) == {"team-a/a": [("Conflicted", "PrefixConflict")]}
    assert told.proxy == (), "its ResolvedRefs says what it lost"
    assert "the proxy's own selector" in _text(told.routes["team-a/a"])


def test_a_name_in_two_catalogues() -> None:
    routes = [resources.route(name, {"name": of, "prefix": ""}) for name, of in (("a", "one"), ("b", "two"))]
    clash = Conflict(route=PATH, kind="tool", name="add", winner="team-a/one", loser="team-a/two")
    told = _notices(_compiled(*routes), [clash, clash])
    assert _types(told.routes) == {"team-a/a": [("Conflicted", "NameConflict")]}
    assert _types(told.servers) == _both("NameConflict")
    assert "hides that of McpServer team-a/two" in _text(told.routes["team-a/a"])


def test_a_template_without_prefixes_makes_the_proxy_s_own_servers_clash() -> None:
    outcome = _compiled(selector={}, naming={"template": "{tool}"})
    clash = Conflict(route=PATH, kind="tool", name="add", winner="team-a/one", loser="team-a/two")
    told = _notices(outcome, [clash])
    assert "'add' of McpServer team-a/two is hidden at /mcp" in _text(told.proxy)
    assert told.routes == {}


def test_a_name_twice_in_one_catalogue() -> None:
    clash = Conflict(route=PATH, kind="tool", name="add", winner="team-a/one", loser="team-a/one")
    told = _notices(_compiled(selector={}), [clash])
    assert "stands twice" in _text(told.proxy)
    assert list(told.servers) == ["team-a/one"]


def _long(name: str, shown: str | None, **more: str) -> LongName:
    return LongName(**{"route": PATH, "kind": "tool", "name": name, "server": "team-a/one", "shown": shown, **more})


def test_names_that_are_too_long() -> None:
    outcome = _compiled(selector={}, naming={"maxLength": 20})
    told = _notices(outcome, (), [_long("one_b", None), _long("one_a", "one_x"), _long("one_a", "one_x")])
    (notice,) = told.proxy
    assert notice == Notice(
        Type.NAME_TOO_LONG,
        Reason.NAME_TOO_LONG,
        (
            "tool 'one_a' of McpServer team-a/one has over 20 characters and is shown as 'one_x' at /mcp",
            "tool 'one_b' of McpServer team-a/one has over 20 characters and is not served at /mcp",
        ),
    )
    assert _types(told.servers) == {"team-a/one": [("NameTooLong", "NameTooLong")]}
    (verdict,) = noted(told.proxy)
    assert (verdict.type, verdict.status, verdict.reason) == ("NameTooLong", "True", "NameTooLong")
    assert verdict.message.startswith("2 names: tool 'one_a'")


def test_many_names_are_counted() -> None:
    told = _notices(_compiled(selector={}), (), [_long(f"n{number:03}", None) for number in range(100)])
    (verdict,) = noted(told.proxy)
    assert verdict.message.startswith("100 names: tool 'n000'")
    assert verdict.message.endswith("; and 95 more")


def test_what_an_older_configuration_had_is_not_told() -> None:
    gone = Conflict(route=PATH, kind="tool", name="add", winner="team-a/one", loser="team-a/gone")
    long = [_long("a", None, server="team-a/gone"), _long("a", None, route="McpRoute/team-a/gone")]
    assert _notices(_compiled(selector={}), [gone], long) == Notices()


def test_notices_of_several_proxies_become_one_condition() -> None:
    first = Notice(Type.CONFLICTED, Reason.PREFIX_CONFLICT, ("a",))
    second = Notice(Type.CONFLICTED, Reason.NAME_CONFLICT, ("b", "a"))
    long = Notice(Type.NAME_TOO_LONG, Reason.NAME_TOO_LONG, ("c",))
    told = noted([first, long, second])
    assert [(v.type, v.reason, v.message) for v in told] == [
        ("Conflicted", "PrefixConflict", "a; b"),
        ("NameTooLong", "NameTooLong", "c"),
    ]
    assert noted([]) == []
    server = resources.remote("one", "http://one/mcp")
    condition = {"type": "Conflicted", "status": "True", "reason": "PrefixConflict", "message": "a; b"}
    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    status = models.server({**server, "status": {"conditions": [condition, {**condition, "type": "Ready"}]}}).status
    assert noted_before(status.conditions) == told[:1]
