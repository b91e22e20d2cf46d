"""The record of a server's definitions: what comes into it, what an approval moves, what proxies are told."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.api.pinning import MOST_PINNED
from mcp_operator.api.resources import McpServer
from mcp_operator.compile import compile_proxy
from mcp_operator.compile.pins import Folded, Record, Seen, approved, fold, pinned, recorded, seen
from mcp_operator.compile.servers import cluster_url
from mcp_operator.reconcile.compilation import version_of
from mcp_operator_proxy.pinning.definition import canonical, digest_of
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def definition(name: str, text: str = "") -> str:
    return canonical({"name": name, "description": text})


def digest(name: str, text: str = "") -> str:
    return digest_of(definition(name, text))


def lists(**tools: str) -> Seen:
    return seen([(name, definition(name, text)) for name, text in tools.items()])


def server(mode: str = "Enforce", given: dict[str, Any] | None = None, record: Record | None = None) -> McpServer:
    more = {"approvedDefinitions": given} if given is not None else {}
    body = resources.remote("far", "http://far/mcp", pinning=mode, **more)
    if record is not None:
        held = [{"tool": tool, "digest": digest} for tool, digest in record.tools.items()]
        body["status"] = {"definitions": {"recordedAt": record.at.isoformat(), "pinned": held}}
    return models.server(body)


def declares(*tools: tuple[str, str]) -> dict[str, Any]:
    return {"tools": [{"tool": name, "digest": digest(name, text)} for name, text in tools]}


def texts(**tools: str) -> dict[str, str]:
    return {name: digest(name, text) for name, text in tools.items()}


def record(**tools: str) -> Record:
    return Record(NOW, texts(**tools))


BOTH = lists(a="1", b="2")
ALL = {"all": BOTH.catalogue}
TABLE: list[tuple[str, dict[str, Any] | None, Record | None, Seen | None, str, dict[str, str] | None]] = [
    ("nothing seen yet", None, None, None, "", None),
    ("seen first", None, None, BOTH, "", texts(a="1", b="2")),
    ("an empty catalogue seen first", None, None, lists(), "", {}),
    ("known, not seen", None, record(a="1"), None, "", texts(a="1")),
    ("unchanged", None, record(a="1", b="2"), BOTH, "", texts(a="1", b="2")),
    ("changed", None, record(a="1", b="2"), lists(a="x", b="2"), "", texts(a="1", b="2")),
    ("new", None, record(a="1"), BOTH, "", texts(a="1")),
    ("gone", None, record(a="1", b="2"), lists(a="1"), "", texts(a="1", b="2")),
    ("declared, so that what is seen first is not trusted", declares(("a", "1")), None, BOTH, "", texts(a="1")),
    ("declared otherwise", declares(("a", "x")), None, BOTH, "", {}),
    ("declared as empty", {}, None, BOTH, "", {}),
    ("declared whole", ALL, None, BOTH, "", texts(a="1", b="2")),
    ("declared whole, and another", ALL, record(a="1"), lists(a="x"), "", texts(a="1")),
    ("declared whole, what is gone is forgotten", ALL, record(a="0", c="3"), BOTH, "", texts(a="1", b="2")),
    ("declared before it comes", declares(("a", "x")), record(a="1"), lists(a="1"), "", texts(a="1")),
    ("and when it has come", declares(("a", "x")), record(a="1"), lists(a="x"), "", texts(a="x")),
    ("both declared, either listed", declares(("a", "1"), ("a", "x")), record(a="1"), lists(a="x"), "", texts(a="1")),
    ("asked for one", None, record(a="1", b="2"), lists(a="x", b="y"), digest("a", "x"), texts(a="x", b="2")),
    ("asked for two", None, record(a="1", b="2"), lists(a="x", b="y"), f"{digest('a', 'x')}, {digest('b', 'y')}", texts(a="x", b="y")),
    ("asked for a new one", None, record(a="1"), BOTH, digest("b", "2"), texts(a="1", b="2")),
    ("asked for all", None, record(a="0", c="3"), BOTH, "all", texts(a="1", b="2")),
    ("asked for the catalogue", None, record(a="0"), BOTH, BOTH.catalogue, texts(a="1", b="2")),
    ("asked for what is not there", None, record(a="1"), lists(a="x"), digest("a", "y"), texts(a="1")),
    ("asked before anything is seen", None, record(a="1"), None, "all", texts(a="1")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "before", "found", "asked", "expected"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE]
)
def test_what_comes_into_the_record(
    given: dict[str, Any] | None,
    before: Record | None,
    found: Seen | None,
    asked: str,
    expected: dict[str, str] | None,
) -> None:
    folded = fold(server(given=given), before, found, LATER, asked=asked)
    assert (None if folded.record is None else dict(folded.record.tools)) == expected
    if folded.record is not None:
        assert folded.record.at == (before.at if before else LATER)
    assert folded.heeded is (bool(asked) and found is not None)
    again = fold(server(given=given), folded.record, found, LATER)
    assert again.record == folded.record, "a second look changes nothing"
    assert again.approved == ()


def test_off_has_no_record() -> None:
    assert fold(server("Off"), record(a="1"), BOTH, NOW) == Folded(None)
    assert recorded(server("Off", record=record(a="1"))) is None


def test_an_approval_names_what_it_approved_and_what_there_is_not() -> None:
    words = f"{digest('a', 'x')} {digest('z', 'z')}"
    folded = fold(server(), record(a="1"), lists(a="x"), NOW, asked=words)
    assert (folded.approved, folded.unknown) == (("a",), (digest("z", "z"),))


def test_what_only_a_proxy_is_shown_can_be_approved() -> None:
    folded = fold(
        server(), record(a="1"), lists(a="1"), NOW, asked=digest("a", "x"), elsewhere=[("a", digest("a", "x"))]
    )
    assert folded.record == record(a="x")


def test_of_two_tools_of_one_name_the_first_is_recorded() -> None:
    found = seen([("a", definition("a", "1")), ("a", definition("a", "2"))])
    folded = fold(server(), None, found, NOW)
    assert folded.record == record(a="1")


def test_a_record_is_bounded_and_holds_only_names_that_a_status_can_hold() -> None:
    odd = ["", "x" * 1025, "half \ud800"]
    found = seen([(name, definition(name)) for name in [*odd, *(f"t{i:05}" for i in range(MOST_PINNED + 5))]])
    first = fold(server(), None, found, NOW).record
    assert first is not None
    assert len(first.tools) == MOST_PINNED
    assert not first.tools.keys() & {*odd}
    more = fold(server(), first, found, NOW, asked=digest(f"t{MOST_PINNED + 1:05}")).record
    assert more == first


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")),
)
def test_without_an_approval_a_record_never_changes(old: dict[str, str], new: dict[str, str]) -> None:
    assert fold(server(), record(**old), lists(**new), LATER).record == Record(NOW, dict(sorted(texts(**old).items())))


def test_what_proxies_are_told() -> None:
    assert pinned(server("Off")) == {}
    assert pinned(server("Warn")) == {}, "nothing to warn of"
    assert pinned(server("Enforce")) == {"pinning": "enforce", "pins": ()}, "nothing is trusted yet"
    declared = pinned(server("Enforce", declares(("a", "1"), ("a", "2")), record(b="3")))
    assert declared["pinning"] == "enforce"
    pins = declared["pins"]
    assert isinstance(pins, tuple)
    assert {(pin.tool, pin.digest) for pin in pins} == {
        ("a", digest("a", "1")), ("a", digest("a", "2")), ("b", digest("b", "3")),
    }  # fmt: skip
    assert pinned(server("Warn", record=record()))["pinning"] == "warn"


def test_the_record_is_part_of_a_configuration_and_of_what_it_follows_from() -> None:
    one, other = (server(record=record(a=text)) for text in "12")
    assert version_of(one) != version_of(other)
    assert version_of(server("Off", record=record(a="1"))) == version_of(server("Off", record=record(a="2")))
    proxy = models.proxy(resources.proxy(selector={}))
    compiled = [
        compile_proxy(proxy, routes=[], servers=[of], objects={}, url_of=cluster_url).config.servers[0]
        for of in (one, other)
    ]
    assert [found.pins[0].digest for found in compiled] == [digest("a", "1"), digest("a", "2")]


def test_a_declared_definition_is_approved_beside_the_recorded_one() -> None:
    of = server(given=declares(("a", "x")))
    assert approved(of, record(a="1")) == {"a": frozenset({digest("a", "1"), digest("a", "x")})}


def test_a_record_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        record(a="1").at = LATER  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"approvedDefinitions": {}}, "approvedDefinitions needs pinning: Warn or Enforce"),
        ({"pinning": "Warn", "approvedDefinitions": {"all": "sha256:x"}}, "must be sha256: and 64 hexadecimal digits"),
        ({"pinning": "Warn", "approvedDefinitions": {"tools": [{"tool": "", "digest": digest("a")}]}}, "at least 1 character"),
        ({"pinning": "Warn", "approvedDefinitions": {"tools": [{"tool": "a", "digest": digest("a")}] * 2}}, "stands there twice"),
    ],
)  # fmt: skip
def test_what_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.server(resources.remote("far", "http://far/mcp", **spec))
