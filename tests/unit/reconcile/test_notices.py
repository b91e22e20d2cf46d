"""The notice board: what servers are told of all proxies, and when.

a change: the servers that it concerns · several proxies · a proxy that goes
what a status says stands till every proxy was looked at and heard; then all that wait are looked at, once
"""

import pytest

from mcp_operator.conditions.notices import Notice, Notices
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict
from mcp_operator.engine.keys import Key
from mcp_operator.reconcile.notices import NoticeBoard

ONE, TWO = (Key("McpServer", "team-a", name) for name in ("one", "two"))
PROXY, OTHER = Key("McpProxy", "team-a", "tools"), Key("McpProxy", "team-b", "tools")
BEFORE = [Verdict(Type.CONFLICTED, "True", "PrefixConflict", "before")]


def conflict(text: str, *servers: str) -> Notices:
    notice = Notice(Type.CONFLICTED, Reason.PREFIX_CONFLICT, (text,))
    return Notices(servers=dict.fromkeys(servers, (notice,)))


@pytest.fixture
def proxies() -> list[Key]:
    return [PROXY]


@pytest.fixture
def board(proxies: list[Key]) -> NoticeBoard:
    return NoticeBoard(lambda _: proxies)


def messages(board: NoticeBoard, server: Key = ONE) -> list[str]:
    return [verdict.message for verdict in board.of_server(server, [])]


def test_a_change_concerns_the_servers_that_it_is_about(board: NoticeBoard) -> None:
    assert board.note(PROXY, conflict("a", "team-a/one"), heard=True) == {ONE}
    assert board.note(PROXY, conflict("a", "team-a/one"), heard=True) == set()
    assert board.note(PROXY, conflict("a", "team-a/one", "team-a/two"), heard=True) == {TWO}
    assert (messages(board), messages(board, TWO)) == (["a"], ["a"])
    assert board.note(PROXY, Notices(), heard=True) == {ONE, TWO}
    assert messages(board) == []
    assert board.of_proxy(PROXY) == board.of_proxy(OTHER) == Notices()


def test_several_proxies(board: NoticeBoard, proxies: list[Key]) -> None:
    proxies.append(OTHER)
    board.note(OTHER, conflict("b", "team-a/one"), heard=True)
    board.note(PROXY, conflict("a", "team-a/one"), heard=True)
    assert messages(board) == ["a; b"]
    proxies.remove(PROXY)
    assert board.forget(PROXY) == {ONE}
    assert messages(board) == ["b"]


def test_what_stands_in_a_status_stays_until_all_have_been_heard(board: NoticeBoard, proxies: list[Key]) -> None:
    proxies.append(OTHER)
    assert board.of_server(ONE, BEFORE) == BEFORE
    assert board.note(PROXY, Notices(), heard=False) == set()
    assert board.of_server(ONE, BEFORE) == BEFORE, "one has not been looked at, the other not been heard"
    assert board.note(OTHER, Notices(), heard=True) == set()
    assert board.of_server(ONE, BEFORE) == BEFORE, "one has not been heard"
    assert board.note(PROXY, Notices(), heard=True) == {ONE}
    assert board.of_server(ONE, BEFORE) == []
    assert board.note(PROXY, Notices(), heard=True) == set(), "nobody waits any more"


def test_proxies_of_others_are_not_waited_for() -> None:
    board = NoticeBoard(lambda server: {ONE: [PROXY], TWO: [PROXY, OTHER]}[server])
    assert board.of_server(ONE, BEFORE) == board.of_server(TWO, BEFORE) == BEFORE
    assert board.note(PROXY, Notices(), heard=True) == {ONE}
    assert (board.of_server(ONE, BEFORE), board.of_server(TWO, BEFORE)) == ([], BEFORE)
    assert board.note(OTHER, Notices(), heard=False) == set()
    assert board.note(OTHER, Notices(), heard=True) == {TWO}


def test_a_server_of_which_nothing_is_said_is_told_at_once(board: NoticeBoard, proxies: list[Key]) -> None:
    proxies.append(OTHER)
    board.note(PROXY, conflict("a", "team-a/one"), heard=False)
    assert messages(board) == ["a"]


def test_a_proxy_that_goes_before_it_was_heard_holds_nobody_up(board: NoticeBoard, proxies: list[Key]) -> None:
    board.note(PROXY, Notices(), heard=False)
    assert board.of_server(ONE, BEFORE) == BEFORE
    proxies.clear()
    assert board.forget(PROXY) == {ONE}
