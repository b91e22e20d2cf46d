"""What is wrong with a request of the tasks extension (SEP-2663) before a server is asked."""

from collections.abc import Iterable
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY, RequestParams

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.backends.relay import FrontContext
from mcp_operator_proxy.eras import translate, uris
from mcp_operator_proxy.eras.capabilities import TASKS, takes_tasks


class TaskParams(RequestParams):
    """What `tasks/get`, `tasks/update` and `tasks/cancel` have in common."""

    task_id: str


def check_task_request(ctx: FrontContext, params: TaskParams, offered: Iterable[Catalogue]) -> None:
    """Raises MCPError: no server of the route has tasks, the client did not declare them, or a header is wrong."""
    if not translate.is_modern(ctx.protocol_version) or not any(TASKS in one.extensions for one in offered):
        raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
    if not takes_tasks(ctx.session.client_capabilities):
        raise needs_tasks()
    if ctx.request is None or "headers" not in ctx.request.scope or ctx.request.scope["method"] != "POST":
        return  # not streamable HTTP: there are no headers to compare
    if decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "mcp-name header does not match the request body's 'taskId' parameter")


def needs_tasks() -> MCPError:
    """For a client that did not declare the extension."""
    needed: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    return MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, f"the client must declare the extension {TASKS}", needed)


def shown_task(task: dict[str, Any], task_id: str, expose: uris.Expose | None) -> dict[str, Any]:
    """A task as its server tells of it, under the id that the client knows, with the URIs that the client knows."""
    if "taskId" in task:
        task = {**task, "taskId": task_id}
    if isinstance(inner := task.get("result"), dict):
        task = {**task, "result": uris.rewrite("tools/call", inner, expose)}
    return translate.without_connection_meta(task)
