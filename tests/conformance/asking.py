"""The suite's tools that talk with the client: logs, progress, requests to it, and multi-round-trip requests (SEP-2322)."""

import asyncio
import json
from typing import Any, Final

from fastmcp import Context, FastMCP
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

TRUE: Final[dict[str, Any]] = {"ok": {"type": "boolean"}}
NAME: Final[dict[str, Any]] = {"name": {"type": "string"}}
STEP_SECONDS: Final = 0.05


def conversations(mcp: FastMCP[Any]) -> None:
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


def form(message: str, properties: dict[str, Any]) -> InputRequest:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str, tokens: int) -> InputRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=tokens))


def asking(state: str | None = None, **requests: InputRequest) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def _answer(ctx: Context, key: str) -> dict[str, Any] | None:
    """What the client answered to `key`; None where it has not, or not as asked."""
    response = (ctx.input_responses or {}).get(key)
    if response is None:
        return None
    return response.model_dump(by_alias=True, mode="json", exclude_none=True)


def content(ctx: Context, key: str, field: str) -> Any:
    return ((_answer(ctx, key) or {}).get("content") or {}).get(field)


def inputs(mcp: FastMCP[Any]) -> None:
    """Multi-round-trip requests (SEP-2322)."""

    @mcp.tool
    async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Ask for a name."""
        name = content(ctx, "user_name", "name")
        return f"Hello, {name}!" if name else asking(user_name=form("What is your name?", NAME))

    @mcp.tool
    async def test_streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Ask in the result, never in the stream."""
        name = content(ctx, "user_name", "name")
        return f"Hello, {name}!" if name else asking(user_name=form("What is your name?", NAME))

    @mcp.tool
    async def test_input_required_result_sampling(ctx: Context) -> str | InputRequiredResult:
        """Ask the client's model."""
        answer = _answer(ctx, "capital_question")
        if answer is None:
            return asking(capital_question=_sample("What is the capital of France?", 100))
        return f"The model says: {json.dumps(answer.get('content'))}"

    @mcp.tool
    async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequiredResult:
        """Ask for the roots."""
        answer = _answer(ctx, "client_roots")
        if answer is None:
            return asking(client_roots=ListRootsRequest())
        return "Roots: " + ", ".join(str(root["uri"]) for root in answer.get("roots", []))


def rounds(mcp: FastMCP[Any]) -> None:
    """Multi-round-trip requests that remember something in between."""

    async def confirmed(ctx: Context) -> str | InputRequiredResult:
        if _answer(ctx, "confirm") is None or ctx.request_state != "awaiting-confirmation":
            return asking("awaiting-confirmation", confirm=form("Please confirm", TRUE))
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
            return asking(
                "three-questions",
                user_name=form("What is your name?", NAME),
                greeting=_sample("Generate a greeting", 50),
                client_roots=ListRootsRequest(),
            )
        return f"Thank you, {content(ctx, 'user_name', 'name')}"

    @mcp.tool
    async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
        """Ask twice, one after the other."""
        state = json.loads(ctx.request_state) if ctx.request_state else {}
        if name := content(ctx, "step1", "name"):
            color = form("Step 2: What is your favorite color?", {"color": {"type": "string"}})
            return asking(json.dumps({"name": name}), step2=color)
        if "name" in state and (color := content(ctx, "step2", "color")):
            return f"{state['name']} likes {color}"
        return asking(json.dumps({"round": 1}), step1=form("Step 1: What is your name?", NAME))


def capabilities(mcp: FastMCP[Any]) -> None:
    """Ask only what the client can be asked."""

    @mcp.tool
    async def test_input_required_result_capabilities(ctx: Context) -> str | InputRequiredResult:
        """Ask only for what the client can do."""
        can = ctx.session.client_capabilities
        asked: dict[str, InputRequest] = {}
        if can is not None and can.sampling is not None:
            asked["question"] = _sample("Say something", 50)
        if can is not None and can.elicitation is not None:
            asked["user_name"] = form("What is your name?", NAME)
        return asking(**asked) if asked and not ctx.input_responses else "nothing to ask"

    @mcp.tool
    async def test_missing_capability(ctx: Context) -> str:
        """Need sampling."""
        can = ctx.session.client_capabilities
        if can is None or can.sampling is None:
            data = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "the client must declare sampling", data)
        return "the client can sample"
