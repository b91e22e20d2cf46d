"""Whether a server lets routes of a namespace use it, and who is in the way of whom after a change.

consent: Same, All, Selector (by labels, by name; labels unknown) · what a route is told without consent, and where it heals
labels that move a server in and out · a winner that goes: the other takes over · the same from every order of events
"""

from typing import Any

import pytest

from mcp_operator.api.resources import McpRoute, McpServer
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.consent import NAME_LABEL, allows, consent_problem
from mcp_operator.compile.selection import namespaces_of
from mcp_operator.compile.servers import cluster_url
from support import models, resources

PROXY = models.proxy(resources.proxy())
TRUSTED = {"matchLabels": {"trust": "high"}}
BY_NAME = {"matchExpressions": [{"key": NAME_LABEL, "operator": "In", "values": ["team-a"]}]}
MIXED = {"matchLabels": {NAME_LABEL: "team-a", "trust": "high"}}


def _server(name: str = "far", *, labels: dict[str, str] | None = None, **namespaces: Any) -> McpServer:
    spec = {"allowedRoutes": {"namespaces": namespaces}} if namespaces else {}
    body = resources.remote(name, f"http://{name}.example.com/mcp", labels=labels, **spec)
    return models.server(body, namespace="platform")


@pytest.mark.parametrize(
    ("consent", "namespace", "labels", "allowed"),
    [
        ({}, "platform", {}, True),
        ({}, "team-a", {}, False),
        ({"from": "Same"}, "team-a", {}, False),
        ({"from": "All"}, "team-a", None, True),
        ({"from": "Selector", "selector": TRUSTED}, "team-a", {"trust": "high"}, True),
        ({"from": "Selector", "selector": TRUSTED}, "team-a", {"trust": "low"}, False),
        ({"from": "Selector", "selector": TRUSTED}, "team-a", None, False),
        ({"from": "Selector", "selector": TRUSTED}, "platform", None, True),
        ({"from": "Selector", "selector": BY_NAME}, "team-a", None, True),
        ({"from": "Selector", "selector": BY_NAME}, "team-b", None, False),
        ({"from": "Selector", "selector": BY_NAME}, "team-a", {}, True),
        ({"from": "Selector", "selector": MIXED}, "team-a", {"trust": "high"}, True),
        ({"from": "Selector", "selector": MIXED}, "team-a", None, False),
        ({"from": "Selector", "selector": {}}, "team-a", None, True),
    ],
)
def test_consent(consent: dict[str, Any], namespace: str, labels: dict[str, str] | None, *, allowed: bool) -> None:
    server = _server(**consent)
    assert allows(server, namespace, labels) is allowed


def test_a_namespace_can_not_claim_another_s_name() -> None:
    server = _server(**{"from": "Selector", "selector": BY_NAME})
    assert not allows(server, "team-b", {NAME_LABEL: "team-a"})


@pytest.mark.parametrize(
    ("consent", "told"),
    [
        ({}, False),
        ({"from": "All"}, False),
        ({"from": "Selector", "selector": BY_NAME}, False),
        ({"from": "Selector", "selector": TRUSTED}, True),
    ],
)
def test_what_can_not_be_decided_is_told(consent: dict[str, Any], *, told: bool) -> None:
    problem = consent_problem(_server(**consent))
    assert (problem is not None) is told
    assert problem is None or (problem.reason == "UnsupportedValue" and NAME_LABEL in problem.message)


def _compiled(
    routes: list[McpRoute], servers: list[McpServer], labels: dict[str, str] | None = None, proxy: Any = PROXY
) -> Compiled:
    return compile_proxy(proxy, routes=routes, servers=servers, objects={}, url_of=cluster_url, namespace_labels=labels)


def _served(outcome: Compiled) -> list[str]:
    return [entry.server for route in outcome.config.routes for entry in route.servers]


def _route(*servers: dict[str, Any], name: str = "extra", age: int = 0, **spec: Any) -> McpRoute:
    return models.route(resources.route(name, *servers, **spec), age=age)


@pytest.mark.parametrize("item", [{"name": "far"}, {"selector": {}}])
def test_a_server_that_there_is_not_and_one_that_may_not_be_used_are_told_in_the_same_words(
    item: dict[str, Any],
) -> None:
    """What is in another namespace is nobody's business without its consent (Gateway API, ReferenceGrant)."""
    routes = [_route({**item, "namespace": "platform"})]
    without, closed = _compiled(routes, [], {}), _compiled(routes, [_server()], {})
    (problem,) = closed.route_problems["team-a/extra"]
    assert problem.reason == "RefNotPermitted"
    assert "spec.allowedRoutes" in problem.message
    assert without.route_problems == closed.route_problems
    unknown = _compiled(routes, [_server()], None).route_problems["team-a/extra"]
    assert NAME_LABEL in unknown[0].message
    healed = _compiled(routes, [_server(**{"from": "All"})], {})
    assert healed.route_problems["team-a/extra"] == ()
    assert _served(healed) == ["platform/far"]


def test_a_selector_takes_those_that_consent_and_says_nothing_of_the_others() -> None:
    servers = [_server("open", **{"from": "All"}), _server("closed")]
    outcome = _compiled([_route({"selector": {}, "namespace": "platform"})], servers)
    assert _served(outcome) == ["platform/open"]
    assert outcome.route_problems["team-a/extra"] == ()


def test_labels_move_a_server_in_and_out() -> None:
    proxy = models.proxy(resources.proxy(selector={"team": "core"}))
    routes = [_route({"selector": {"matchLabels": {"tier": "gold"}}}, path="/gold")]

    def served(labels: dict[str, str]) -> list[tuple[str, str]]:
        server = models.server(resources.remote("one", "http://one/mcp", labels=labels))
        outcome = _compiled(routes, [server], proxy=proxy)
        return [(route.path, entry.server) for route in outcome.config.routes for entry in route.servers]

    assert served({}) == []
    assert served({"tier": "gold"}) == [("/gold", "team-a/one")]
    assert served({"tier": "gold", "team": "core"}) == [("/gold", "team-a/one"), ("/mcp", "team-a/one")]


def test_when_the_winner_goes_the_other_takes_over() -> None:
    one, two = (models.server(resources.remote(name, f"http://{name}/mcp")) for name in ("one", "two"))
    older = _route({"name": "one", "prefix": "x"}, name="older", age=9)
    younger = _route({"name": "two", "prefix": "x"}, name="younger")
    both = _compiled([younger, older], [one, two])
    assert _served(both) == ["team-a/one"]
    (claim,) = both.claims
    assert (claim.reason, claim.winner.source, claim.loser.source) == (
        "PrefixConflict",
        "team-a/older",
        "team-a/younger",
    )
    assert "McpServer team-a/two (McpRoute team-a/younger)" in claim.told_to_winner()
    alone = _compiled([younger], [one, two])
    assert (_served(alone), alone.claims, alone.route_problems["team-a/younger"]) == (["team-a/two"], (), ())
    first = _compiled([older, _route({"name": "two", "prefix": "x"}, name="younger", priority=1)], [one, two])
    assert _served(first) == ["team-a/two"]
    assert first.claims[0].loser.source == "team-a/older"


def test_which_namespaces_matter() -> None:
    routes = [
        _route({"name": "far", "namespace": "platform"}, {"name": "near"}),
        _route({"name": "x", "namespace": "nowhere"}, name="of-another", parent="second"),
    ]
    assert namespaces_of(PROXY, routes) == {"team-a", "platform"}
