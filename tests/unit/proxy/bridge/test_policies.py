"""The small pure rules: log levels, subscriptions, backoff, redaction, what sessions are told of the server."""

import pytest

from mcp_operator_proxy.bridge import handshake, loglevels
from mcp_operator_proxy.bridge.backoff import Backoff
from mcp_operator_proxy.bridge.redact import redactor
from mcp_operator_proxy.bridge.subscriptions import Subscriptions


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([], None), ([None, None], None), (["error", None], "error"), (["error", "debug", "info"], "debug")],
)
def test_the_server_needs_the_most_verbose_level(levels: list[str | None], expected: str | None) -> None:
    assert loglevels.most_verbose(levels) == expected


@pytest.mark.parametrize(
    ("session", "message", "expected"),
    [
        (None, "emergency", False),
        ("info", "debug", False),
        ("info", "info", True),
        ("info", "alert", True),
        ("info", "made-up", True),
        ("info", None, True),
    ],
)
def test_which_messages_a_session_wants(session: str | None, message: object, expected: bool) -> None:
    assert loglevels.wants(session, message) is expected


def test_a_subscription_lasts_until_its_last_subscriber_leaves() -> None:
    subscriptions: Subscriptions[str] = Subscriptions()
    for who in ("a", "b", "b"):
        subscriptions.add("x://1", who)
    assert [subscriptions.remove("x://1", who) for who in ("a", "a", "b", "b")] == [False, False, True, False]
    assert "x://1" not in subscriptions


@pytest.mark.parametrize(
    ("updated", "expected"),
    [
        ("file:///dir", {"dir"}),
        ("file:///dir/a", {"dir", "a"}),
        ("file:///dir/b", {"dir"}),
        ("file:///directory", set()),
        ("file:///", set()),
    ],
)
def test_an_update_reaches_subscribers_of_what_it_is_a_part_of(updated: str, expected: set[str]) -> None:
    subscriptions: Subscriptions[str] = Subscriptions()
    subscriptions.add("file:///dir", "dir")
    subscriptions.add("file:///dir/a", "a")
    assert subscriptions.interested(updated) == expected
    assert subscriptions.uris_of("a") == ["file:///dir/a"]


def test_backoff_doubles_up_to_its_longest_and_starts_anew_after_a_good_run() -> None:
    backoff = Backoff(0.5, 30.0)
    assert [backoff.next(0.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.crash_loop
    assert backoff.next(29.9) == 30
    assert backoff.next(30.0) == 0.5
    assert not backoff.crash_loop


def test_backoff_never_overflows() -> None:
    backoff = Backoff(0.5, 30.0, failures=100_000)
    assert backoff.next(0.0) == 30


@pytest.mark.parametrize(
    ("environment", "text", "expected"),
    [
        ({"API_TOKEN": "abcdef"}, "token abcdef!", "token [env API_TOKEN]!"),
        ({"DATABASE_URL": "postgres://u:p@h/db"}, "to postgres://u:p@h/db", "to [env DATABASE_URL]"),
        ({"PATH": "/usr/bin:/bin", "HOME": "/home/somebody"}, "/usr/bin:/bin /home/somebody", None),
        ({"UV_CACHE_DIR": "/var/cache/uv"}, "/var/cache/uv", None),
        ({"UV_INDEX_PASSWORD": "hunter22"}, "hunter22", "[env UV_INDEX_PASSWORD]"),
        ({"DEBUG": "true"}, "it is true", None),
        ({"MY_KEY": "a.*b(c"}, "a.*b(c axxb(c", "[env MY_KEY] axxb(c"),
        ({"A_TOKEN": "secret", "B_TOKEN": "secret-longer"}, "secret-longer", "[env B_TOKEN]"),
        ({"PEM_KEY": "-----BEGIN\nline-one\nline-two"}, "at line-two", "at [env PEM_KEY]"),
        ({}, "nothing", None),
    ],
)
def test_values_of_the_environment_are_named_not_shown(
    environment: dict[str, str], text: str, expected: str | None
) -> None:
    assert redactor(environment)(text) == (expected or text)


def test_sessions_are_told_of_changing_lists_and_not_of_tasks() -> None:
    told = handshake.for_sessions(
        {"protocolVersion": "v", "capabilities": {"tools": {}, "prompts": {"x": 1}, "tasks": {}, "experimental": {}}}
    )
    assert told == {
        "protocolVersion": "v",
        "capabilities": {
            "tools": {"listChanged": True},
            "prompts": {"x": 1, "listChanged": True},
            "experimental": {},
        },
    }
