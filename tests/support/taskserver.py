"""The tasks extension (`io.modelcontextprotocol/tasks`, SEP-2663) for a FastMCP server, with tasks held in memory.

tasks = Tasks()
mcp.add_extension(tasks)

@tasks.job(mcp, "slow_compute")
async def slow_compute(arguments, task):
    return "done"
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.extensions import MethodBinding, ServerExtension, ToolCallContinuation, ToolCallOutcome
from fastmcp.tools.base import Tool, ToolResult
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    Notification,
    RequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextContent,
)
from pydantic import BaseModel, ConfigDict, Field

TASKS = "io.modelcontextprotocol/tasks"
TTL_MS = 600_000
Job = Callable[[Mapping[str, Any], "Task | None"], Awaitable[str]]
"""Gets the call's arguments and its task, None where the client does not take tasks; returns the text of the result."""


class TaskParams(RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    input_responses: dict[str, Any] = Field(default_factory=dict)


class Flat(BaseModel):
    """A result of free shape."""

    model_config = ConfigDict(extra="allow")


class Task:
    """One running job: its state on the wire, and what it waits for."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.created = self.updated = datetime.now(UTC)
        self.status = "working"
        self.outcome: dict[str, Any] = {}
        self.asking: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.running: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        """Of the streams that tell of it; an empty object ends one."""

    def _changed(self) -> None:
        for tell in list(self.watchers):
            tell({**self.detailed(), "ttlMs": None})

    def detailed(self) -> dict[str, Any]:
        """What `tasks/get` answers."""
        asking = {"inputRequests": self.asking} if self.status == "input_required" else {}
        return {**self.wire(), **self.outcome, **asking}

    def settle(self, status: str, **outcome: Any) -> None:
        if self.status in ("working", "input_required"):
            self.status, self.outcome, self.updated = status, outcome, datetime.now(UTC)
            self._changed()

    async def ask(self, requests: dict[str, Any]) -> dict[str, Any]:
        """Wait for the client's answers to all `requests`, which `tasks/update` brings."""
        self.asking, self.status = dict(requests), "input_required"
        self._answered.clear()
        self._changed()
        await self._answered.wait()
        self.status = "working"
        return self.answers

    def answer(self, responses: Mapping[str, Any]) -> None:
        for key in responses.keys() & self.asking.keys():
            del self.asking[key]
            self.answers[key] = responses[key]
        if not self.asking:
            self._answered.set()

    def wire(self) -> dict[str, Any]:
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created.isoformat(),
            "lastUpdatedAt": self.updated.isoformat(),
            "ttlMs": TTL_MS,
            "pollIntervalMs": 100,
        }


class Tasks(ServerExtension):
    """See the module."""

    identifier = TASKS

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self._jobs: dict[str, tuple[Job, bool, tuple[str, ...]]] = {}

    def job(
        self, mcp: FastMCP[Any], name: str, *, required: bool = False, after: Sequence[str] = ()
    ) -> Callable[[Job], Job]:
        """Make a tool of an async function. `after` are the answers that its body asks for before there is a task."""

        def register(job: Job) -> Job:
            self._jobs[name] = (job, required, tuple(after))
            if name not in self._bodies:
                mcp.add_tool(_JobTool(name=name, description=f"Run {name}.", parameters={"type": "object"}, job=job))
            return job

        return register

    @property
    def _bodies(self) -> set[str]:
        return {name for name, (_, _, after) in self._jobs.items() if after}

    def methods(self) -> Sequence[MethodBinding]:
        return (
            MethodBinding("tasks/get", TaskParams, self._get),
            MethodBinding("tasks/update", UpdateParams, self._update),
            MethodBinding("tasks/cancel", TaskParams, self._cancel),
        )

    def tell(self, mcp: FastMCP[Any]) -> None:
        """Serve `subscriptions/listen` with `taskIds`, which FastMCP does not."""
        server = mcp._mcp_server
        server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)

    async def _listen(self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams) -> Any:
        if self.client_settings(ctx) is None:
            raise _needs_tasks()
        wanted = (params.notifications.model_extra or {}).get("taskIds", [])
        known = [task_id for task_id in wanted if task_id in self.tasks]
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        honored = SubscriptionFilter.model_validate({"taskIds": known})
        acknowledged = SubscriptionsAcknowledgedNotification(
            params=SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
        )
        await ctx.session.send_notification(acknowledged, related_request_id=ctx.request_id)
        try:
            for task_id in known:
                self.tasks[task_id].watchers.append(news.put_nowait)
            while task := await news.get():
                said: Any = Notification[dict[str, Any], str](
                    method="notifications/tasks", params={**task, "_meta": meta}
                )
                await ctx.session.send_notification(said, related_request_id=ctx.request_id)
        finally:
            for task_id in known:
                self.tasks[task_id].watchers.remove(news.put_nowait)
        return SubscriptionsListenResult(_meta=meta)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        return self._life()

    @contextlib.asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        yield
        running = [task.running for task in self.tasks.values() if task.running is not None]
        for job in running:
            job.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def intercept_tool_call(
        self, params: CallToolRequestParams, context: Context, call_next: ToolCallContinuation
    ) -> ToolCallOutcome:
        if params.name not in self._jobs:
            return await call_next()
        job, required, after = self._jobs[params.name]
        if not context.client_supports_extension(TASKS):
            if required:
                raise _needs_tasks()
            return await call_next()
        answers = params.input_responses or {}
        if not all(key in answers for key in after):
            return await call_next()
        task = Task()
        self.tasks[task.id] = task
        given = {key: answers[key].model_dump(by_alias=True, mode="json") for key in after}
        task.running = asyncio.get_running_loop().create_task(_run(task, job, {**(params.arguments or {}), **given}))
        return Flat.model_validate({"resultType": "task", **task.wire()})

    def _task(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Task:
        if self.client_settings(ctx) is None:
            raise _needs_tasks()
        if ctx.request is not None and ctx.request.headers.get("mcp-name") != params.task_id:
            raise MCPError(HEADER_MISMATCH, "Mcp-Name does not match params.taskId")
        task = self.tasks.get(params.task_id)
        if task is None:
            raise MCPError(INVALID_PARAMS, "Unknown task")
        return task

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        return {"resultType": "complete", **self._task(ctx, params).detailed()}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: UpdateParams) -> dict[str, Any]:
        self._task(ctx, params).answer(params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        task = self._task(ctx, params)
        task.settle("cancelled")
        if task.running is not None:
            task.running.cancel()
        return {"resultType": "complete"}


class _JobTool(Tool):
    job: Any

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(content=[TextContent(type="text", text=await self.job(arguments, None))])


async def _run(task: Task, job: Job, arguments: Mapping[str, Any]) -> None:
    try:
        text = await job(arguments, task)
        task.settle("completed", result=_text(text))
    except ToolError as error:
        task.settle("completed", result={**_text(str(error)), "isError": True})
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its task's failure
        task.settle("failed", error={"code": INTERNAL_ERROR, "message": str(error)})


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "resultType": "complete"}


def _needs_tasks() -> MCPError:
    data = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    return MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "the tasks extension is required", data)
