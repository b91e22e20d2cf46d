# ruff: noqa: SIM117 - nested, in the order in which they start
"""A legacy server asks a modern client in the middle of a call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client import Client as SDKClient
from mcp.client.session import ClientRequestContext
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

from mcp_operator_proxy.eras import parked
from mcp_operator_proxy.eras.parked import ParkingLot
from support.backends import ServedMCP, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.modern import ModernClient
from support.replicas import SIGNED, running_replicas
from unit.proxy.eras.asking import AskingServer

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
ALL = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
KEYS = {"ann": "k-ann-0123456789abcdef", "bob": "k-bob-0123456789abcdef"}


def accept(answer: str) -> dict[str, Any]:
    return {"action": "accept", "content": {"answer": answer}}


@contextlib.asynccontextmanager
async def serving(**more: Any) -> AsyncIterator[tuple[AskingServer, ServedMCP, Gateway]]:
    """A legacy server behind a proxy, to which a busy machine may connect slowly."""
    secrets = more.pop("secrets", None)
    more["server"] = {"connectTimeoutSeconds": 60, **more.get("server", {})}
    asking = AskingServer()
    async with ServedMCP(asking.mcp, era="legacy") as served:
        async with running_gateway(make_config({"a": served.url}, **more), secrets) as gateway:
            yield asking, served, gateway


async def ended(gateway: Gateway, outcome: str) -> float:
    return await gateway.metric(f'mcp_proxy_parked_calls_ended_total{{outcome="{outcome}",route="/mcp"}}')


def lot_of(gateway: Gateway) -> ParkingLot:
    return gateway.proxy.endpoints["/mcp"].parked


async def test_a_client_library_is_led_through_everything() -> None:
    async def elicit(_: ClientRequestContext, params: Any) -> ElicitResult:
        if params.mode == "url":
            assert params.url == "https://example.org/"
            return ElicitResult(action="accept")
        return ElicitResult(action="accept", content={"answer": f"[{params.message}]"})

    async def sample(_: ClientRequestContext, params: Any) -> CreateMessageResult:
        text = f"<{params.messages[0].content.text}>"
        return CreateMessageResult(role="assistant", model="m", content=TextContent(type="text", text=text))

    async def roots(_: ClientRequestContext) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri="file:///home")])  # type: ignore[arg-type]

    async with serving() as (_, served, gateway):
        async with SDKClient(
            gateway.url,
            mode="2026-07-28",
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
        ) as client:
            expected = {
                "a_ask": "accept [for you]",
                "a_thrice": "accept [question 1], accept [question 2], accept [question 3]",
                "a_several": "accept [one], accept [two], <3>",
                "a_sample": "<say>",
                "a_roots": "file:///home",
                "a_visit": "accept",
                "a_plain": "plain",
            }
            for tool, text in expected.items():
                result = await client.call_tool(tool, {})
                assert [c.text for c in result.content] == [text], tool  # type: ignore[union-attr]
            prompt = await client.get_prompt("a_prompted")
            assert prompt.messages[0].content.text == "accept [for a prompt]"  # type: ignore[union-attr]
            read = await client.read_resource("data://a/asked/x")
            assert read.contents[0].text == "accept [for x]"  # type: ignore[union-attr]
        assert served.methods.count("tools/call") == len(expected)
        assert len(lot_of(gateway)) == 0


async def test_questions_come_one_after_the_other() -> None:
    async with serving() as (_, served, gateway), ModernClient(gateway.url, ALL) as client:
        answer = await client.call("a_thrice")
        states = set()
        for number in (1, 2, 3):
            ((key, question),) = answer.questions.items()
            assert question["method"] == "elicitation/create"
            assert question["params"]["message"] == f"question {number}"
            states.add(answer.state)
            answer = await client.go_on(answer, "a_thrice", {key: accept(str(number))})
        assert answer.text == "accept 1, accept 2, accept 3"
        assert len(states) == 3
        assert served.methods.count("tools/call") == 1


async def test_questions_that_are_left_open_are_asked_again() -> None:
    async with serving() as (_, _, gateway), ModernClient(gateway.url, ALL) as client:
        answer = await client.call("a_several")
        answered: list[str] = []
        while answer.result is not None and answer.result["resultType"] == "input_required":
            key, question = next(iter(answer.questions.items()))
            if question["method"] == "elicitation/create":
                reply = accept(question["params"]["message"])
            else:
                reply = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "three"}}
            answered.append(key)
            answer = await client.go_on(answer, "a_several", {key: reply, "unknown": {"action": "cancel"}})
        assert answer.text == "accept one, accept two, three"
        assert len(answered) == len(set(answered)) == 3


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_no_reaches_the_server(action: str) -> None:
    async with serving() as (_, _, gateway), ModernClient(gateway.url, ALL) as client:
        answer = await client.call("a_ask")
        assert (await client.go_on(answer, "a_ask", {next(iter(answer.questions)): {"action": action}})).text == (
            f"{action} None"
        )


async def test_what_the_client_cannot_answer_is_refused_at_once() -> None:
    async with serving() as (_, _, gateway):
        async with ModernClient(gateway.url, {"elicitation": {}}) as client:
            assert (await client.call("a_sample")).text.startswith("error ")
            assert (await client.call("a_visit")).text.startswith("error -32602")
            assert (await client.call("a_ask")).state
        async with ModernClient(gateway.url) as client:
            assert (await client.call("a_ask")).text.startswith("error ")
            assert (await client.call("a_plain")).text == "plain"


async def test_a_state_serves_only_its_own_request() -> None:
    keys = [{"name": name, "secret": {"file": name}} for name in KEYS]
    async with serving(auth={"apiKeys": keys}, secrets=KEYS) as (asking, _, gateway):
        async with (
            ModernClient(gateway.url, ALL, key=KEYS["ann"]) as ann,
            ModernClient(gateway.url, ALL, key=KEYS["bob"]) as bob,
        ):
            first = await ann.call("a_ask", {"who": "ann"})
            (key,) = first.questions
            reply = {key: accept("x")}
            at = len(first.state) // 2
            forged = first.state[:at] + ("A" if first.state[at] != "A" else "B") + first.state[at + 1 :]
            for refused in (
                await bob.go_on(first, "a_ask", reply, {"who": "ann"}),
                await ann.go_on(first, "a_ask", reply, {"who": "bob"}),
                await ann.go_on(first, "a_thrice", reply, {"who": "ann"}),
                await ann.call("a_ask", {"who": "ann"}, requestState=forged, inputResponses=reply),
                await ann.call("a_ask", {"who": "ann"}, requestState="of a server", inputResponses=reply),
                await ann.call("a_ask", {"who": "ann"}, inputResponses=reply),
                await ann.go_on(first, "a_ask", {key: {"action": "perhaps"}}, {"who": "ann"}),
            ):
                assert refused.error is not None
                assert refused.error["code"] == -32602
                assert asking.runs == 1
            assert (await ann.go_on(first, "a_ask", reply, {"who": "ann"})).text == "accept x"
            again = await ann.go_on(first, "a_ask", reply, {"who": "ann"})
            assert again.error == {"code": -32602, "message": parked.LOST, "data": {"reason": "invalid_request_state"}}
            assert asking.runs == 1


async def test_two_answers_to_one_question() -> None:
    async with serving() as (_asking, _, gateway), ModernClient(gateway.url, ALL) as client:
        first = await client.call("a_thrice")
        reply = {next(iter(first.questions)): accept("x")}
        both = await asyncio.gather(*(client.go_on(first, "a_thrice", reply) for _ in range(2)))
        (won,) = [answer for answer in both if answer.error is None]
        assert won.questions
        (lost,) = [answer.error for answer in both if answer.error is not None]
        assert lost["message"] == parked.LOST


async def test_the_clock_stands_still_and_the_place_is_free_while_a_call_is_parked() -> None:
    async with serving(server={"callTimeoutSeconds": 20, "maxConcurrency": 1}) as (_, _, gateway):
        async with ModernClient(gateway.url, ALL) as client:
            waiting = [await client.call("a_ask", {"who": str(number)}) for number in range(3)]
            assert len(lot_of(gateway)) == await gateway.metric('mcp_proxy_parked_calls{route="/mcp"}') == 3
            assert gateway.proxy.state is not None
            gate = gateway.proxy.state.backends["ns/a"].gate
            assert gate.report().in_flight == 0
            assert gate.busy
            assert all(c.deadline.expires_at is None for c in lot_of(gateway).calls())
            for number, answer in enumerate(waiting):
                reply = {next(iter(answer.questions)): accept("x")}
                assert (await client.go_on(answer, "a_ask", reply, {"who": str(number)})).text == "accept x"
            assert (gate.report().in_flight, gate.busy) == (0, False)
        assert await gateway.metric('mcp_proxy_parked_calls{route="/mcp"}') == 0
        assert [await ended(gateway, how) for how in ("answered", "expired", "cancelled")] == [3, 0, 0]


async def test_a_call_that_nobody_comes_back_for_is_cancelled() -> None:
    async with serving() as (_asking, _, gateway), ModernClient(gateway.url, ALL) as client:
        lot_of(gateway).park_seconds = 0.2
        answer = await client.call("a_thrice")
        await eventually(lambda: len(lot_of(gateway)) == 0)
        assert gateway.proxy.state is not None
        await eventually(lambda: not gateway.proxy.state.backends["ns/a"].gate.busy)  # type: ignore[union-attr]
        late = await client.go_on(answer, "a_thrice", {})
        assert late.error is not None
        assert late.error["code"] == -32602
        assert "call again" in late.error["message"]
        assert [await ended(gateway, how) for how in ("answered", "expired", "cancelled")] == [0, 1, 0]


async def test_a_client_that_goes_away_cancels_its_call() -> None:
    async with serving() as (_asking, _, gateway):
        async with ModernClient(gateway.url, ALL) as client:
            answer = await client.call("a_chatty")
            leg = asyncio.create_task(client.go_on(answer, "a_chatty", {next(iter(answer.questions)): accept("x")}))
            await eventually(lambda: any(call.front is not None for call in lot_of(gateway).calls()))
            leg.cancel()
            await eventually(lambda: len(lot_of(gateway)) == 0)
            with contextlib.suppress(asyncio.CancelledError):
                await leg
        assert [await ended(gateway, how) for how in ("answered", "expired", "cancelled")] == [0, 0, 1]


async def test_a_call_is_lost_with_its_proxy() -> None:
    sessions = {"signingKeys": [{"file": "key"}]}
    secrets = {"key": "0123456789abcdef0123456789abcdef"}
    async with serving(sessions=sessions, secrets=secrets) as (asking, served, gateway):
        async with ModernClient(gateway.url, ALL) as client:
            answer = await client.call("a_ask")
        config = make_config({"a": served.url}, sessions=sessions)
        async with running_gateway(config, secrets) as restarted, ModernClient(restarted.url, ALL) as client:
            lost = await client.go_on(answer, "a_ask", {next(iter(answer.questions)): accept("x")})
            assert (lost.error or {})["message"] == parked.LOST
            assert asking.runs == 1
            assert lot_of(restarted).elsewhere({"requestState": answer.state}) is None  # nobody can be asked for it


async def test_any_replica_goes_on_with_a_call() -> None:
    asking = AskingServer()
    async with ServedMCP(asking.mcp, era="legacy") as served:
        config = make_config({"a": served.url}, **SIGNED)
        async with running_replicas(2, config) as (a, b), ModernClient(a.url, ALL) as client:
            meta = {"io.modelcontextprotocol/logLevel": "info"}
            asking.go.set()
            answer = await client.call("a_chatty", meta=meta)
            client.url = b.url
            ended = await client.go_on(answer, "a_chatty", {next(iter(answer.questions)): accept("x")}, meta=meta)
            assert ended.text == "accept x"
            again = await client.go_on(answer, "a_chatty", {}, meta=meta)
            assert (again.error or {})["message"] == parked.LOST
            answer = await client.call("a_ask")
            await b.stop()
            client.url = a.url
            gone = await client.go_on(answer, "a_ask", {next(iter(answer.questions)): accept("x")})
            assert (gone.error or {})["message"] == parked.LOST


async def test_a_stopping_proxy_cancels_parked_calls() -> None:
    asking = AskingServer()
    async with ServedMCP(asking.mcp, era="legacy") as served:
        async with running_gateway(make_config({"a": served.url})) as gateway:
            async with ModernClient(gateway.url, ALL) as client:
                assert (await client.call("a_thrice")).state
    assert asking.cancelled.is_set()


async def test_a_removed_server_ends_its_parked_calls() -> None:
    async with serving() as (asking, served, gateway):
        async with ModernClient(gateway.url, ALL) as client:
            answer = await client.call("a_thrice")
            hasty = {"callTimeoutSeconds": 0.3}  # so long its calls have when it goes
            await gateway.proxy.apply(make_config({"a": served.url}, server=hasty))
            await gateway.proxy.apply(make_config({"b": served.url}))
            await eventually(lambda: len(lot_of(gateway)) == 0)
            await eventually(asking.cancelled.is_set)
            ended = await client.go_on(answer, "a_thrice", {})
            assert ended.error is not None
            assert (await client.call("b_plain")).text == "plain"


async def test_too_many_calls_wait() -> None:
    keys = [{"name": name, "secret": {"file": name}} for name in KEYS]
    async with serving(auth={"apiKeys": keys}, secrets=KEYS) as (_, _, gateway):
        lot = lot_of(gateway)
        lot.most, lot.most_of_caller = 2, 1
        async with (
            ModernClient(gateway.url, ALL, key=KEYS["ann"]) as ann,
            ModernClient(gateway.url, ALL, key=KEYS["bob"]) as bob,
        ):
            first = await ann.call("a_ask")
            assert (await ann.call("a_ask", {"who": "2"})).text.startswith("error -32603: the proxy has too many")
            assert (await bob.call("a_ask")).state
            lot.most_of_caller = 5
            assert (await bob.call("a_ask", {"who": "2"})).text.startswith("error -32603")
            assert await gateway.metric('mcp_proxy_parked_calls_refused_total{route="/mcp"}') == 2
            assert (await ann.go_on(first, "a_ask", {next(iter(first.questions)): accept("x")})).text == "accept x"
            assert (await bob.call("a_ask", {"who": "2"})).state


async def test_what_is_said_meanwhile_comes_with_the_next_leg() -> None:
    async with serving() as (asking, _, gateway), ModernClient(gateway.url, ALL) as client:
        meta = {"progressToken": "p-1", "io.modelcontextprotocol/logLevel": "info"}
        answer = await client.call("a_chatty", meta=meta)
        assert answer.notes == []
        asking.go.set()
        (call,) = lot_of(gateway).calls()
        await eventually(lambda: call.held == 2)
        meta["progressToken"] = "p-2"
        ended = await client.go_on(answer, "a_chatty", {next(iter(answer.questions)): accept("x")}, meta=meta)
        assert ended.text == "accept x"
        said = {note["method"]: note["params"] for note in ended.notes}
        assert said["notifications/message"]["data"]["msg"] == "while you were away"
        assert (said["notifications/progress"]["progressToken"], said["notifications/progress"]["progress"]) == (
            "p-2",
            1,
        )


async def test_the_log_level_of_a_request_reaches_a_legacy_server() -> None:
    async with serving() as (asking, served, gateway), ModernClient(gateway.url) as client:
        asking.go.set()
        for level in ("info", "info", "error"):
            answer = await client.call("a_chatty", meta={"io.modelcontextprotocol/logLevel": level})
            assert [n["method"] for n in answer.notes] == (["notifications/message"] if level == "info" else [])
        assert served.methods.count("logging/setLevel") == 2
