"""The bridge with processes of the 2026-07-28 era.

Cases: found out once for each process, whatever it does when it is asked in the wrong era · discovered · called · questions
in results · progress · log messages · headers against body · the wrong era · cancelled by leaving · a subscription: its id,
changes, its end, over a crash, over a rest, without the server's help, at the end · a crash in the middle of a call · a hung one ·
a process for each key, for each call, for each user · requests of the server.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_operator_proxy.bridge import modern
from mcp_operator_proxy.bridge.divided import DividedHub
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.users import UsersHub
from mcp_operator_proxy.bridge.versions import MODERN_VERSIONS
from unit.proxy.bridge.conftest import Start
from unit.proxy.bridge.harness import SERVERS, Client, http_client, messages_of, on_socket, until

JSON = dict[str, Any]
TOOLS_CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"


def server(*options: str) -> tuple[str, ...]:
    return (sys.executable, "-S", str(SERVERS / "modern_server.py"), *options)


class Modern:
    """A client of the era, request by request."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self.url, self.http = url, http
        self._ids = itertools.count(1)

    def written(self, method: str, params: JSON, meta: JSON, headers: JSON) -> tuple[JSON, JSON]:
        said = {**modern.envelope()["_meta"], **meta}
        body = {"jsonrpc": "2.0", "id": f"id-{next(self._ids)}", "method": method, "params": {**params, "_meta": said}}
        sent = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": method,
            **({"mcp-name": params["name"]} if method == "tools/call" else {}),
            **headers,
        }
        return body, sent

    async def post(self, method: str, params: JSON | None = None, meta: JSON | None = None, **headers: str) -> Any:
        body, sent = self.written(method, params or {}, meta or {}, headers)
        return await self.http.post(self.url, json=body, headers=sent)

    async def stream_of(self, tool: str, meta: JSON | None = None, /, **arguments: Any) -> list[JSON]:
        return messages_of(await self.post("tools/call", {"name": tool, "arguments": arguments}, meta))

    async def call(self, tool: str, **arguments: Any) -> JSON:
        last = (await self.stream_of(tool, **arguments))[-1]
        assert "result" in last, last
        found: JSON = last["result"]["structuredContent"]
        return found

    async def cancelled(self) -> list[object]:
        """Ids of the requests that the server was told to give up."""
        heard = (await self.call("heard"))["received"]
        return [m["params"]["requestId"] for m in heard if m["method"] == "notifications/cancelled"]

    @asynccontextmanager
    async def listening(self, **wanted: Any) -> AsyncIterator["Stream"]:
        body, sent = self.written("subscriptions/listen", {"notifications": wanted}, {}, {})
        async with self.http.stream("POST", self.url, json=body, headers=sent) as response:
            assert response.status_code == 200, await response.aread()
            yield Stream(body["id"], response.aiter_lines())


class Stream:
    """What comes on a subscription. All of it bears the id of its request."""

    def __init__(self, request_id: str, lines: AsyncIterator[str]) -> None:
        self._id, self._lines = request_id, lines

    async def next(self) -> JSON:
        async with asyncio.timeout(60):
            async for line in self._lines:
                if line.startswith("data:"):
                    message: JSON = json.loads(line[5:])
                    body = message.get("params") or message.get("result") or {}
                    assert body["_meta"][modern.SUBSCRIPTION] == self._id
                    return message
        raise AssertionError("the stream has ended")

    async def until(self, method: str) -> JSON:
        while (message := await self.next()).get("method") != method:
            pass
        return message


@asynccontextmanager
async def over_tcp(bridge: Bridge) -> AsyncIterator[Modern]:
    async with http_client() as http:
        yield Modern(bridge.url, http)


@asynccontextmanager
async def over_socket(bridge: Bridge, query: str = "") -> AsyncIterator[Modern]:
    async with on_socket(bridge, query) as client:
        yield Modern(client.url, client.http)


def test_what_is_written_down_here_is_what_the_library_says() -> None:
    assert MODERN_VERSIONS == MODERN_PROTOCOL_VERSIONS
    for code, status in ERROR_CODE_HTTP_STATUS.items():
        assert modern.status_of({"error": {"code": code}}) == status


# The era


@pytest.mark.parametrize(
    ("options", "processes"),
    [((), 1), (("--bound",), 2), (("--dies",), 2)],
    ids=["it refuses initialize", "it is bound by what it refused", "it dies of initialize"],
)
async def test_a_modern_process_is_found_out_once(
    start: Start, tmp_path: Path, options: tuple[str, ...], processes: int
) -> None:
    starts = tmp_path / "starts"
    bridge = await start(*server("--starts", str(starts), *options))
    async with over_tcp(bridge) as client:
        first = await client.call("echo", x=1)
        assert first["x"] == 1
        assert len(starts.read_text().split()) == processes
        await client.stream_of("crash", code=3)
        assert (await client.call("echo"))["pid"] != first["pid"]
        assert len(starts.read_text().split()) == processes + 1, "the next one is asked in its era at once"
        methods = [m["method"] for m in (await client.call("heard"))["received"]]
        assert "initialize" not in methods
        assert methods[0] == "server/discover"
    health = bridge.hub.health()
    assert health.details == {"protocolVersion": "2026-07-28", "serverInfo": {"name": "modern", "version": "1"}}


async def test_a_process_of_both_eras_gets_the_handshake(start: Start) -> None:
    bridge = await start(*server("--both"))
    async with http_client() as http:
        client = Client(bridge.url, http)
        assert (await client.initialize())["result"]["protocolVersion"] == "2025-11-25"
        assert (await client.call("echo", x=1))["x"] == 1
        refused = await Modern(bridge.url, http).post("server/discover")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == -32022


async def test_it_is_discovered_and_its_lists_may_change_at_any_time(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client:
        found = (await client.post("server/discover")).json()["result"]
        listed = (await client.post("tools/list")).json()["result"]
    assert found["supportedVersions"] == ["2026-07-28"]
    assert found["capabilities"]["tools"] == {"listChanged": True}
    assert "echo" in {tool["name"] for tool in listed["tools"]}


async def test_a_client_of_the_handshake_eras_is_told_what_is_spoken(start: Start) -> None:
    bridge = await start(*server())
    async with http_client() as http:
        error = (await Client(bridge.url, http).initialize())["error"]
    assert error["code"] == -32022
    assert error["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}


@pytest.mark.parametrize(
    ("headers", "wrong"),
    [
        ({"mcp-method": "tools/list"}, "mcp-method"),
        ({"mcp-name": "crash"}, "mcp-name"),
        ({"mcp-protocol-version": "2025-11-25"}, "mcp-protocol-version"),
    ],
)
async def test_headers_say_what_the_body_says(start: Start, headers: dict[str, str], wrong: str) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client:
        await client.call("echo")
        refused = await client.post("tools/call", {"name": "echo"}, **headers)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == -32020
    assert wrong in refused.json()["error"]["message"]


# Calls


async def test_questions_in_a_result_and_their_answers_pass_through(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client:
        asked = (await client.post("tools/call", {"name": "ask"})).json()["result"]
        assert asked["resultType"] == "input_required"
        assert asked["inputRequests"]["one"]["method"] == "elicitation/create"
        more = {"inputResponses": {"one": {"action": "decline"}}, "requestState": asked["requestState"]}
        told = (await client.post("tools/call", {"name": "ask", **more})).json()["result"]["structuredContent"]
    assert (told["answers"], told["state"]) == (more["inputResponses"], "state-1")


async def test_progress_comes_with_the_clients_own_token(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client:
        *notes, last = await client.stream_of("progress", {"progressToken": "mine"}, steps=3)
    assert [note["params"] for note in notes] == [{"progressToken": "mine", "progress": n} for n in range(3)]
    assert last["id"].startswith("id-")


async def test_a_log_message_is_for_the_call_that_asked_if_it_can_be_no_others(start: Start) -> None:
    bridge = await start(*server())
    asks = {modern.LOG_LEVEL: "info"}
    async with over_tcp(bridge) as client:
        note, _ = await client.stream_of("say", asks, level="warning", data="mine")
        assert note["params"]["data"] == "mine"
        assert len(await client.stream_of("say", asks, level="debug", data="less than wanted")) == 1
        assert len(await client.stream_of("say", level="error", data="not asked for")) == 1
        holding = asyncio.create_task(client.call("hold", key="a"))
        await until(lambda: _has_held(client))
        assert len(await client.stream_of("say", asks, level="error", data="whose?")) == 1
        await client.call("release", key="a")
        assert (await holding)["key"] == "a"


async def _has_held(client: Modern) -> bool:
    heard = (await client.call("heard"))["received"]
    return any(m.get("params", {}).get("name") == "hold" for m in heard)


@pytest.mark.parametrize(
    ("asked", "alike", "hearers"),
    [
        ([None], True, []),
        (["info"], False, [0]),
        (["error"], False, []),
        (["nonsense"], False, []),
        (["info", None], False, []),
        (["info", None, "debug", "error"], True, [0, 2]),
    ],
)
def test_who_hears_a_log_message(asked: list[str | None], *, alike: bool, hearers: list[int]) -> None:
    requests = [{"method": "tools/call", "params": {"_meta": {modern.LOG_LEVEL: level}}} for level in asked]
    assert modern.hearers(requests, "warning", alike=alike) == hearers


async def test_leaving_a_call_cancels_it(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client, over_tcp(bridge) as other:
        leaving = asyncio.create_task(client.call("hold", key="a"))
        await until(lambda: _has_held(other))
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)

        async def told() -> bool:
            return len(await other.cancelled()) == 1

        await until(told)


async def test_a_notification_is_taken_and_a_request_of_the_server_refused(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client:
        await client.call("demand")

        async def refused() -> bool:
            heard = (await client.call("heard"))["received"]
            return any(m.get("id") == "demanded" and m.get("error", {}).get("code") == -32601 for m in heard)

        await until(refused)
        body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        response = await client.http.post(
            client.url, json=body, headers={"mcp-protocol-version": "2026-07-28", "accept": "*/*"}
        )
    assert response.status_code == 202


async def test_a_crash_in_the_middle_of_a_call_fails_that_call_alone(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client, over_tcp(bridge) as other:
        holding = asyncio.create_task(client.stream_of("hold", key="a"))
        await until(lambda: _has_held(other))
        (crashed,) = await other.stream_of("crash", code=4, words="no disk\n")
        (held,) = await holding
        assert (await client.call("echo", x=2))["x"] == 2
    for answer in (crashed, held):
        assert answer["error"]["code"] == -32011
        assert "exited with code 4; last standard error: no disk" in answer["error"]["message"]


async def test_a_process_that_no_longer_answers_discovery_is_replaced(start: Start) -> None:
    bridge = await start(*server(), ping=1.0)
    async with over_tcp(bridge) as client:
        async with client.listening(toolsListChanged=True) as stream:
            await stream.until(modern.ACKNOWLEDGED)
            pid = (await client.call("echo"))["pid"]
            await client.call("stuck")
            await until(lambda: bridge.hub.health().restarts >= 1)
            assert (await client.call("echo"))["pid"] != pid
            assert (await stream.until(TOOLS_CHANGED))["method"] == TOOLS_CHANGED
        assert "did not answer" in str(bridge.hub.health().last_error)


# Subscriptions


async def test_a_subscription_hears_what_it_asked_for_until_it_is_left(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client:
        async with (
            client.listening(toolsListChanged=True) as lists,
            client.listening(resourceSubscriptions=["memo://a"]) as one,
        ):
            assert (await lists.next())["params"]["notifications"] == {"toolsListChanged": True}
            await one.until(modern.ACKNOWLEDGED)
            await client.call("add", name="new")
            await client.call("touch", uri="memo://a")
            assert (await lists.next())["method"] == TOOLS_CHANGED
            assert (await one.next())["params"]["uri"] == "memo://a"

        async def told() -> bool:
            return len(await client.cancelled()) == 2

        await until(told)


async def test_a_subscription_goes_on_after_a_crash(start: Start) -> None:
    bridge = await start(*server())
    async with (
        over_tcp(bridge) as client,
        client.listening(toolsListChanged=True, resourceSubscriptions=["memo://a"]) as stream,
    ):
        await stream.until(modern.ACKNOWLEDGED)
        await client.stream_of("crash", code=1)
        assert {(await stream.next())["method"] for _ in range(2)} == {TOOLS_CHANGED, UPDATED}, "all may be different"
        await client.call("touch", uri="memo://a")
        assert (await stream.next())["method"] == UPDATED


async def test_a_process_that_rests_is_not_started_for_a_subscription(start: Start) -> None:
    bridge = await start(*server(), lazy=True, process_idle=0.2)
    async with over_tcp(bridge) as client:
        await client.call("echo")
        await client.post("tools/list")
        async with client.listening(toolsListChanged=True) as stream:
            await stream.until(modern.ACKNOWLEDGED)
            await until(lambda: bridge.hub.health().processes == 0)
            async with client.listening(resourceSubscriptions=["memo://a"]) as another:
                await another.until(modern.ACKNOWLEDGED)
                assert "echo" in (await client.post("tools/list")).text
                assert (await client.post("server/discover")).status_code == 200
                assert bridge.hub.health().processes == 0
                await client.call("add", name="new")
                await client.call("touch", uri="memo://a")
                await another.until(UPDATED)
            await stream.until(TOOLS_CHANGED)


async def test_where_the_server_has_no_subscriptions_restarts_are_told(start: Start) -> None:
    bridge = await start(*server("--no-listen"))
    async with over_tcp(bridge) as client, client.listening(toolsListChanged=True) as stream:
        await stream.until(modern.ACKNOWLEDGED)
        await client.stream_of("crash", code=1)
        await stream.until(TOOLS_CHANGED)


async def test_a_subscription_ends_in_order_with_the_bridge(start: Start) -> None:
    bridge = await start(*server())
    async with over_tcp(bridge) as client, client.listening(toolsListChanged=True) as stream:
        await stream.until(modern.ACKNOWLEDGED)
        bridge.stop()
        assert (await stream.next())["result"]["resultType"] == "complete"


# Whose process


async def test_over_tcp_a_process_serves_one_call_at_a_time(start: Start) -> None:
    bridge = await start(*server(), isolation="session")
    async with over_tcp(bridge) as client:
        holding = asyncio.create_task(client.call("hold", key="a"))
        await until(lambda: bridge.hub.health().processes > 0)
        await until(lambda: bridge.hub.busy)
        pids = {(await client.call("echo"))["pid"] for _ in range(3)}
        assert len(pids) == 1, "it is used again"
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await until(lambda: bridge.hub.health().processes == 1)
        assert {(await client.call("echo"))["pid"]} == pids, "the one that was left in the middle of a call has ended"


@pytest.fixture
def socket(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("s") / "s")


async def test_who_gives_a_key_has_a_process_until_it_leaves(start: Start, socket: str) -> None:
    bridge = await start(*server(), uds=socket, isolation="session", preflight=False, max_processes=2, evict_idle=60)
    async with (
        over_socket(bridge, "session=a") as a,
        over_socket(bridge, "session=b") as b,
        over_socket(bridge, "session=c") as c,
        over_socket(bridge, "for=catalogue") as lists,
    ):
        catalogue = (await lists.call("echo"))["pid"]
        pids = [(await client.call("echo"))["pid"] for client in (a, b, a)]
        assert pids[0] == pids[2]
        assert len({catalogue, *pids}) == 3
        (refused,) = await c.stream_of("echo")
        assert refused["error"]["data"] == {"reason": "TooManyProcesses", "limit": 2}
        (crashed,) = await a.stream_of("crash", code=1)
        assert crashed["error"]["code"] == -32011
        assert (await a.call("echo"))["pid"] not in pids
        bridge.hub.leave("b")
        await until(lambda: not psutil.pid_exists(pids[1]))
        assert (await c.call("echo"))["pid"]


async def test_each_user_has_a_process(start: Start, socket: str) -> None:
    bridge = await start(*server(), uds=socket, isolation="user", preflight=False)
    async with (
        over_socket(bridge, "user=a&session=1") as a,
        over_socket(bridge, "user=a") as again,
        over_socket(bridge, "user=b") as b,
        over_socket(bridge) as nobody,
    ):
        pids = [(await client.call("echo"))["pid"] for client in (a, again, b)]
        assert pids[0] == pids[1] != pids[2]
        (refused,) = await nobody.stream_of("echo")
        assert refused["error"]["data"] == {"reason": "NoUser"}
        async with a.listening(resourceSubscriptions=["memo://a"]) as stream:
            await stream.until(modern.ACKNOWLEDGED)
            assert isinstance(bridge.hub, DividedHub)
            assert isinstance(bridge.hub._clients, UsersHub)
            bridge.hub._clients._users["a"].hub.rest()  # as when it has been idle for long
            await until(lambda: not psutil.pid_exists(pids[0]))
            await b.call("touch", uri="memo://a")
            await again.call("touch", uri="memo://a")
            await stream.until(UPDATED)
