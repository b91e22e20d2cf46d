"""Reports of all replicas merged, server by server: what is said of each, and who hears of a change."""

from typing import Any

import pytest

from mcp_operator.conditions.server import Clients, Failure, Stopped, Unreached
from mcp_operator.engine.keys import Key
from mcp_operator.probe.replica import ReplicaState, expecting
from mcp_operator.reconcile.sights import News, Sights, sight
from mcp_operator_proxy.report import ErrorReport, ServerReport, UnapprovedTool

TOOLS, MORE = Key("McpProxy", "a", "tools"), Key("McpProxy", "b", "more")
TIMEOUT = ErrorReport(error_class="Timeout", message="no answer")
FAILS = Failure("p2", "Timeout", "no answer")
ONE_STOPPED = (Stopped("a/tools", ("p1",)),)


def replica(**servers: str | None) -> ReplicaState:
    """A replica that runs its revision; of each server `ready`, `pending`, `error` or `stopped`."""
    reports: list[Any] = [
        ServerReport(id=f"a/{name}", state="pending", stopped=True)
        if state == "stopped"
        else ServerReport(id=f"a/{name}", state=state, error=TIMEOUT if state == "error" else None)  # type: ignore[arg-type]
        for name, state in servers.items()
    ]
    return ReplicaState(asked="r", state="running", revision="r", servers=tuple(reports))


UNKNOWN = ReplicaState(asked="r")
AWAY = ReplicaState(asked="r", state="unreachable", error=TIMEOUT)

TABLE = {
    "all reach it": ({"p1": replica(s="ready"), "p2": replica(s="ready")}, Clients(reached=True)),
    "one does not": ({"p1": replica(s="ready"), "p2": replica(s="error")}, Clients((Unreached("a/tools", 2, (FAILS,)),), reached=True)),
    "none does": ({"p2": replica(s="error")}, Clients((Unreached("a/tools", 1, (FAILS,)),))),
    "one has not tried yet": ({"p1": replica(s="pending"), "p2": replica(s="ready")}, Clients(reached=True)),
    "one has stopped it": ({"p1": replica(s="stopped"), "p2": replica(s="ready")}, Clients(reached=True, stopped=ONE_STOPPED)),
    "all have": ({"p1": replica(s="stopped"), "p2": replica(s="stopped")}, Clients(stopped=(Stopped("a/tools", ("p1", "p2")),))),
    "one has stopped it, one fails": ({"p1": replica(s="stopped"), "p2": replica(s="error")},
        Clients((Unreached("a/tools", 1, (FAILS,)),), stopped=ONE_STOPPED)),
    "one has not been heard": ({"p1": UNKNOWN, "p2": replica(s="ready")}, Clients(reached=True, waiting=True)),
    "one is away": ({"p1": AWAY, "p2": replica(s="ready")}, Clients(reached=True)),
    "all are away": ({"p1": AWAY}, Clients()),
    "none is there": ({}, Clients()),
    "they do not know it": ({"p1": replica(other="error")}, Clients()),
}  # fmt: skip


@pytest.mark.parametrize(("states", "expected"), TABLE.values(), ids=TABLE)
def test_one_proxy(states: dict[str, ReplicaState], expected: Clients) -> None:
    sights = Sights(lambda *_: None)
    sights.note(TOOLS, sight(TOOLS, ["a/s"], states))
    assert sights.of("a/s") == expected
    assert sights.of("a/unserved") == Clients()


def test_several_proxies() -> None:
    sights = Sights(lambda *_: None)
    sights.note(MORE, sight(MORE, ["a/s"], {"p2": replica(s="error"), "p3": replica(s="ready")}))
    sights.note(TOOLS, sight(TOOLS, ["a/s", "a/t"], {"p2": replica(s="error", t="ready")}))
    assert sights.of("a/s") == Clients(
        (Unreached("a/tools", 1, (FAILS,)), Unreached("b/more", 2, (FAILS,))), reached=True
    )
    assert sights.of("a/t").all_reach_it
    sights.forget(TOOLS)
    sights.forget(TOOLS)
    assert sights.of("a/s") == Clients((Unreached("b/more", 2, (FAILS,)),), reached=True)
    assert sights.of("a/t") == Clients()


BOTH, ONE, NONE = {"p1": "ready", "p2": "ready"}, {"p1": "ready", "p2": "error"}, {"p1": "error", "p2": "error"}
CHANGES = {
    "nothing": (ONE, ONE, []),
    "one fails": (BOTH, ONE, [News.FAILS]),
    "the other too": (ONE, NONE, [News.FAILS]),
    "the other instead": (ONE, {"p1": "error", "p2": "ready"}, [News.FAILS]),
    "the first thing that is heard": ({}, {"p1": "error"}, [News.FAILS]),
    "one is told to stop it": (BOTH, {"p1": "ready", "p2": "stopped"}, [News.STOPPED]),
    "both are": (BOTH, {"p1": "stopped", "p2": "stopped"}, [News.STOPPED]),
    "it is started again": ({"p1": "stopped"}, {"p1": "ready"}, [News.STOPPED]),
    "who failed is told to stop it": (ONE, {"p1": "ready", "p2": "stopped"}, [News.FAILS_OTHERWISE]),
    "one of two is back": (NONE, ONE, [News.FAILS_OTHERWISE]),
    "it is back": (ONE, BOTH, [News.FAILS_OTHERWISE]),
    "who failed is gone": (ONE, {"p1": "ready"}, [News.FAILS_OTHERWISE]),
    "one more reaches it": ({"p1": "ready"}, BOTH, []),
    "one more while one fails": ({"p2": "error"}, ONE, [News.FAILS_OTHERWISE]),
    "the first reaches it": ({"p1": "pending"}, {"p1": "ready"}, [News.MINOR]),
    "nobody does any more": (BOTH, {}, [News.MINOR]),
}


@pytest.mark.parametrize(("before", "after", "expected"), CHANGES.values(), ids=CHANGES)
def test_who_hears_of_a_change(before: dict[str, str], after: dict[str, str], expected: list[News]) -> None:
    """The other server of the proxy is never concerned."""
    told: list[tuple[str, News]] = []
    sights = Sights(lambda server, news: told.append((server, news)))
    for states in (before, after):
        told.clear()
        replicas = {pod: replica(s=state, other="ready") for pod, state in states.items()}
        sights.note(TOOLS, sight(TOOLS, ["a/s", "a/other"], replicas))
    assert [news for server, news in told if server == "a/s"] == expected
    others = [news for server, news in told if server == "a/other"]
    assert others == ([News.MINOR] if not (before and after) else [])


def test_replicas_that_are_heard_at_last_concern_all_their_servers() -> None:
    """What was said of a server before the operator started may stand until then."""
    told: list[tuple[str, News]] = []
    sights = Sights(lambda server, news: told.append((server, news)))
    sights.note(TOOLS, sight(TOOLS, ["a/s"], {"p1": UNKNOWN}))
    told.clear()
    sights.note(TOOLS, sight(TOOLS, ["a/s"], {"p1": AWAY}))
    assert told == [("a/s", News.MINOR)]


def test_who_spoke_before_it_was_given_its_configuration_says_nothing_new() -> None:
    told: list[tuple[str, News]] = []
    sights = Sights(lambda server, news: told.append((server, news)))
    tool = UnapprovedTool(tool="add", kind="changed", digest="sha256:1")
    report = ServerReport(id="a/s", state="ready", unapproved=(tool,))
    runs = ReplicaState(asked="r", state="running", revision="r", servers=(report,))
    sights.note(TOOLS, sight(TOOLS, ["a/s"], {"p1": runs}))
    assert sights.unapproved("a/s") == {"a/tools": (tool,)}
    told.clear()
    sights.outdate(TOOLS)
    assert sights.unapproved("a/s") == {}
    sights.note(TOOLS, sight(TOOLS, ["a/s"], {"p1": expecting(runs, "next")}))
    assert sights.unapproved("a/s") == {}
    assert sights.unapproved("a/s", {("add", "sha256:1")}) == {"a/tools": (tool,)}
    assert told == []
    sights.note(TOOLS, sight(TOOLS, ["a/s"], {"p1": expecting(runs, "next"), "p2": runs}))
    assert sights.unapproved("a/s") == {"a/tools": (tool,)}, "another says it now"
    assert told == [("a/s", News.DEFINITIONS)]
    sights.outdate(MORE)


def test_another_reason_is_no_new_failure() -> None:
    told: list[tuple[str, News]] = []
    sights = Sights(lambda server, news: told.append((server, news)))
    sights.note(TOOLS, sight(TOOLS, ["a/s"], {"p1": replica(s="error")}))
    refused = ErrorReport(error_class="ConnectionRefused", message="nobody listens")
    other = ReplicaState(
        asked="r", state="running", revision="r", servers=(ServerReport(id="a/s", state="error", error=refused),)
    )
    sights.note(TOOLS, sight(TOOLS, ["a/s"], {"p1": other}))
    assert told == [("a/s", News.FAILS), ("a/s", News.FAILS_OTHERWISE)]
