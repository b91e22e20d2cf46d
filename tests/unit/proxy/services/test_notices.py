# ruff: noqa: SIM117 - nested, in the order in which they start
"""Notices: kept for the operator, and told to a webhook as signed CloudEvents until it takes them."""

import base64
import hashlib
import hmac
import json
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from mcp.shared.exceptions import MCPError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.services import notices as module
from mcp_operator_proxy.services.notices import KEPT, message_of, notice_id, retry_after, signing_key
from mcp_operator_proxy.swap.validate import ConfigRejected
from support.backends import ServedApp, client, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.stores import Redis

KEY = b"0123456789abcdef0123456789abcdef"
SECRETS = {"sign": "whsec_" + base64.b64encode(KEY).decode()}


class Hook:
    """A webhook that answers as `answers` says, and then takes what comes."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.came: list[tuple[dict[str, str], bytes]] = []

    def app(self) -> ASGIApp:
        async def take(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            body = await request.body()
            self.came.append((dict(request.headers), body))
            await (self.answers.pop(0) if self.answers else Response(status_code=204))(scope, receive, send)

        return take

    @property
    def events(self) -> list[CloudEvent]:
        found = [from_structured(HTTPMessage(h, b), JSONFormat(), CloudEvent) for h, b in self.came]
        return [event for event in found if isinstance(event, CloudEvent)]

    def messages(self) -> list[str]:
        return [json.loads(body)["data"]["message"] for _, body in self.came]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)


def configured(hook: ServedApp, **more: Any) -> ProxyConfig:
    return make_config(
        {}, notices={"webhook": hook.url, "signingKey": {"file": "sign"}, **more.pop("notices", {})}, **more
    )


def outcome(running: Gateway, kind: str, what: str) -> float:
    found = running.proxy.metrics.registry.get_sample_value("mcp_proxy_notices_total", {"type": kind, "outcome": what})
    return found or 0.0


async def test_a_signed_cloud_event() -> None:
    hook = Hook()
    async with ServedApp(hook.app) as served, running_gateway(configured(served), SECRETS) as running:
        running.proxy.services.notices.tell("server.restarted", "ns/a", {"message": "it ended", "restarts": 1})
        await eventually(lambda: hook.came)
        (headers, body), (event,) = hook.came[0], hook.events
        (kept,) = running.proxy.status().notices
        assert headers["content-type"].startswith("application/cloudevents+json")
        assert (event.get_specversion(), event.get_type(), event.get_subject(), event.get_id()) == (
            "1.0",
            "dev.mcp-operator.server.restarted",
            "ns/a",
            kept.id,
        )
        assert event.get_time() == kept.time
        assert event.get_data() == {"message": "it ended", "restarts": 1}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert headers["webhook-id"] == kept.id
        await eventually(lambda: outcome(running, "server.restarted", "delivered") == 1)


async def test_what_everybody_may_read_names_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The webhook and the log hear it all; the id follows from what is shown, else names could be tried against it."""
    hook = Hook()
    async with ServedApp(hook.app) as served, running_gateway(configured(served), SECRETS) as running:
        tell = running.proxy.services.notices.tell
        for user, shown in (("ann", "user 1"), ("bob", "user 2")):
            tell(
                "credential.not-refreshed", "azure", {"message": f"of {user}", "user": user}, {"message": f"of {shown}"}
            )
        await eventually(lambda: len(hook.came) == 2)
        assert [event.get_data() for event in hook.events] == [
            {"message": "of ann", "user": "ann"},
            {"message": "of bob", "user": "bob"},
        ]
        status = (await running.get("/status")).json()["notices"]
        assert [notice["message"] for notice in status] == ["of user 1", "of user 2"]
        ids = [notice_id("credential.not-refreshed", "azure", {"message": f"of user {n}"}) for n in (1, 2)]
        assert [notice["id"] for notice in status] == [headers["webhook-id"] for headers, _ in hook.came] == ids
        assert [r.__dict__["notice"] for r in caplog.records if r.message == "notice"] == ["of ann", "of bob"]


async def test_it_is_told_again_until_it_is_taken_and_in_order() -> None:
    hook = Hook(Response(status_code=500), Response(status_code=429, headers={"retry-after": "0"}), Response("x", 302))
    async with ServedApp(hook.app) as served, running_gateway(configured(served), SECRETS) as running:
        for number in range(3):
            running.proxy.services.notices.tell("server.restarted", "ns/a", {"message": f"m{number}"})
        await eventually(lambda: len(hook.came) == 6)
        assert hook.messages() == ["m0", "m0", "m0", "m0", "m1", "m2"]
        assert len({headers["webhook-id"] for headers, _ in hook.came}) == 3


async def test_one_that_is_not_taken_does_not_hold_up_those_behind_it_for_ever() -> None:
    hook = Hook(*[Response(status_code=500) for _ in range(3)], Response(status_code=410))
    async with ServedApp(hook.app) as served:
        async with running_gateway(configured(served, notices={"attempts": 3}), SECRETS) as running:
            for message in ("never", "gone", "taken"):
                running.proxy.services.notices.tell("server.gave-up", "ns/a", {"message": message})
            await eventually(lambda: outcome(running, "server.gave-up", "delivered") == 1)
            assert hook.messages() == ["never"] * 3 + ["gone", "taken"]
            assert outcome(running, "server.gave-up", "failed") == 2


async def test_only_the_types_that_are_asked_for_and_each_content_once() -> None:
    hook = Hook()
    async with ServedApp(hook.app) as served:
        config = configured(served, notices={"types": ["definition.changed"]})
        async with running_gateway(config, SECRETS) as running:
            notices = running.proxy.services.notices
            notices.tell("server.restarted", "ns/a", {"message": "quiet"})
            for _ in range(3):
                notices.tell("definition.changed", "ns/a", {"tool": "t", "digest": "d"})
            await eventually(lambda: outcome(running, "definition.changed", "delivered") == 1)
            assert hook.messages() == ["tool: t, digest: d"]
            assert [notice.type for notice in notices.newest] == ["server.restarted", "definition.changed"]


async def test_the_newest_are_kept_without_any_webhook() -> None:
    async with running_gateway(make_config({})) as running:
        for number in range(KEPT + 5):
            running.proxy.services.notices.tell("server.restarted", "ns/a", {"message": str(number)})
        status = (await running.get("/status")).json()
        assert [notice["message"] for notice in status["notices"]] == [str(n) for n in range(5, KEPT + 5)]


async def test_what_does_not_fit_the_queue_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    hook = Hook(Response(status_code=500))
    async with ServedApp(hook.app) as served, running_gateway(configured(served), SECRETS) as running:
        for number in range(5):
            running.proxy.services.notices.tell("server.restarted", "ns/a", {"message": str(number)})
        assert outcome(running, "server.restarted", "dropped") == 3
        await eventually(lambda: outcome(running, "server.restarted", "delivered") == 2)


async def test_the_webhook_obeys_the_egress_rule_and_redirects_are_not_followed() -> None:
    caught, hook = Hook(), Hook()
    async with ServedApp(caught.app) as other:
        hook.answers = [RedirectResponse(other.url, 307) for _ in range(2)]
        async with ServedApp(hook.app) as served:
            config = configured(served, notices={"attempts": 2})
            async with running_gateway(config, SECRETS, egress=Egress(loopback=True)) as running:
                running.proxy.services.notices.tell("server.gave-up", "ns/a", {"message": "m"})
                await eventually(lambda: outcome(running, "server.gave-up", "failed") == 1)
            async with running_gateway(config, SECRETS, egress=Egress()) as running:
                running.proxy.services.notices.tell("server.gave-up", "ns/a", {"message": "m"})
                await eventually(lambda: outcome(running, "server.gave-up", "failed") == 1)
        assert (len(hook.came), len(caught.came)) == (2, 0)


async def test_what_all_replicas_see_is_told_by_one(redis_server: Redis) -> None:
    hook = Hook()
    stores = {"redis": {"file": "redis"}, "encryptionKeys": [{"file": "key"}]}
    secrets = {**SECRETS, "redis": redis_server.url, "key": "k" * 40}
    async with ServedApp(hook.app) as served:
        config = configured(served, stores=stores)
        async with running_gateway(config, secrets) as one, running_gateway(config, secrets) as other:
            for running in (one, other):
                running.proxy.services.notices.tell("definition.quarantined", "ns/a", {"tool": "t", "digest": "d"})
                running.proxy.services.notices.tell("server.restarted", "ns/a", {"message": "m", "r": id(running)})

            def told(kind: str, what: str) -> float:
                return outcome(one, kind, what) + outcome(other, kind, what)

            await eventually(lambda: told("server.restarted", "delivered") == 2)
            assert told("definition.quarantined", "delivered") == 1
            assert told("definition.quarantined", "elsewhere") == 1
            assert len(hook.came) == 3


CRASHING: str = """
    import json, sys
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                      "serverInfo": {"name": "s", "version": "1"}}
        elif message.get("method") == "tools/list":
            result = {"tools": [{"name": "end", "inputSchema": {"type": "object"}}]}
        elif message.get("method") == "tools/call":
            sys.exit(3)
        else:
            result = {}
        if "id" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def stdio(tmp_path: Path, program: str) -> ProxyConfig:
    (tmp_path / "server.py").write_text(textwrap.dedent(program))
    command = {"command": sys.executable, "args": [str(tmp_path / "server.py")], "maxRestarts": 2}
    servers = [{"id": "ns/s", "stdio": command}]
    routes = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/s", "prefix": ""}]}]
    return ProxyConfig.model_validate({"revision": "r1", "servers": servers, "routes": routes})


async def test_a_process_that_ends_is_told(tmp_path: Path) -> None:
    async with running_gateway(stdio(tmp_path, CRASHING)) as running:
        (server,) = running.proxy.status().servers
        assert server.process is not None
        before = server.process.pid
        assert before is not None
        async with client(running.url) as through:
            with pytest.raises(MCPError):
                await through.call_tool("end", {})
        await eventually(lambda: running.proxy.status().notices)
        notice = running.proxy.status().notices[0]
        assert (notice.type, notice.subject) == ("server.restarted", "ns/s")
        assert "3" in notice.message


async def test_a_process_that_never_stays_is_given_up_once(tmp_path: Path) -> None:
    async with running_gateway(stdio(tmp_path, "import sys\nsys.exit(7)\n"), warm_seconds=0.1) as running:

        def kinds() -> list[str]:
            return [notice.type for notice in running.proxy.status().notices]

        await eventually(lambda: "server.gave-up" in kinds())
        assert kinds().count("server.gave-up") == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [("short", "at least 24 characters"), ("whsec_!!!", "base64"), ("whsec_c2hvcnQ=", "24 bytes")],
)
async def test_a_key_that_can_not_sign_is_refused_without_showing_it(text: str, problem: str) -> None:
    hook = ServedApp(Hook().app)
    async with running_gateway() as running:
        with pytest.raises(ConfigRejected, match=f"notices.signingKey: .*{problem}") as caught:
            await running.proxy.apply(configured(hook), {"sign": text})
        assert text not in str(caught.value)


def test_keys_in_both_forms() -> None:
    assert signing_key(SECRETS["sign"]) == KEY
    assert signing_key("x" * 24) == b"x" * 24


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("7", 7.0), ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0), ("soon", None), ("-1", None)],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC).timestamp()) == seconds


def test_a_message_holds_no_credential() -> None:
    assert "hunter2hunter2" not in message_of({"message": "Authorization: Bearer hunter2hunter2 failed"})
    assert "user:pass" not in message_of({"error": "GET https://user:pass@host/x"})
