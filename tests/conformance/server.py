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
from asking import NAME, STEP_SECONDS, asking, capabilities, content, conversations, form, inputs, rounds
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.server.event_store import EventStore
from fastmcp.tools.base import Tool, ToolResult
from mcp_types import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from support.subscribable import Subscribable
from support.taskserver import Task, Tasks


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
    conversations(mcp)
    inputs(mcp)
    rounds(mcp)
    capabilities(mcp)
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
        context = content(ctx, "user_context", "context")
        if context is None:
            fields = {"context": {"type": "string"}}
            return asking(user_context=form("What context should the prompt use?", fields))
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
        name = content(ctx, "user_name", "name")
        return f"Hello, {name}!" if name else asking(user_name=form("What is your name?", NAME))

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
