"""`/tools`: what there is, what fits a query, and calls."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from mcp_operator_proxy.registry.listing import Registered
from mcp_operator_proxy.services import calls
from mcp_operator_proxy.services.calls import Called, Caller, CallFailed, Trail, call_tool
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.asking import Asked, Asking
from mcp_operator_proxy.services.rest.models import (
    FoundTool,
    SearchAnswer,
    ServerId,
    Tool,
    ToolAnswer,
    ToolCall,
    ToolList,
)
from mcp_operator_proxy.services.rest.outcomes import told
from mcp_operator_proxy.services.rest.problems import ProblemError, responses
from mcp_operator_proxy.services.rest.users import acting

router = APIRouter(prefix="/tools", tags=["tools"])
_COMMON = (problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.INVALID_REQUEST, problems.WRONG_HOST)
_CALL = (
    *_COMMON,
    problems.MALFORMED,
    problems.TOO_LARGE,
    problems.UNKNOWN_TOOL,
    problems.QUARANTINED,
    problems.UNKNOWN_SESSION,
    problems.BAD_PARAMETERS,
    problems.INPUT_REQUIRED,
    problems.SIGN_IN,
    problems.RATE_LIMITED,
    problems.TIMEOUT,
    problems.UNAVAILABLE,
    problems.STORE_DOWN,
    problems.BAD_ANSWER,
    problems.SERVER_ERROR,
    problems.NEEDS_REDIS,
)
Text = Annotated[str, Query(max_length=2000)]


@router.get(
    "/list", operation_id="listTools", responses=responses(*_COMMON, problems.UNKNOWN_SERVER, problems.AMBIGUOUS_SERVER)
)
async def list_tools(
    *,
    asked: Asked,
    server_id: Annotated[ServerId | None, Query(description="`namespace/name`, or a name that is unique.")] = None,
    category: Annotated[str | None, Query(max_length=128)] = None,
    search: Annotated[
        str | None, Query(max_length=2000, description="Words, all of which are in a name or description.")
    ] = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> ToolList:
    """The tools that the caller may call, in the order of the configuration."""
    server = asked.server(server_id).id if server_id is not None else None
    words = search.lower().split() if search else []
    found = [
        tool
        for tool in await _listed(asked)
        if (server is None or tool.server == server)
        and (category is None or tool.document.category == category)
        and _has(tool, words)
    ]
    start = (page - 1) * page_size
    shown = [Tool(**_shown(tool)) for tool in found[start : start + page_size]]
    return ToolList(tools=shown, total=len(found), page=page, page_size=page_size)


@router.get("/search", operation_id="searchTools", responses=responses(*_COMMON))
async def search_tools(
    asked: Asked,
    q: Annotated[str, Query(min_length=1, max_length=2000)],
    limit: Annotated[int | None, Query(ge=1, le=100)] = None,
) -> SearchAnswer:
    """By words and by meaning: the tools that fit best, of those that the caller may call and whose servers answer."""
    hits = await asked.proxy.services.registry.search(q, limit, principal=asked.principal, user=asked.own_user)
    return SearchAnswer(query=q, tools=[FoundTool(**_shown(hit.tool), score=hit.score) for hit in hits])


@router.post("/call", operation_id="callTool", responses=responses(*_CALL))
async def call(asked: Asked, body: ToolCall) -> ToolAnswer:
    """Call a tool and wait for its result. A tool that fails by its own account is an answer: `success` is false."""
    rest = asked.state.config.rest
    seconds = rest.tool_timeout_seconds if rest is not None else calls.DEFAULT_SECONDS
    user = await acting(asked, body.user_id, body.session_id, body.tool_id)
    trail = Trail(trace=asked.request.headers.get("traceparent"))
    try:
        called = await call_tool(
            asked.proxy, Caller(asked.principal, user), body.tool_id, body.parameters, seconds=seconds, trail=trail
        )
    except CallFailed as error:
        raise told(error, body.tool_id) from error
    finally:
        outcome = trail.outcome if trail.decision == "allowed" else trail.decision
        asked.note(mcp_method="tools/call", mcp_name=body.tool_id, mcp_outcome=outcome)
        if trail.tool is not None:
            asked.route(trail.tool.path)
    return _answer(called)


@router.get("/{tool_id:path}", operation_id="getTool", responses=responses(*_COMMON, problems.UNKNOWN_TOOL))
async def get_tool(asked: Asked, tool_id: str) -> Tool:
    """One tool."""
    await asked.proxy.services.registry.decide(asked.principal, asked.own_user)
    found = asked.proxy.services.registry.find(tool_id, asked.principal, asked.own_user)
    if found is None:
        raise ProblemError(problems.UNKNOWN_TOOL, "there is no such tool", tool_id=tool_id[:300])
    return Tool(**_shown(found))


async def _listed(asked: Asking) -> list[Registered]:
    await asked.proxy.services.registry.look(asked.principal, asked.own_user)
    return asked.proxy.services.registry.registered(asked.principal, asked.own_user)


def _has(tool: Registered, words: list[str]) -> bool:
    if not words:
        return True
    about = tool.document
    text = f"{about.id} {about.name} {about.title} {about.description} {about.category}".lower()
    return all(word in text for word in words)


def _shown(tool: Registered) -> dict[str, Any]:
    about = tool.document
    return {
        "tool_id": about.id,
        "server_id": tool.server,
        "name": about.name,
        "description": about.description,
        "parameters": dict(about.parameters),
        "category": about.category,
    }


def _answer(called: Called) -> ToolAnswer:
    return ToolAnswer(
        success=not called.failed,
        result=dict(called.result),
        execution_time_ms=round(called.seconds * 1000, 3),
        tool_id=called.tool.document.id,
        timestamp=datetime.now(UTC),
    )
