"""The ring of standard error, its way into the log, what is taken out of it, and the lists that are remembered."""

import pytest

from mcp_operator_proxy.bridge.lists import KnownLists
from mcp_operator_proxy.bridge.redact import redactor
from mcp_operator_proxy.bridge.stderr import ServerLog, Throttle


def test_the_ring_keeps_the_newest_lines() -> None:
    shown: list[str] = []
    log = ServerLog(shown.append, lines=3, size=1000)
    for n in range(5):
        log.add(7, f"line {n}")
    assert [line.text for line in log.tail(10)] == ["line 2", "line 3", "line 4"]
    assert [line.text for line in log.tail(1)] == ["line 4"]
    assert log.tail(0) == []
    assert {line.pid for line in log.tail(3)} == {7}
    assert len(shown) == 5


def test_the_ring_is_bounded_in_bytes_too() -> None:
    log = ServerLog(lambda _: None, lines=100, size=10)
    for text in ("äöü", "12345", "123456"):
        log.add(1, text)
    assert [line.text for line in log.tail(9)] == ["123456"]
    log.add(1, "x" * 50)
    assert len(log.tail(9)) == 1, "the newest stays, however long it is"


def test_a_flood_is_throttled_and_counted() -> None:
    now = 0.0
    shown: list[str] = []
    throttle = Throttle(shown.append, rate=1.0, burst=2, clock=lambda: now)
    for n in range(5):
        throttle(str(n))
    assert shown == ["0", "1"]
    now = 1.0
    throttle("5")
    assert shown[2:] == ["(3 lines left out)", "5"]
    now = 100.0
    for n in range(6, 9):
        throttle(str(n))
    assert shown[4:] == ["6", "7"]


SECRETS = {
    "DB": "hunter",
    "PIN": "417",
    "CERT": "first line\nsecond line",
    "PATH": "/opt/secret",
    "QUOTED": 'say "open"',
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("login hunter failed", "login [env DB] failed"),
        ("pin 417!", "pin [env PIN]!"),
        ("port 41700", "port 41700"),
        ("got second line", "got [env CERT]"),
        ("at /opt/secret/x", "at [env PATH]/x"),
        (r'{"said": "say \"open\""}', '{"said": "[env QUOTED]"}'),
    ],
)
def test_what_came_from_a_secret_is_never_shown(text: str, shown: str) -> None:
    assert redactor(SECRETS, tuple(SECRETS.values()))(text) == shown


def test_a_secret_that_is_in_no_variable_is_taken_out_too() -> None:
    assert redactor({}, ("hunter2",))("hunter2") == "[env ?]"


def request(method: str, cursor: str | None = None) -> dict[str, object]:
    return {"method": method, "params": {} if cursor is None else {"cursor": cursor}}


def test_lists_are_known_page_by_page_until_they_change() -> None:
    known = KnownLists()
    assert known.concerns(request("tools/list"))
    assert not known.concerns(request("tools/call"))
    known.keep(request("tools/list"), {"tools": [1]})
    known.keep(request("tools/list", "2"), {"tools": [2]})
    known.keep(request("resources/templates/list"), {"resourceTemplates": []})
    known.keep(request("prompts/list"), "no result")
    assert known.get(request("tools/list", "2")) == {"tools": [2]}
    assert known.get(request("tools/list", "3")) is None
    assert known.get(request("prompts/list")) is None
    known.changed({"method": "notifications/tools/list_changed"})
    assert known.get(request("tools/list")) is None
    assert known.get(request("resources/templates/list")) == {"resourceTemplates": []}
    known.changed({"method": "notifications/resources/list_changed"})
    assert known.get(request("resources/templates/list")) is None
