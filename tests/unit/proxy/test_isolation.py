# ruff: noqa: SIM117 - nested, in the order in which they start
"""What a backend asks or tells in the middle of a call reaches the client whose call it is, and nobody else."""

import asyncio
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.client.elicitation import ElicitResult
from mcp.client import Client as SDKClient
from mcp.client.session import ClientRequestContext
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    SamplingMessage,
    TextContent,
)
from mcp_types import ElicitResult as WireElicitResult

from support.backends import ServedMCP, client, eventually
from support.gateway import make_config, running_gateway

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


class Meeting:
    """A backend whose tools wait until all their callers are there, then all ask at once."""

    def __init__(self, parties: int) -> None:
        self._barrier = asyncio.Barrier(parties)
        self.mcp: FastMCP[Any] = FastMCP("meeting")
        for tool in (self.elicit, self.sample, self.roots, self.log):
            self.mcp.tool(tool)

    async def elicit(self, who: str, ctx: Context) -> str:
        await self._barrier.wait()
        result = await ctx.session.elicit_form(f"for {who}", SCHEMA, related_request_id=ctx.request_id)
        return str((result.content or {}).get("answer"))

    async def sample(self, who: str, ctx: Context) -> str:
        await self._barrier.wait()
        message = SamplingMessage(role="user", content=TextContent(type="text", text=f"for {who}"))
        result = await ctx.session.create_message([message], max_tokens=5, related_request_id=ctx.request_id)
        return result.content.text  # type: ignore[union-attr]

    async def roots(self, who: str, ctx: Context) -> str:
        assert who
        await self._barrier.wait()
        return str((await ctx.session.list_roots()).roots[0].uri)

    async def log(self, who: str, ctx: Context) -> str:
        await self._barrier.wait()
        await ctx.info(f"for {who}")
        await ctx.report_progress(1, 1, f"for {who}")
        return who


class Person:
    """A client that answers in its own name, and notes what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    async def elicit(self, message: str, *_: Any) -> ElicitResult[Any]:
        self.asked.append(message)
        return ElicitResult(action="accept", content={"answer": self.name})

    async def sample(self, messages: Any, *_: Any) -> str:
        self.asked.append(messages[0].content.text)
        return self.name

    async def log(self, message: Any) -> None:
        self.asked.append(message.data["msg"])

    async def progress(self, *noted: Any) -> None:
        self.asked.append(noted[2])

    def client(self, url: str) -> Client[Any]:
        return Client(
            url, mode="legacy", elicitation_handler=self.elicit, sampling_handler=self.sample,
            log_handler=self.log, progress_handler=self.progress, roots=[f"file:///{self.name}"],
        )  # fmt: skip


@pytest.mark.parametrize("tool", ["elicit", "sample", "roots", "log"])
async def test_two_clients_at_once(tool: str) -> None:
    meeting, people = Meeting(4), [Person("ann"), Person("bob")]
    async with (
        ServedMCP(meeting.mcp, era="legacy") as served,
        running_gateway(make_config({"m": served.url})) as running,
    ):
        async with people[0].client(running.url) as ann, people[1].client(running.url) as bob:
            # Each of them calls twice at once: four calls are waiting in the backend together.
            calls = [(p, c) for p, c in zip(people, (ann, bob), strict=True) for _ in range(2)]
            results = await asyncio.gather(*(c.call_tool(f"m_{tool}", {"who": p.name}) for p, c in calls))
        for (person, _), result in zip(calls, results, strict=True):
            assert result.data == (f"file:///{person.name}" if tool == "roots" else person.name)
        for person in people:
            times = {"roots": 0, "log": 4}.get(tool, 2)
            assert person.asked == [f"for {person.name}"] * times


async def test_capabilities_are_declared_as_the_client_declared_them() -> None:
    mcp: FastMCP[Any] = FastMCP("c")

    @mcp.tool
    def declared(ctx: Context) -> list[str]:
        capabilities = ctx.session.client_capabilities
        assert capabilities is not None
        return sorted(capabilities.model_dump(exclude_none=True))

    for era in ("legacy", "both"):
        async with ServedMCP(mcp, era=era) as served, running_gateway(make_config({"c": served.url})) as running:
            async with client(running.url, "legacy") as bare, Person("ann").client(running.url) as full:
                assert (await bare.call_tool("c_declared", {})).data == []
                assert (await full.call_tool("c_declared", {})).data == ["elicitation", "roots", "sampling"]
            async with client(running.url, "auto") as modern:
                assert (await modern.call_tool("c_declared", {})).data == []


async def test_a_refusal_of_the_client_is_the_backends_to_have() -> None:
    meeting = Meeting(1)

    async def refuse(*_: Any) -> Any:
        raise ValueError("no")

    async with (
        ServedMCP(meeting.mcp, era="legacy") as served,
        running_gateway(make_config({"m": served.url})) as running,
    ):
        async with Client(running.url, mode="legacy", elicitation_handler=refuse) as through:
            result = await through.call_tool_mcp("m_elicit", {"who": "x"})
            assert result.is_error
            assert (await through.call_tool_mcp("m_roots", {"who": "x"})).is_error  # never declared


async def test_a_person_may_take_longer_than_the_deadline() -> None:
    meeting, person = Meeting(1), Person("ann")
    asked, decided = asyncio.Event(), asyncio.Event()

    async def think(message: str, response_type: Any, params: Any, context: Any) -> ElicitResult[Any]:
        asked.set()
        await decided.wait()
        return await person.elicit(message, response_type, params, context)

    config = {"callTimeoutSeconds": 2.5}
    async with ServedMCP(meeting.mcp, era="legacy") as served:
        async with running_gateway(make_config({"m": served.url}, server=config)) as running:
            async with Client(running.url, mode="legacy", elicitation_handler=think) as through:
                call = asyncio.create_task(through.call_tool("m_elicit", {"who": "ann"}))
                await asked.wait()
                await asyncio.wait([call], timeout=3.0)
                assert not call.done()
                decided.set()
                assert (await call).data == "ann"


def guarded() -> tuple[FastMCP[Any], list[Any]]:
    """A modern server that asks in its result (SEP-2322)."""
    states: list[Any] = []
    mcp: FastMCP[Any] = FastMCP("guard")

    @mcp.tool
    async def delete(ctx: Context) -> Any:
        states.append(ctx.request_state)
        if ctx.input_responses is None:
            ask = ElicitRequest(params=ElicitRequestFormParams(message="sure?", requested_schema=SCHEMA))
            return InputRequiredResult(input_requests={"q": ask}, request_state="step-1")
        answer = ctx.input_responses["q"]
        return f"{ctx.request_state}:{answer.content['answer']}"  # type: ignore[union-attr,index]

    return mcp, states


async def test_a_modern_client_answers_a_modern_backend() -> None:
    async def elicit(_: ClientRequestContext, params: Any) -> WireElicitResult:
        return WireElicitResult(action="accept", content={"answer": "yes"})

    mcp, states = guarded()
    async with ServedMCP(mcp) as served, running_gateway(make_config({"g": served.url})) as running:
        async with SDKClient(running.url, mode="2026-07-28", elicitation_callback=elicit) as through:
            result = await through.call_tool("g_delete", {})
            assert result.content[0].text == "step-1:yes"  # type: ignore[union-attr]
            assert states == [None, "step-1"]


async def test_a_legacy_client_answers_a_modern_backend() -> None:
    mcp, states = guarded()
    person = Person("ann")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"g": served.url})) as running:
        async with person.client(running.url) as through:
            result = await through.call_tool_mcp("g_delete", {})
            assert result.content[0].text == "step-1:ann"  # type: ignore[union-attr]
            assert person.asked == ["sure?"]
            # The server speaks both eras, and one that pushes its questions needs the client's own: that was tried.
            assert states == [None, None, "step-1"]
            await through.call_tool_mcp("g_delete", {})
            assert states[3:] == [None, "step-1"]


async def test_a_server_of_both_eras_pushes_its_questions_to_a_legacy_client() -> None:
    meeting, person = Meeting(1), Person("ann")
    async with ServedMCP(meeting.mcp) as served, running_gateway(make_config({"m": served.url})) as running:
        async with person.client(running.url) as through:
            assert (await through.call_tool("m_elicit", {"who": "ann"})).data == "ann"
        async with client(running.url, "legacy") as through:  # cannot be asked: the server's newest era will do
            before = len(served.methods)
            assert (await through.call_tool_mcp("m_elicit", {"who": "x"})).is_error
            assert "initialize" not in served.methods[before:]


async def test_a_server_of_the_modern_era_alone_is_asked_for_a_handshake_once() -> None:
    mcp, _ = guarded()
    person = Person("ann")
    async with ServedMCP(mcp, era="modern") as served, running_gateway(make_config({"g": served.url})) as running:
        for _ in range(2):
            async with person.client(running.url) as through:
                result = await through.call_tool_mcp("g_delete", {})
                assert result.content[0].text == "step-1:ann"  # type: ignore[union-attr]
        assert served.methods.count("initialize") == 1


async def test_a_cancelled_call_is_cancelled_at_the_backend() -> None:
    ended: list[str] = []
    begun = asyncio.Event()
    mcp: FastMCP[Any] = FastMCP("x")

    @mcp.tool
    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    for back in ("legacy", "both"):
        for front in ("legacy", "2026-07-28"):
            begun.clear()
            ended.clear()
            async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"x": served.url})) as running:
                async with SDKClient(running.url, mode=front) as through:
                    call = asyncio.create_task(through.call_tool("x_wait", {}))
                    await begun.wait()
                    call.cancel()
                    await eventually(lambda: ended)
                    with pytest.raises(asyncio.CancelledError):
                        await call


async def test_sessions_of_two_clients_are_two_at_the_backend() -> None:
    mcp: FastMCP[Any] = FastMCP("s")

    @mcp.tool
    def session(ctx: Context) -> str:
        return ctx.session_id

    async with ServedMCP(mcp, era="legacy") as served, running_gateway(make_config({"s": served.url})) as running:
        async with client(running.url, "legacy") as one, client(running.url, "legacy") as two:
            ids = [(await c.call_tool("s_session", {})).data for c in (one, two, one, two)]
        assert ids[0] == ids[2] != ids[1] == ids[3]


async def test_log_levels_are_each_clients_own() -> None:
    mcp: FastMCP[Any] = FastMCP("l")

    @mcp.tool
    async def speak(ctx: Context) -> None:
        await ctx.debug("low")
        await ctx.error("high")

    for back in ("legacy", "both"):
        loud, quiet = Person("loud"), Person("quiet")
        async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"l": served.url})) as running:
            async with loud.client(running.url) as one, quiet.client(running.url) as two:
                await one.set_logging_level("debug")
                await two.set_logging_level("error")
                await asyncio.gather(one.call_tool("l_speak", {}), two.call_tool("l_speak", {}))
                assert (sorted(loud.asked), quiet.asked) == (["high", "low"], ["high"])
