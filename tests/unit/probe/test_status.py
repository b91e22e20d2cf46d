"""Asking one replica for its status: a real proxy, and what is none."""

import asyncio
import json

import pytest

from mcp_operator.probe.status import MAX_BODY, Told, ask_status
from mcp_operator_proxy.report import ErrorReport, StatusReport
from support.backends import dead_port
from support.gateway import make_config, running_gateway
from unit.probe.servers import Reply, always, as_json, http, raw

MINIMAL = {"version": "9.9", "revision": "b1", "startedAt": "2026-11-21T12:00:00Z"}


async def test_a_proxy_answers_at_once_and_holds_until_it_runs_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_operator.probe.status._GRACE_SECONDS", 60.0)
    async with running_gateway(make_config({}, revision="a1")) as gateway:
        at_once = await ask_status(gateway.base, wait=None, timeout=60)
        assert isinstance(at_once, StatusReport)
        assert (at_once.revision, at_once.routes[0].path) == ("a1", "/mcp")

        held = asyncio.create_task(ask_status(gateway.base + "/", wait="b1", timeout=20))
        never = await ask_status(gateway.base, wait="never", timeout=0.05)
        assert isinstance(never, StatusReport)
        assert never.revision == "a1"
        assert not held.done()
        await gateway.proxy.apply(make_config({}, revision="b1"))
        told = await held
        assert isinstance(told, StatusReport)
        assert told.revision == "b1"


async def test_a_newer_proxy_may_say_more() -> None:
    more = MINIMAL | {"mood": "fine", "servers": [{"id": "a/b", "state": "ready", "load": 3}]}
    async with raw(always(as_json(more))) as url:
        told = await ask_status(url, wait=None, timeout=60)
    assert isinstance(told, StatusReport)
    assert told.servers[0].id == "a/b"


ANSWERS: dict[str, tuple[Reply, str]] = {
    "404": (http("404 Not Found"), "NotFound"),
    "500": (http("500 Internal Server Error", b"<html>"), "HTTPError"),
    "a redirect": (http("302 Found", location="http://127.0.0.1:1/"), "HTTPError"),
    "a web page": (http("200 OK", b"<html>", content_type="text/html"), "ProtocolError"),
    "another JSON": (as_json({"status": "ok"}), "ProtocolError"),
    "a cut": (http("200 OK", b"{", length=99, then="close"), "ConnectionReset"),
    "nothing": (Reply(then="close"), "ConnectionReset"),
    "silence": (Reply(then="hang"), "Timeout"),
    "half of it": (http("200 OK", b"{", length=99, then="hang"), "Timeout"),
    "too much": (http("200 OK", json.dumps(MINIMAL | {"pad": "x" * MAX_BODY}).encode()), "ProtocolError"),
}


@pytest.mark.parametrize(("reply", "error_class"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_none(reply: Reply, error_class: str) -> None:
    async with raw(always(reply)) as url:
        told = await ask_status(url, wait=None, timeout=0.3 if error_class == "Timeout" else 60)
    assert isinstance(told, ErrorReport)
    assert told.error_class == error_class, told.message


async def test_nobody_there() -> None:
    told = await ask_status(f"http://127.0.0.1:{dead_port()}", wait="b1", timeout=20)
    assert isinstance(told, ErrorReport)
    assert told.error_class == "ConnectionRefused"


async def test_what_has_not_changed_is_not_said_again() -> None:
    """The tag stands for all but what changes by itself: open sessions, times of checks."""
    async with running_gateway(make_config({}, revision="a1")) as gateway:
        told = Told()
        first = await ask_status(gateway.base, wait=None, timeout=60, told=told)
        assert isinstance(first, StatusReport)
        assert await ask_status(gateway.base, wait=None, timeout=60, told=told) is first
        again = await gateway.get("/status", headers={"if-none-match": told.tag})
        assert (again.status_code, again.content) == (304, b"")

        await gateway.proxy.apply(make_config({}, revision="b1"))
        second = await ask_status(gateway.base, wait=None, timeout=60, told=told)
        assert isinstance(second, StatusReport)
        assert (second.revision, told.report is second) == ("b1", True)


async def test_a_failure_forgets_what_was_told() -> None:
    told = Told('"x"', StatusReport.model_validate(MINIMAL))
    async with raw(always(http("500 Internal Server Error", b"<html>"))) as url:
        assert isinstance(await ask_status(url, wait=None, timeout=60, told=told), ErrorReport)
    assert told == Told()
    async with raw(always(http("304 Not Modified"))) as url:
        answer = await ask_status(url, wait=None, timeout=60, told=told)
    assert isinstance(answer, ErrorReport), "nobody asked whether it was modified"
