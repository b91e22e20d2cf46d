import asyncio
import gc
from collections.abc import Iterator

import pytest

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.collector import Collector
from mcp_operator_proxy.swap.build import TableBuilder
from mcp_operator_proxy.swap.pace import TURN_SECONDS, Pace
from mcp_operator_proxy.table import build_table
from support.gateway import make_config


def tools(*names: str) -> Catalogue:
    return Catalogue(tools=tuple({"name": name, "inputSchema": {"type": "object"}} for name in names))


URLS = {"a": "http://a.test/mcp", "b": "http://b.test/mcp"}
CATALOGUES = {"ns/a": tools("x", "y"), "ns/b": tools("x")}


async def test_it_builds_what_is_built_at_once() -> None:
    builder, config = TableBuilder(), make_config(URLS)
    await builder.prepare(config, CATALOGUES)
    assert builder.build(config, CATALOGUES) == build_table(config, CATALOGUES)


def test_a_route_that_nothing_changed_keeps_its_table() -> None:
    builder = TableBuilder()
    first = builder.build(make_config(URLS), CATALOGUES)["/mcp"]
    assert builder.build(make_config(URLS, allowed_hosts=["h"]), CATALOGUES)["/mcp"] is first


@pytest.mark.parametrize(
    ("more", "catalogues", "names"),
    [
        ({}, {**CATALOGUES, "ns/b": tools("z")}, ["a_x", "a_y", "b_z"]),
        ({}, {"ns/a": CATALOGUES["ns/a"]}, ["a_x", "a_y"]),
        ({"prefixes": {"b": "c"}}, CATALOGUES, ["a_x", "a_y", "c_x"]),
        ({"prefixes": {"a": "", "b": ""}}, CATALOGUES, ["x", "y"]),
    ],
    ids=["catalogue", "server lost", "prefix", "conflict"],
)
def test_what_changed_is_made_anew(
    more: dict[str, dict[str, str]], catalogues: dict[str, Catalogue], names: list[str]
) -> None:
    builder = TableBuilder()
    before = builder.build(make_config(URLS), CATALOGUES)["/mcp"]
    config = make_config(URLS, **more)  # type: ignore[arg-type]
    table = builder.build(config, catalogues)
    assert list(table["/mcp"].tools) == names
    assert table == build_table(config, catalogues)
    if not more:
        assert table["/mcp"].tools["a_x"] is before.tools["a_x"], "the part of an unchanged server is the same"


def test_a_server_s_other_timeout_reaches_its_entries() -> None:
    builder = TableBuilder()
    builder.build(make_config(URLS), CATALOGUES)
    table = builder.build(make_config(URLS, server={"callTimeoutSeconds": 3}), CATALOGUES)
    assert {entry.timeout for entry in table["/mcp"].tools.values()} == {3}


def test_another_budget_of_names_makes_the_names_anew() -> None:
    builder, catalogues = TableBuilder(), {"ns/a": tools("x" * 30)}
    entries = [{"server": "ns/a", "prefix": "a"}]

    def names(most: int | None) -> list[str]:
        route = {"name": "r", "path": "/mcp", "servers": entries}
        route["nameBudget"] = None if most is None else {"maxLength": most, "tooLong": "refuse"}
        return list(builder.build(make_config({"a": URLS["a"]}, routes=[route]), catalogues)["/mcp"].tools)

    whole = ["a_" + "x" * 30]
    assert [names(most) for most in (None, 31, 32, None)] == [whole, [], whole, whole]


def test_what_is_gone_is_forgotten() -> None:
    builder = TableBuilder()
    builder.build(make_config(URLS), CATALOGUES)
    builder.build(make_config({"a": URLS["a"]}), CATALOGUES)
    assert [key for key, _ in builder._parts.items()] == [("/mcp", "ns/a")]
    builder.build(make_config({}, routes=[{"name": "r", "path": "/other"}]), CATALOGUES)
    assert not builder._parts
    assert list(builder._routes) == ["/other"]


async def test_work_that_sets_off_more_lets_others_run_between_its_pieces() -> None:
    ran: list[str] = []

    async def work(name: str, *, sets_off_more: bool) -> None:
        pace = Pace()
        for _ in range(3):
            ran.append(name)
            await pace.turn(sets_off_more=sets_off_more)

    await asyncio.gather(work("a", sets_off_more=True), work("b", sets_off_more=True))
    assert ran == ["a", "b"] * 3


async def test_short_pieces_run_on_until_their_turn_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    turns = 0

    async def sleep(_: float) -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr("mcp_operator_proxy.swap.pace.time.perf_counter", lambda: clock)
    monkeypatch.setattr("mcp_operator_proxy.swap.pace.asyncio.sleep", sleep)
    pace = Pace()
    for _ in range(9):
        clock += TURN_SECONDS / 4
        await pace.turn()
    assert turns == 2


@pytest.fixture
def _collector_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_collector_as_before")
def test_what_stays_is_out_of_the_collector_s_sight_until_much_of_it_has_gone() -> None:
    collector = Collector()
    collector.started()
    frozen = gc.get_freeze_count()
    assert frozen > 0

    class Cycle:
        alive = 0

        def __init__(self) -> None:
            self.me = self
            Cycle.alive += 1

        def __del__(self) -> None:
            Cycle.alive -= 1

    Cycle()
    collector.settled(servers=100, gone=20)
    gc.collect()
    assert Cycle.alive == 1, "frozen with the rest"
    assert not collector.due
    collector.settled(servers=100, gone=6)
    assert collector.due
    assert not collector.overdue
    collector.collect()
    assert Cycle.alive == 0
    assert not collector.due
    assert gc.get_freeze_count() > 0
    collector.settled(servers=1000, gone=2001)
    assert collector.overdue
