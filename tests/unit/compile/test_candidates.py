"""Which servers have a say in what a proxy serves: just those that a look at all of them would choose from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.api.resources import McpProxy, McpRoute, McpServer, parse
from mcp_operator.compile.candidates import wanted_by_proxy
from mcp_operator.compile.selection import select
from support import models, resources

TEAMS = ["core", "data"]
NAMES = ["one", "two", "three"]
labels = st.fixed_dictionaries({}, optional={"team": st.sampled_from(TEAMS), "tier": st.sampled_from(["gold", "tin"])})
selectors = st.builds(lambda chosen: {"selector": {"matchLabels": chosen}}, labels)
references = st.one_of(selectors, st.builds(lambda name: {"name": name}, st.sampled_from(NAMES)))


def server(name: str, given_labels: dict[str, str]) -> McpServer:
    found = parse(models.stored(resources.remote(name, f"https://{name}/mcp", labels=given_labels)))
    assert isinstance(found, McpServer)
    return found


@given(
    chosen=st.fixed_dictionaries(dict.fromkeys(NAMES, labels)),
    own=st.none() | labels,
    routes=st.lists(
        st.tuples(st.sampled_from(["tools", "other"]), st.lists(references, min_size=1, max_size=3, unique_by=str)),
        max_size=2,
    ),
)
def test_nothing_is_missed(
    chosen: dict[str, dict[str, str]], own: dict[str, str] | None, routes: list[tuple[str, list[dict[str, object]]]]
) -> None:
    servers = [server(name, given_labels) for name, given_labels in chosen.items()]
    proxy = parse(models.stored(resources.proxy(selector=own)))
    assert isinstance(proxy, McpProxy)
    parsed = [
        parse(models.stored(resources.route(f"route-{index}", *refs, parent=parent, path=f"/r{index}/mcp")))
        for index, (parent, refs) in enumerate(routes)
    ]
    known = [route for route in parsed if isinstance(route, McpRoute)]
    assert len(known) == len(routes)
    wanted = [*wanted_by_proxy(proxy, known)]
    candidates = [
        one
        for one in servers
        if any(w.includes(one.metadata.namespace, one.metadata.name, one.metadata.labels) for w in wanted)
    ]
    assert select(proxy, known, candidates) == select(proxy, known, servers)


@pytest.mark.parametrize(
    ("namespace", "name", "given_labels", "included"),
    [
        ("team-a", "one", {"team": "core", "more": "x"}, True),
        ("team-a", "one", {"team": "data"}, False),
        ("team-a", "one", {}, False),
        ("team-b", "one", {"team": "core"}, False),
    ],
)
def test_a_selector_is_for_its_namespace(
    namespace: str, name: str, given_labels: dict[str, str], included: bool
) -> None:
    proxy = parse(models.stored(resources.proxy(selector={"team": "core"})))
    assert isinstance(proxy, McpProxy)
    (wanted,) = wanted_by_proxy(proxy, ())
    assert wanted.includes(namespace, name, given_labels) is included
