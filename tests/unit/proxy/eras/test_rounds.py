# ruff: noqa: SIM117 - nested, in the order in which they start
"""Questions of modern servers, for clients of both eras; elicitations that lead to a URL."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.client.elicitation import ElicitResult
from mcp.shared.exceptions import MCPError, UrlElicitationRequiredError
from mcp_types import (
    ElicitCompleteNotification,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ErrorData,
    InputRequiredResult,
)

from mcp_operator_proxy.eras import rounds
from support.backends import ServedMCP, eventually
from support.gateway import make_config, running_gateway
from support.modern import ModernClient

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
ALL = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
URL = {"mode": "url", "message": "log in", "url": "https://example.org/"}
FORM = {"mode": "form", "message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
DONE = {"content": [], "resultType": "complete"}


def asks(state: str | None = None, **questions: Mapping[str, Any]) -> dict[str, Any]:
    wire = {key: {"method": "elicitation/create", "params": dict(params)} for key, params in questions.items()}
    result: dict[str, Any] = {"resultType": "input_required"}
    if wire:
        result["inputRequests"] = wire
    return result if state is None else {**result, "requestState": state}


class Both:
    """A server that gives the results of a script, and a client that accepts."""

    def __init__(self, *script: dict[str, Any], answer: Any = None) -> None:
        self.script = list(script)
        self.answer = answer or {"action": "accept"}
        self.sent: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.done: list[str] = []

    async def send(self, more: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(more)
        return self.script.pop(0)

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        assert method == "elicitation/create"
        self.asked.append(params)
        return self.answer

    async def complete(self, elicitation_id: str) -> None:
        self.done.append(elicitation_id)

    async def run(self, capabilities: Mapping[str, Any] = ALL, seconds: float = 5.0) -> dict[str, Any]:
        first = self.script.pop(0)
        return await rounds.drive(
            first, send=self.send, ask=self.ask, done=self.complete, capabilities=capabilities, seconds=seconds
        )


async def test_answers_go_with_the_newest_state() -> None:
    both = Both(asks("s1", a=FORM, b=FORM), asks("s2", c=FORM), asks(None, d=FORM), DONE)
    assert await both.run() == DONE
    accepted = {"action": "accept"}
    assert both.sent == [
        {"requestState": "s1", "inputResponses": {"a": accepted, "b": accepted}},
        {"requestState": "s2", "inputResponses": {"c": accepted}},
        {"inputResponses": {"d": accepted}},
    ]
    assert len(both.asked) == 4


async def test_a_server_that_only_wants_to_be_called_again() -> None:
    both = Both(asks("s1"), asks("s2"), asks("s3"), DONE)
    assert await both.run() == DONE
    assert both.sent == [{"requestState": "s1"}, {"requestState": "s2"}, {"requestState": "s3"}]
    with pytest.raises(MCPError, match="did not end the call"):
        await Both(asks("s1"), asks("s2"), DONE).run(seconds=0.0)


async def test_a_server_that_asks_for_ever() -> None:
    both = Both(*[asks("s", a=FORM)] * (rounds.MAX_ROUNDS + 2))
    with pytest.raises(MCPError, match="asked its client"):
        await both.run()
    assert len(both.asked) == rounds.MAX_ROUNDS


async def test_an_error_of_the_client_is_the_error_of_the_call() -> None:
    both = Both(asks("s", a=FORM, b=FORM), DONE, answer=ErrorData(code=-1, message="rejected by the user"))
    with pytest.raises(MCPError, match="rejected by the user") as caught:
        await both.run()
    assert caught.value.error.code == -1
    assert both.sent == []


async def test_what_the_client_cannot_do_is_not_asked() -> None:
    both = Both(asks("s", a=FORM, b=URL), DONE)
    with pytest.raises(MCPError, match="elicitation in url mode"):
        await both.run({"elicitation": {}})
    assert both.asked == []


async def test_an_elicitation_by_url_has_an_id_and_an_end() -> None:
    both = Both(asks("s1", a=URL), asks("s2"), asks("s3", a=URL, b=FORM), DONE)
    assert await both.run() == DONE
    first, again = (params["elicitationId"] for params in both.asked if params["mode"] == "url")
    assert first
    assert both.done == [again]


# With real servers


class Modern:
    """Asks in its results."""

    def __init__(self) -> None:
        self.mcp: FastMCP[Any] = FastMCP("modern")
        self.mcp.tool(self.login)
        self.mcp.tool(self.steps)

    async def login(self, ctx: Context) -> Any:
        if not ctx.input_responses:
            ask = ElicitRequest(params=ElicitRequestURLParams(message="log in", url="https://example.org/"))
            return InputRequiredResult(input_requests={"u": ask}, request_state="at the door")
        assert ctx.request_state == "at the door"
        return "in"

    async def steps(self, ctx: Context, who: str = "you") -> Any:
        state = ctx.request_state or "step 0"
        if state == "step 2":
            return f"done for {who}"
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
        ask = ElicitRequest(params=ElicitRequestFormParams(message=state, requested_schema=schema))
        return InputRequiredResult(input_requests={"q": ask}, request_state=f"step {int(state[-1]) + 1}")


class Person:
    """A client's user, who accepts everything."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.completed: list[str] = []

    async def elicit(self, message: str, response_type: Any, params: Any, context: Any) -> Any:
        del message, response_type, context
        self.ids.append(getattr(params, "elicitation_id", None) or "")
        return ElicitResult(action="accept", content={} if params.mode == "form" else None)

    async def hear(self, message: Any) -> None:
        if isinstance(message, ElicitCompleteNotification):
            self.completed.append(message.params.elicitation_id)

    def client(self, url: str) -> Client[Any]:
        return Client(url, mode="legacy", elicitation_handler=self.elicit, message_handler=self.hear)


async def test_a_legacy_client_is_sent_to_a_url_by_a_modern_server() -> None:
    person = Person()
    async with ServedMCP(Modern().mcp) as served, running_gateway(make_config({"m": served.url})) as gateway:
        async with person.client(gateway.url) as client:
            assert (await client.call_tool("m_login", {})).content[0].text == "in"
            assert len(person.ids) == 1
            assert person.ids[0]
            await eventually(lambda: person.completed == person.ids)
            assert (await client.call_tool("m_steps", {"who": "ann"})).content[0].text == "done for ann"


KEYS = {"ann": "k-ann-0123456789abcdef", "bob": "k-bob-0123456789abcdef"}


async def test_the_state_of_a_modern_server_serves_only_its_own_request() -> None:
    keys = [{"name": name, "secret": {"file": name}} for name in KEYS]
    async with ServedMCP(Modern().mcp) as served:
        async with running_gateway(make_config({"m": served.url}, auth={"apiKeys": keys}), KEYS) as gateway:
            async with (
                ModernClient(gateway.url, ALL, key=KEYS["ann"]) as ann,
                ModernClient(gateway.url, ALL, key=KEYS["bob"]) as bob,
            ):
                first = await ann.call("m_steps", {"who": "ann"})
                assert "step" not in first.state
                reply = {"q": {"action": "accept", "content": {}}}
                for refused in (
                    await bob.go_on(first, "m_steps", reply, {"who": "ann"}),
                    await ann.go_on(first, "m_steps", reply, {"who": "bob"}),
                    await ann.go_on(first, "m_login", reply, {"who": "ann"}),
                    await ann.call("m_steps", {"who": "ann"}, requestState="step 2", inputResponses=reply),
                ):
                    assert (refused.error or {}).get("code") == -32602
                second = await ann.go_on(first, "m_steps", reply, {"who": "ann"})
                assert second.questions["q"]["params"]["message"] == "step 1"
                third = await ann.go_on(second, "m_steps", reply, {"who": "ann"})
                assert third.text == "done for ann"


class Legacy:
    """Demands visits to a URL by error -32042, and tells when one is over."""

    def __init__(self) -> None:
        self.visited = asyncio.Event()
        self.mcp: FastMCP[Any] = FastMCP("legacy")
        self.mcp.tool(self.guarded)
        self.mcp.tool(self.visit)
        self.mcp._mcp_server.middleware.append(self._guard)

    async def _guard(self, ctx: Any, call_next: Any) -> Any:
        if ctx.method == "tools/call" and ctx.params["name"] == "guarded" and not self.visited.is_set():
            params = ElicitRequestURLParams(message="log in", url="https://example.org/", elicitation_id="id-9")
            raise UrlElicitationRequiredError([params], "log in first")
        return await call_next(ctx)

    async def guarded(self) -> str:
        return "in"

    async def visit(self, ctx: Context) -> str:
        result = await ctx.session.elicit_url("log in", "https://example.org/", "id-7", ctx.request_id)
        await ctx.session.send_elicit_complete("id-7", ctx.request_id)
        return result.action


async def test_the_error_that_demands_a_visit() -> None:
    legacy = Legacy()
    async with (
        ServedMCP(legacy.mcp, era="legacy") as served,
        running_gateway(make_config({"l": served.url})) as gateway,
    ):
        async with Person().client(gateway.url) as client:
            with pytest.raises(MCPError) as caught:
                await client.call_tool("l_guarded", {})
            assert caught.value.error.code == -32042
            assert caught.value.error.data["elicitations"][0]["elicitationId"] == "id-9"
        async with ModernClient(gateway.url, {"elicitation": {"form": {}}}) as modern:
            needs = (await modern.call("l_guarded")).error or {}
            assert (needs["code"], needs["data"]) == (
                -32021,
                {"requiredCapabilities": {"elicitation": {"url": {}}}},
            )
        async with ModernClient(gateway.url, ALL) as modern:
            answer = await modern.call("l_guarded")
            ((key, question),) = answer.questions.items()
            assert question == {"method": "elicitation/create", "params": URL}
            declined = await modern.go_on(answer, "l_guarded", {key: {"action": "decline"}})
            assert "not accepted" in (declined.error or {})["message"]
            again = await modern.go_on(answer, "l_guarded", {key: {"action": "accept"}})
            assert again.questions
            legacy.visited.set()
            assert (await modern.go_on(again, "l_guarded", {key: {"action": "accept"}})).text == "in"


async def test_a_legacy_client_hears_that_a_legacy_servers_elicitation_is_over() -> None:
    person = Person()
    async with ServedMCP(Legacy().mcp, era="legacy") as served:
        async with running_gateway(make_config({"l": served.url})) as gateway, person.client(gateway.url) as client:
            assert (await client.call_tool("l_visit", {})).data == "accept"
            assert person.ids == ["id-7"]
            await eventually(lambda: person.completed == ["id-7"])


async def test_only_what_the_client_declared_is_declared() -> None:
    seen: list[Any] = []
    mcp: FastMCP[Any] = FastMCP("c")

    @mcp.tool
    def look(ctx: Context) -> str:
        params = ctx.session.client_params
        assert params is not None
        seen.append(params.capabilities.model_dump(by_alias=True, mode="json", exclude_none=True))
        return "seen"

    async with ServedMCP(mcp, era="legacy") as served, running_gateway(make_config({"c": served.url})) as gateway:
        for declared in ({"elicitation": {"form": {}}}, {"sampling": {"tools": {}}, "roots": {}}, {}):
            async with ModernClient(gateway.url, declared) as modern:
                assert (await modern.call("c_look")).text == "seen"
            assert seen[-1] == declared
