"""Live traffic: both legs of what goes by, to those whose it is, while they watch and no longer."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.server.dependencies import get_http_headers
from mcp import ClientSession
from mcp.client import Client as SDKClient
from mcp.client.sse import sse_client

from mcp_operator_proxy import recording
from mcp_operator_proxy.inspector import traffic
from mcp_operator_proxy.inspector.models import ExchangeItem, Traffic
from mcp_operator_proxy.recording import BODY_MOST, BYTES_MOST, EVERYBODY, Draft, Recorder
from support.backends import ServedMCP
from support.gateway import Gateway, make_config
from support.waiting import Eventually
from unit.proxy.rest.backends import STDIO, calculator
from unit.proxy.rest.conftest import problem

from .conftest import ALICE, AUTH, BOB, OPS, SECRETS, Inspect, ask, key


def connect(gateway: Gateway, who: str | None = None, mode: str = "auto") -> "Client[StreamableHttpTransport]":
    return Client(StreamableHttpTransport(gateway.url, headers=key(who) if who else {}), mode=mode)


async def watch(gateway: Gateway, who: str | None = None, **query: Any) -> Traffic:
    return Traffic.model_validate(await ask(gateway, "traffic", who, **query))


async def _heard(progress: float, total: float | None, message: str | None) -> None: ...


async def calls(gateway: Gateway, who: str | None = None) -> list[ExchangeItem]:
    return [one for one in (await watch(gateway, who)).exchanges if one.method == "tools/call"]


def talkative(**options: Any) -> ServedMCP:
    mcp: FastMCP[Any] = FastMCP("talkative")

    @mcp.tool
    async def talk(ctx: Context, password: str = "") -> dict[str, str]:
        """Says something on its way."""
        await ctx.report_progress(1, 2, "half way")
        return {"password": password, "said": "hello"}

    @mcp.tool
    def repeat() -> str:
        """Repeats what it was shown."""
        return f"it is {get_http_headers()['x-key']}"

    return ServedMCP(mcp, **options)


@pytest.mark.parametrize(
    ("era", "mode"), [("both", "auto"), ("legacy", "legacy"), ("both", "legacy"), ("legacy", "auto")]
)
@pytest.mark.parametrize("lane", [True, False])
async def test_both_legs_of_a_call(inspecting: Inspect, era: Any, mode: str, lane: bool) -> None:
    async with calculator(era=era) as served, inspecting({"calc": served.url}) as gateway:
        gateway.proxy.lane.enabled = lane
        assert (await watch(gateway)).exchanges == []
        async with connect(gateway, mode=mode) as client:
            for _ in range(2):
                await client.call_tool("calc_add", {"a": 1})
        first, found = await calls(gateway)
        assert first.id != found.id
        assert (found.route, found.server, found.method, found.name, found.outcome) == (
            "/mcp", "ns/calc", "tools/call", "calc_add", "ok",
        )  # fmt: skip
        assert found.lane is (lane and era == "both")  # this client's calls of older servers go the full way
        assert found.milliseconds > 0
        assert found.client.request["params"]["name"] == "calc_add"  # type: ignore[index, call-overload]
        assert found.client.response["result"]["structuredContent"] == {"result": 2}  # type: ignore[index, call-overload]
        assert found.backend is not None
        assert found.backend.request["params"]["name"] == "add"  # type: ignore[index, call-overload]
        assert found.backend.response["result"]["structuredContent"] == {"result": 2}  # type: ignore[index, call-overload]
        changed = {one.path: (one.before, one.after) for one in found.rewritten}
        assert changed["request.params.name"] == ("calc_add", "add")
        assert (found.session is not None) is (mode == "legacy")


async def test_what_goes_by_besides_calls(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        await watch(gateway)
        async with connect(gateway, mode="legacy") as client:
            await client.list_tools()
            await client.call_tool("calc_divide", {"a": 1, "b": 0}, raise_on_error=False)
            with pytest.raises(Exception, match="Unknown tool"):
                await client.call_tool("nothing")
        found = (await watch(gateway)).exchanges
        outcomes = {(one.method, one.name): one.outcome for one in found}
        assert outcomes["initialize", None] == "ok"
        assert outcomes["notifications/initialized", None] == "notification"
        assert outcomes["tools/list", None] == "ok"
        assert outcomes["tools/call", "calc_divide"] == "tool_error"
        assert outcomes["tools/call", "nothing"] == "error"
        listed = next(one for one in found if one.method == "tools/list")
        assert (listed.backend, listed.rewritten) == (None, [])  # the proxy answers lists by itself
        refused = next(one for one in found if one.name == "nothing")
        assert "Unknown tool" in json.dumps(refused.client.response)


@pytest.mark.parametrize("lane", [True, False])
async def test_notes_in_the_middle_of_a_call_and_secrets(inspecting: Inspect, lane: bool) -> None:
    async with talkative(era="both") as served, inspecting({"t": served.url}) as gateway:
        gateway.proxy.lane.enabled = lane
        await watch(gateway)
        async with connect(gateway, mode="legacy") as client:
            await client.call_tool("t_talk", {"password": "correct horse"}, progress_handler=_heard)
        (found,) = await calls(gateway)
        messages = found.client.response
        assert isinstance(messages, list)
        assert [message.get("method") for message in messages] == ["notifications/progress", None]  # type: ignore[union-attr]
        text = found.model_dump_json()
        assert "correct horse" not in text
        assert "•••" in text
        assert "hello" in text


async def test_a_stdio_server(inspecting: Inspect) -> None:
    servers = [{"id": "ns/noisy", "stdio": STDIO}]
    routes = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/noisy", "prefix": "n"}]}]
    async with inspecting({}, servers=servers, routes=routes) as gateway:
        await watch(gateway)
        async with connect(gateway) as client:
            await client.call_tool("n_pid")
        (found,) = await calls(gateway)
        assert (found.server, found.backend is not None) == ("ns/noisy", True)


async def test_what_a_server_is_shown_is_not_seen_where_it_repeats_it(inspecting: Inspect) -> None:
    secret = "the-key-of-the-server"
    server = {"headers": [{"name": "X-Key", "secret": {"file": "k"}}]}
    async with talkative() as served, inspecting({"t": served.url}, {"k": secret}, server=server) as gateway:
        await watch(gateway)
        async with connect(gateway) as client:
            assert (await client.call_tool("t_repeat")).data == f"it is {secret}"
        text = (await watch(gateway)).model_dump_json()
        assert secret not in text
        assert "it is •••" in text


async def test_calls_over_rest(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}, rest={"prefix": "/api"}) as gateway:
        await watch(gateway)
        body = {"tool_id": "calc.add", "parameters": {"a": 1}}
        assert (await gateway.http.post(f"{gateway.base}/api/tools/call", json=body)).status_code == 200
        start = {"user_id": "carol", "provider": "x", "oauth_token": "very-secret"}
        await gateway.http.post(f"{gateway.base}/api/sessions/start", json=start)
        found = await watch(gateway)
        (call,) = found.exchanges
        assert (call.route, call.method, call.name, call.outcome) == ("/api/tools/call", "tools/call", "calc.add", "ok")
        assert call.client.response["success"]  # type: ignore[index, call-overload]
        assert call.backend is not None
        assert call.backend.request["params"]["name"] == "add"  # type: ignore[index, call-overload]


@contextlib.asynccontextmanager
async def listening(gateway: Gateway, mode: str, eventually: Eventually) -> AsyncIterator[None]:
    """A client hears of changes: on the stream of its session, or on one of its own in the era that knows none."""
    if mode == "auto":
        async with SDKClient(gateway.url) as client, client.listen(tools_list_changed=True):
            yield
        return
    async with connect(gateway, mode="legacy"):

        async def streaming() -> bool:
            return any(s.has_stream for e in gateway.proxy.endpoints.values() for s in e.sessions.all())

        await eventually(streaming)
        yield


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_standing_streams(inspecting: Inspect, eventually: Eventually, mode: str) -> None:
    async with calculator() as served, calculator() as other, inspecting({"calc": served.url}) as gateway:
        await watch(gateway)
        async with listening(gateway, mode, eventually):
            await gateway.proxy.apply(make_config({"calc": served.url, "other": other.url}, inspector={}))

            async def told() -> list[ExchangeItem]:
                found = (await watch(gateway)).exchanges
                return [one for one in found if one.method == "notifications/tools/list_changed"]

            await eventually(told)
            one = (await told())[0]
        assert (one.outcome, one.client.request, one.backend) == ("notification", None, None)


async def test_clients_of_http_and_sse(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        await watch(gateway)
        async with (
            sse_client(f"{gateway.url}/sse") as streams,
            ClientSession(*streams) as session,
        ):
            await session.initialize()
            await session.call_tool("calc_add", {"a": 41})
        found = (await watch(gateway)).exchanges
        asked = next(one for one in found if one.method == "tools/call")
        assert asked.client.request["params"]["name"] == "calc_add"  # type: ignore[index, call-overload]
        told = [one.client.response for one in found if one.client.request is None]
        assert any(isinstance(message, dict) and "result" in message and "42" in str(message) for message in told)


async def test_each_sees_his_own_and_operators_all(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}, SECRETS, **AUTH) as gateway:
        for who in (ALICE, BOB, OPS):
            await watch(gateway, who)
        async with connect(gateway, ALICE) as alice, connect(gateway, BOB) as bob:
            await alice.call_tool("calc_add", {"a": 100})
            await bob.call_tool("calc_add", {"a": 200})
        assert {one.caller for one in (await watch(gateway, ALICE)).exchanges} == {"alice"}
        assert {one.caller for one in (await watch(gateway, BOB)).exchanges} == {"bob"}
        assert "200" not in json.dumps([one.model_dump(mode="json")["client"] for one in await calls(gateway, ALICE)])
        assert {one.caller for one in await calls(gateway, OPS)} == {"alice", "bob"}


async def test_only_of_those_who_are_watched_anything_is_kept(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}, SECRETS, **AUTH) as gateway:
        await watch(gateway, ALICE)
        async with connect(gateway, BOB) as bob:
            await bob.call_tool("calc_add", {"a": 1})
        recorder = gateway.proxy.services.inspector.recorder
        assert recorder is not None
        assert len(recorder) == 0
        assert (await watch(gateway, OPS)).exchanges == []


async def test_nobody_watches_no_one(inspecting: Inspect) -> None:
    more = {**AUTH, "auth": {**AUTH["auth"], "anonymous": True}}
    async with inspecting({}, SECRETS, **more) as gateway:
        problem(await gateway.get("/ui/api/traffic"), "forbidden")
        assert gateway.proxy.services.inspector.recorder is None


async def test_nothing_is_kept_while_nobody_watches(
    inspecting: Inspect, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        inspector, lane = gateway.proxy.services.inspector, gateway.proxy.lane
        async with connect(gateway) as client:
            await client.call_tool("calc_add", {"a": 1})
            assert (inspector.recorder, lane.recorder) == (None, None)
            monkeypatch.setattr(recording, "WATCH_SECONDS", 0.05)
            monkeypatch.setattr("mcp_operator_proxy.inspector.service.WATCH_SECONDS", 0.05)
            await watch(gateway)

            async def over() -> bool:
                return (inspector.recorder, lane.recorder) == (None, None)

            await eventually(over)
            await client.call_tool("calc_add", {"a": 1})
            assert (inspector.recorder, lane.recorder) == (None, None)


async def test_where_it_is_switched_off(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        await watch(gateway)
        assert gateway.proxy.lane.recorder is not None
        await gateway.proxy.apply(make_config({"calc": served.url}, inspector={"traffic": False}))
        assert gateway.proxy.lane.recorder is None
        problem(await gateway.get("/ui/api/traffic"), "not-found")
        assert not (await ask(gateway, "me"))["features"]["traffic"]


async def test_whoever_waits_is_answered_as_soon_as_there_is_something(inspecting: Inspect) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        begun = await watch(gateway)
        waiting = asyncio.create_task(watch(gateway, after=begun.last, wait=30))
        async with connect(gateway) as client:
            await client.list_tools()
            found = await waiting
            assert found.exchanges
            after = await watch(gateway, after=found.last)
            assert not {one.id for one in found.exchanges} & {one.id for one in after.exchanges}
        newest = (await watch(gateway)).last
        assert (await watch(gateway, after=newest, wait=0.01)).exchanges == []
        problem(await gateway.get("/ui/api/traffic?wait=31"), "invalid-request")
        problem(await gateway.get("/ui/api/traffic?after=x"), "invalid-request")


async def test_a_client_that_went_away(inspecting: Inspect, eventually: Eventually) -> None:
    async with calculator() as served, inspecting({"calc": served.url}) as gateway:
        await watch(gateway)
        async with connect(gateway) as client:
            calling = asyncio.create_task(client.call_tool("calc_slow"))

            async def under_way() -> bool:
                return len(gateway.proxy.lane) == 1

            await eventually(under_way)
            calling.cancel()

            async def kept() -> bool:
                return any(one.name == "calc_slow" for one in await calls(gateway))

            await eventually(kept)
        (slow,) = [one for one in await calls(gateway) if one.name == "calc_slow"]
        assert slow.outcome == "error"


def test_no_more_is_kept_than_may_be() -> None:
    recorder = Recorder(4)
    recorder.watch(EVERYBODY)
    for _ in range(10):
        recorder.keep(Draft("/mcp", None, None, b"{}"))
    assert len(recorder) == 4
    large = Recorder(10_000)
    for _ in range(2 * BYTES_MOST // BODY_MOST):
        large.keep(Draft("/mcp", None, None, b"x" * BODY_MOST))
    assert BYTES_MOST // 2 < sum(draft.size for draft in large.after(0)) <= BYTES_MOST
    huge = Draft("/mcp", None, None, b"x" * (BODY_MOST + 1))
    assert huge.size < 1024
    assert huge.sent is not None
    assert huge.sent.messages() is None


async def test_much_is_told_in_pages_and_read_beside_the_loop(
    inspecting: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    told = traffic.item

    def item(*given: Any) -> ExchangeItem:
        threads.add(threading.get_ident())
        return told(*given)

    monkeypatch.setattr(traffic, "item", item)
    async with inspecting({}) as gateway:
        begun = await watch(gateway)
        recorder = gateway.proxy.services.inspector.recorder
        assert recorder is not None
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"a": "y" * (BODY_MOST - 100)}}).encode()
        for _ in range(2 * traffic.PAGE_BYTES // BODY_MOST):
            recorder.keep(Draft("/mcp", None, None, body))
        seen, last, pages = [], begun.last, 0
        while (found := await watch(gateway, after=last)).exchanges:
            seen += [one.id for one in found.exchanges]
            last, pages = found.last, pages + 1
        assert (len(seen), len(set(seen))) == (len(recorder), len(recorder))
        assert pages > 1
        assert threading.get_ident() not in threads


def test_what_has_ended_grows_no_more() -> None:
    """A call that asked its user goes on after its exchange has ended."""
    recorder = Recorder(4)
    draft = Draft("/mcp", None, None, b"{}")
    draft.ask("ns/a", "tools/call", {})
    recorder.keep(draft)
    size = draft.size
    draft.ask("ns/a", "tools/call", {"a": "x" * 1000})
    draft.answer({"a": "x" * 1000})
    draft.fail({"code": 1, "message": "x" * 1000})
    assert draft.size == size
