# ruff: noqa: SIM117 - nested, in the order in which they start
"""Servers of both eras ask and tell Python in the middle of a call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from fastmcp import Context, FastMCP
from fastmcp.client.elicitation import ElicitResult
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult, SamplingMessage

from mcp_operator_proxy import CallRefused, CallTimeout, ConfigError, ToolFailed, ToolProxy
from mcp_operator_proxy.backends.session import Deadline
from support.backends import ServedMCP, eventually
from unit.proxy.eras.asking import SCHEMA, AskingServer

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


async def elicit(message: str, _: Any, params: Any, __: Any) -> Any:
    return ElicitResult(action="accept") if params.mode == "url" else {"answer": f"[{message}]"}


def sample(messages: list[SamplingMessage], *_: Any) -> str:
    return f"<{messages[0].content.text}>"  # type: ignore[union-attr]


ALL: dict[str, Any] = {"elicitation_handler": elicit, "sampling_handler": sample, "roots": ["file:///home"]}


@contextlib.asynccontextmanager
async def asking(*, era: Any = "legacy", **options: Any) -> AsyncIterator[tuple[AskingServer, ServedMCP, ToolProxy]]:
    """A server that asks by requests, as the handshake eras have it."""
    server = AskingServer()
    async with ServedMCP(server.mcp, era=era) as served:
        async with ToolProxy.from_url(served.url, warm_seconds=20, **options) as proxy:
            yield server, served, proxy


def modern() -> ServedMCP:
    """A server of 2026-07-28, which asks in results."""
    mcp: FastMCP[Any] = FastMCP("modern")

    @mcp.tool
    async def twice(ctx: Context) -> Any:
        answers: Mapping[str, Any] = ctx.input_responses or {}
        said = ctx.request_state or ""
        if "who" in answers:
            said += f"{answers['who'].action} {(answers['who'].content or {}).get('answer')};"
        if said.count(";") < 2:
            question = ElicitRequest(params=ElicitRequestFormParams(message=f"{len(said)}?", requested_schema=SCHEMA))
            return InputRequiredResult(input_requests={"who": question}, request_state=said)
        return said

    @mcp.tool
    async def tell(ctx: Context) -> str:
        await ctx.info("half way")
        await ctx.report_progress(1, 2, "half")
        return "told"

    return ServedMCP(mcp, era="modern")


def idle(proxy: ToolProxy) -> bool:
    """Whether no call is with a server."""
    assert proxy.proxy.state is not None
    return not any(b.gate.busy for b in proxy.proxy.state.backends.values())


@pytest.mark.parametrize("era", ["legacy", "both"])
async def test_a_server_that_asks_by_requests_gets_its_answers(era: str) -> None:
    expected = {
        "ask": "accept [for you]",
        "thrice": "accept [question 1], accept [question 2], accept [question 3]",
        "several": "accept [one], accept [two], <3>",
        "sample": "<say>",
        "roots": "file:///home",
        "visit": "accept",
        "plain": "plain",
    }
    async with asking(era=era, **ALL) as (_, served, proxy):
        for tool, text in expected.items():
            assert (await proxy.call_tool(tool)).text == text, tool
        assert served.methods.count("tools/call") == len(expected)


async def test_a_server_that_asks_in_results_gets_its_answers() -> None:
    async with modern() as served, ToolProxy.from_url(served.url, warm_seconds=20) as proxy:
        with pytest.raises(CallRefused, match="elicitation"):
            await proxy.call_tool("twice")
        result = await proxy.call_tool("twice", elicitation_handler=elicit)
        assert result.text == "accept [0?];accept [12?];"


async def test_handlers_of_a_call_go_before_those_of_the_proxy() -> None:
    async def decline(*_: Any) -> Any:
        return ElicitResult(action="decline")

    async with asking(elicitation_handler=elicit) as (_, _, proxy):
        answers = await asyncio.gather(
            proxy.call_tool("ask"), proxy.call_tool("ask", elicitation_handler=decline), proxy.call_tool("ask")
        )
        assert [answer.text for answer in answers] == ["accept [for you]", "decline None", "accept [for you]"]
        several = await proxy.call_tool("several", sampling_handler=sample)  # both are there
        assert several.text == "accept [one], accept [two], <3>"


async def test_without_handlers_the_server_is_refused() -> None:
    async with asking() as (_, _, proxy):
        assert (await proxy.call_tool("plain")).text == "plain"
        for tool in ("ask", "sample"):
            assert (await proxy.call_tool(tool)).text.startswith("error -")
        with pytest.raises(ToolFailed):
            await proxy.call_tool("roots")
        assert (await proxy.call_tool("sample", elicitation_handler=elicit)).text.startswith("error -")


async def test_progress_and_log_messages_reach_their_call() -> None:
    for era in ("legacy", "modern"):
        steps: list[Any] = []
        logged: list[Any] = []

        async def progress(*step: Any, steps: list[Any] = steps) -> None:
            steps.append(step)

        async def log(message: Any, logged: list[Any] = logged) -> None:
            logged.append((message.level, message.data))

        async with contextlib.AsyncExitStack() as stack:
            if era == "modern":
                served = await stack.enter_async_context(modern())
                proxy = await stack.enter_async_context(ToolProxy.from_url(served.url, warm_seconds=20))
                await proxy.call_tool("tell")  # whose messages nobody gets
                await proxy.call_tool("tell", progress_handler=progress, log_handler=log)
            else:
                server, _, proxy = await stack.enter_async_context(asking(elicitation_handler=elicit, log_handler=log))
                server.go.set()
                await proxy.call_tool("chatty", progress_handler=progress)
            await eventually(lambda logged=logged, steps=steps: logged and steps)
            assert steps == [(1.0, 2.0, "half")], era
            assert [level for level, _ in logged] == ["info"], era


async def test_a_handler_that_fails_is_told_to_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(*_: Any) -> Any:
        raise KeyError("wrong")

    async with asking(elicitation_handler=fail) as (_, _, proxy):
        answer = await proxy.call_tool("ask")
        assert answer.text == "error -32603: elicitation_handler raised KeyError: 'wrong'"
        assert "elicitation_handler failed" in caplog.text


async def test_a_call_that_is_cancelled_while_its_handler_is_at_work() -> None:
    at_work = asyncio.Event()

    async def wait(*_: Any) -> Any:
        at_work.set()
        await asyncio.Event().wait()

    async with asking(elicitation_handler=wait) as (_, _, proxy):
        call = asyncio.create_task(proxy.call_tool("ask"))
        await at_work.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually(lambda: idle(proxy))


async def test_time_stands_still_while_a_handler_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Deadline] = []

    class Watched(Deadline):
        def __init__(self, seconds: float) -> None:
            super().__init__(seconds)
            made.append(self)

    async def look(*_: Any) -> Any:
        return {"answer": f"{[deadline.expires_at for deadline in made]}"}

    monkeypatch.setattr("mcp_operator_proxy.library.calls.Deadline", Watched)
    async with asking(elicitation_handler=look) as (server, _, proxy):
        assert (await proxy.call_tool("ask", timeout=59)).text == "accept [None]"
        with pytest.raises(CallTimeout, match=r"within 0\.1 s"):
            await proxy.call_tool("chatty", timeout=0.1)
        with pytest.raises(CallTimeout, match=r"within 0\.1 s"):  # with a client of its own
            await proxy.call_tool("chatty", timeout=0.1, sampling_handler=sample)
        server.go.set()


async def test_a_reload_ends_the_session_that_calls_had_with_a_server() -> None:
    async with asking(elicitation_handler=elicit) as (_, served, proxy):
        await proxy.call_tool("ask")
        assert "DELETE" not in served.verbs
        await proxy.reload({"servers": {"new": {"url": served.url, "headers": {"X-Other": "1"}}}})
        assert (await proxy.call_tool("proxy.new.ask")).text == "accept [for you]"
        await eventually(lambda: "DELETE" in served.verbs)


async def test_a_call_with_handlers_takes_a_place_among_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking() as (_, _, proxy):
        full = proxy.proxy.holder.limits.model_copy(update={"max_sessions": 0})
        monkeypatch.setattr(proxy.proxy.holder, "limits", full)
        with pytest.raises(CallRefused, match="as many sessions as it may"):
            await proxy.call_tool("ask", elicitation_handler=elicit)
        assert (await proxy.call_tool("plain")).text == "plain"


def test_a_proxy_says_what_is_wrong_with_roots() -> None:
    with pytest.raises(ConfigError, match="roots: must be file:// URIs"):
        ToolProxy(roots=["no url"])
