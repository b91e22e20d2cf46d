"""The server that the conformance suite asks for: FastMCP with the suite's tools, resources and prompts.

python server.py PORT        # 0: any free one; it is printed
"""

import asyncio
import base64
import json
import socket
import struct
import sys
import zlib
from typing import Annotated, Any

import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.server.event_store import EventStore
from fastmcp.tools.base import Tool, ToolResult
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    ImageContent,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from support.subscribable import Subscribable
from support.taskserver import Task, Tasks

TRUE: dict[str, Any] = {"ok": {"type": "boolean"}}
NAME: dict[str, Any] = {"name": {"type": "string"}}
STEP_SECONDS = 0.05


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
        + chunk(b"IEND", b"")
    )


def _wav() -> bytes:
    """One silent sample."""
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", 1) + b"\x80"
    return b"RIFF" + struct.pack("<I", len(body)) + body


PNG, WAV = base64.b64encode(_png()).decode(), base64.b64encode(_wav()).decode()
SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def build() -> FastMCP[Any]:
    """The whole server."""
    mcp: FastMCP[Any] = FastMCP("mcp-conformance-test-server", version="1.0.0", dereference_schemas=False)
    _contents(mcp)
    _conversations(mcp)
    _inputs(mcp)
    _resources(mcp)
    _prompts(mcp)
    _changes(mcp, Subscribable(mcp))
    _tasks(mcp)
    return mcp


def _embedded(uri: str, kind: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=kind, text=text))


def _contents(mcp: FastMCP[Any]) -> None:
    image = ImageContent(type="image", data=PNG, mime_type="image/png")

    @mcp.tool
    def test_simple_text() -> str:
        """Return text."""
        return "This is a simple text response for testing."

    @mcp.tool
    def test_image_content() -> ToolResult:
        """Return an image."""
        return ToolResult(content=[image])

    @mcp.tool
    def test_audio_content() -> ToolResult:
        """Return a sound."""
        return ToolResult(content=[AudioContent(type="audio", data=WAV, mime_type="audio/wav")])

    @mcp.tool
    def test_embedded_resource() -> ToolResult:
        """Return a resource."""
        return ToolResult(
            content=[_embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
        )

    @mcp.tool
    def test_multiple_content_types() -> ToolResult:
        """Return text, an image and a resource."""
        text = TextContent(type="text", text="Multiple content types test:")
        data = _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
        return ToolResult(content=[text, image, data])

    @mcp.tool
    def test_error_handling() -> str:
        """Fail."""
        raise ToolError("This tool intentionally returns an error for testing")

    @mcp.tool
    def test_headers(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Take an argument that a header repeats."""
        return region

    mcp.add_tool(
        _Plain(
            name="json_schema_2020_12_tool",
            description="Tool with JSON Schema 2020-12 features",
            parameters=SCHEMA_2020_12,
        )
    )


class _Plain(Tool):
    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(content=[TextContent(type="text", text=json.dumps(arguments))])


def _conversations(mcp: FastMCP[Any]) -> None:
    @mcp.tool
    async def test_tool_with_logging(ctx: Context) -> str:
        """Log thrice."""
        for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(line)
            await asyncio.sleep(STEP_SECONDS)
        return "logged"

    @mcp.tool
    async def test_logging_tool(ctx: Context) -> str:
        """Log once."""
        await ctx.info("a line that nobody asked for")
        return "logged"

    @mcp.tool
    async def test_tool_with_progress(ctx: Context) -> str:
        """Report progress thrice."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
            await asyncio.sleep(STEP_SECONDS)
        return "done"

    @mcp.tool
    async def test_reconnection(ctx: Context) -> str:
        """Close the stream in the middle of the call."""
        await ctx.close_sse_stream()
        await asyncio.sleep(2 * STEP_SECONDS)
        return "answered after the client came back"

    @mcp.tool
    async def test_sampling(prompt: str, ctx: Context) -> str:
        """Ask the client's model."""
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        result = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
        return f"LLM response: {getattr(result.content, 'text', '')}"

    async def elicit(ctx: Context, message: str, properties: dict[str, Any], required: list[str]) -> str:
        schema = {"type": "object", "properties": properties, "required": required}
        result = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
        return f"action={result.action}, content={json.dumps(result.content)}"

    @mcp.tool
    async def test_elicitation(message: str, ctx: Context) -> str:
        """Ask the user."""
        fields = {"username": {"type": "string"}, "email": {"type": "string"}}
        return f"User response: {await elicit(ctx, message, fields, list(fields))}"

    @mcp.tool
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        """Ask with defaults."""
        fields = {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": True},
        }
        return f"Elicitation completed: {await elicit(ctx, 'Check these', fields, [])}"

    @mcp.tool
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        """Ask for choices."""
        options = ["option1", "option2", "option3"]
        titled = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
        fields = {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["One", "Two"]},
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        }
        return f"Elicitation completed: {await elicit(ctx, 'Choose', fields, [])}"


def _form(message: str, properties: dict[str, Any]) -> InputRequest:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str, tokens: int) -> InputRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=tokens))


def _asking(state: str | None = None, **requests: InputRequest) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def _answer(ctx: Context, key: str) -> dict[str, Any] | None:
    """What the client answered to `key`; None where it has not, or not as asked."""
    response = (ctx.input_responses or {}).get(key)
    if response is None:
        return None
    return response.model_dump(by_alias=True, mode="json", exclude_none=True)


def _content(ctx: Context, key: str, field: str) -> Any:
    return ((_answer(ctx, key) or {}).get("content") or {}).get(field)


def _inputs(mcp: FastMCP[Any]) -> None:
    """Multi-round-trip requests (SEP-2322)."""

    @mcp.tool
    async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Ask for a name."""
        name = _content(ctx, "user_name", "name")
        return f"Hello, {name}!" if name else _asking(user_name=_form("What is your name?", NAME))

    @mcp.tool
    async def test_streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Ask in the result, never in the stream."""
        name = _content(ctx, "user_name", "name")
        return f"Hello, {name}!" if name else _asking(user_name=_form("What is your name?", NAME))

    @mcp.tool
    async def test_input_required_result_sampling(ctx: Context) -> str | InputRequiredResult:
        """Ask the client's model."""
        answer = _answer(ctx, "capital_question")
        if answer is None:
            return _asking(capital_question=_sample("What is the capital of France?", 100))
        return f"The model says: {json.dumps(answer.get('content'))}"

    @mcp.tool
    async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequiredResult:
        """Ask for the roots."""
        answer = _answer(ctx, "client_roots")
        if answer is None:
            return _asking(client_roots=ListRootsRequest())
        return "Roots: " + ", ".join(str(root["uri"]) for root in answer.get("roots", []))

    async def confirmed(ctx: Context) -> str | InputRequiredResult:
        if _answer(ctx, "confirm") is None or ctx.request_state != "awaiting-confirmation":
            return _asking("awaiting-confirmation", confirm=_form("Please confirm", TRUE))
        return "state-ok: confirmed"

    @mcp.tool
    async def test_input_required_result_request_state(ctx: Context) -> str | InputRequiredResult:
        """Remember between the rounds."""
        return await confirmed(ctx)

    @mcp.tool
    async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequiredResult:
        """Remember between the rounds; the server seals the state."""
        return await confirmed(ctx)

    @mcp.tool
    async def test_input_required_result_multiple_inputs(ctx: Context) -> str | InputRequiredResult:
        """Ask three things at once."""
        keys = ("user_name", "greeting", "client_roots")
        if any(_answer(ctx, key) is None for key in keys):
            return _asking(
                "three-questions",
                user_name=_form("What is your name?", NAME),
                greeting=_sample("Generate a greeting", 50),
                client_roots=ListRootsRequest(),
            )
        return f"Thank you, {_content(ctx, 'user_name', 'name')}"

    @mcp.tool
    async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
        """Ask twice, one after the other."""
        state = json.loads(ctx.request_state) if ctx.request_state else {}
        if name := _content(ctx, "step1", "name"):
            color = _form("Step 2: What is your favorite color?", {"color": {"type": "string"}})
            return _asking(json.dumps({"name": name}), step2=color)
        if "name" in state and (color := _content(ctx, "step2", "color")):
            return f"{state['name']} likes {color}"
        return _asking(json.dumps({"round": 1}), step1=_form("Step 1: What is your name?", NAME))

    @mcp.tool
    async def test_input_required_result_capabilities(ctx: Context) -> str | InputRequiredResult:
        """Ask only for what the client can do."""
        can = ctx.session.client_capabilities
        asked: dict[str, InputRequest] = {}
        if can is not None and can.sampling is not None:
            asked["question"] = _sample("Say something", 50)
        if can is not None and can.elicitation is not None:
            asked["user_name"] = _form("What is your name?", NAME)
        return _asking(**asked) if asked and not ctx.input_responses else "nothing to ask"

    @mcp.tool
    async def test_missing_capability(ctx: Context) -> str:
        """Need sampling."""
        can = ctx.session.client_capabilities
        if can is None or can.sampling is None:
            data = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "the client must declare sampling", data)
        return "the client can sample"


def _resources(mcp: FastMCP[Any]) -> None:
    @mcp.resource("test://static-text", name="Static Text Resource", description="Text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @mcp.resource("test://static-binary", name="Static Binary Resource", description="Bytes", mime_type="image/png")
    def static_binary() -> bytes:
        return _png()

    @mcp.resource("test://watched-resource", name="Watched Resource", description="Watched", mime_type="text/plain")
    def watched() -> str:
        return "Watched resource content"

    @mcp.resource(
        "test://template/{id}/data", name="Resource Template", description="By id", mime_type="application/json"
    )
    def by_id(id: str) -> str:  # noqa: A002 - the suite's name of it
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @mcp.completion
    def complete(ref: Any, argument: Any, context: Any) -> list[str]:
        return [value for value in ("paris", "park", "party") if value.startswith(argument.value)]


def _prompts(mcp: FastMCP[Any]) -> None:
    @mcp.prompt
    def test_simple_prompt() -> str:
        """Without arguments."""
        return "This is a simple prompt for testing."

    @mcp.prompt
    def test_prompt_with_arguments(
        arg1: Annotated[str, Field(description="First test argument")],
        arg2: Annotated[str, Field(description="Second test argument")],
    ) -> str:
        """With arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @mcp.prompt(name="test_prompt_with_embedded_resource")
    def embedded(resourceUri: str) -> list[Message]:  # noqa: N803 - the suite's name of it
        """With a resource."""
        resource = _embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [Message(resource), Message("Please process the embedded resource above.")]

    @mcp.prompt
    def test_prompt_with_image() -> list[Message]:
        """With an image."""
        return [
            Message(ImageContent(type="image", data=PNG, mime_type="image/png")),
            Message("Please analyze the image above."),
        ]

    @mcp.prompt
    async def test_input_required_result_prompt(ctx: Context) -> str | InputRequiredResult:
        """Ask before there is a prompt."""
        context = _content(ctx, "user_context", "context")
        if context is None:
            fields = {"context": {"type": "string"}}
            return _asking(user_context=_form("What context should the prompt use?", fields))
        return f"Use this context: {context}"


def _changes(mcp: FastMCP[Any], subscribable: Subscribable) -> None:
    """Tools that change the lists, so that somebody has to be told."""
    turns = {"tool": 0, "prompt": 0}

    @mcp.tool
    async def test_trigger_tool_change() -> str:
        """Replace a tool."""
        if turns["tool"]:
            mcp.local_provider.remove_tool(f"changed_{turns['tool']}")
        turns["tool"] += 1
        parameters: dict[str, Any] = {"type": "object"}
        mcp.add_tool(_Plain(name=f"changed_{turns['tool']}", description="Comes and goes.", parameters=parameters))
        await subscribable.tools_changed()
        return "the tools have changed"

    @mcp.tool
    async def test_trigger_prompt_change() -> str:
        """Replace a prompt."""
        if turns["prompt"]:
            mcp.local_provider.remove_prompt(f"changed_{turns['prompt']}")
        turns["prompt"] += 1

        @mcp.prompt(name=f"changed_{turns['prompt']}")
        def changed() -> str:
            """Come and go."""
            return "changed"

        await subscribable.prompts_changed()
        return "the prompts have changed"

    @mcp.tool
    async def test_update_resource(uri: str) -> str:
        """Say that a resource has changed."""
        await subscribable.updated(uri)
        return "its subscribers know"


def _tasks(mcp: FastMCP[Any]) -> None:
    tasks = Tasks()
    mcp.add_extension(tasks)

    @mcp.tool
    def greet(name: str) -> str:
        """Greet at once."""
        return f"Hello, {name}!"

    @tasks.job(mcp, "slow_compute")
    async def slow_compute(arguments: Any, task: Task | None) -> str:
        await asyncio.sleep(float(arguments.get("seconds", 0)))
        return f"computed {arguments.get('label', '')}"

    @tasks.job(mcp, "failing_job", required=True)
    async def failing_job(arguments: Any, task: Task | None) -> str:
        await asyncio.sleep(STEP_SECONDS)
        raise ToolError("the job failed")

    @tasks.job(mcp, "protocol_error_job")
    async def protocol_error_job(arguments: Any, task: Task | None) -> str:
        raise RuntimeError("the job broke the protocol")

    def confirm(message: str) -> dict[str, Any]:
        schema = {"type": "object", "properties": {"confirm": {"type": "boolean"}}}
        return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}

    @tasks.job(mcp, "confirm_delete")
    async def confirm_delete(arguments: Any, task: Task | None) -> str:
        if task is None:
            return "deleted without asking"
        answers = await task.ask({"confirm": confirm(f"Delete {arguments.get('filename')}?")})
        return f"answered: {json.dumps(answers)}"

    @tasks.job(mcp, "multi_input")
    async def multi_input(arguments: Any, task: Task | None) -> str:
        if task is None:
            return "nobody to ask"
        return json.dumps(await task.ask({"first": confirm("First?"), "second": confirm("Second?")}))

    @mcp.tool
    async def test_tool_with_task(ctx: Context) -> str | InputRequiredResult:
        """Ask first, then work in the background."""
        name = _content(ctx, "user_name", "name")
        return f"Hello, {name}!" if name else _asking(user_name=_form("What is your name?", NAME))

    @tasks.job(mcp, "test_tool_with_task", required=True, after=("user_name",))
    async def with_task(arguments: Any, task: Task | None) -> str:
        await asyncio.sleep(STEP_SECONDS)
        return f"Hello, {arguments['user_name']['content']['name']}!"


async def serve(port: int) -> None:
    """Serve on a loopback port until the process is told to end."""
    app = build().http_app(host_origin_protection=True, event_store=EventStore(), retry_interval=100)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    with socket.create_server(("127.0.0.1", port), backlog=256) as listening:
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve([listening])


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
