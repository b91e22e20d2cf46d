"""Calls of tools from within this process, by their ids, with each way that a call can end told apart.

They go the way of calls over MCP: what the caller may use, limits, the server's gate and circuit breaker, the rules of
`backends.ask` for a second attempt, results from memory, metrics, usage and audit.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, URL_ELICITATION_REQUIRED
from mcp_types.methods import is_input_required

from mcp_operator_proxy import executions
from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.ask import ask
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.classify import BackendError, classify
from mcp_operator_proxy.backends.session import Call
from mcp_operator_proxy.cache import caller_of, key_of
from mcp_operator_proxy.eras import translate
from mcp_operator_proxy.eras.capabilities import Capabilities
from mcp_operator_proxy.policy import ALLOW_ALL
from mcp_operator_proxy.provider import quarantined, show
from mcp_operator_proxy.registry.listing import Registered
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.services.arguments import ArgumentProblem, problems
from mcp_operator_proxy.services.credentials.token import CredentialProblem
from mcp_operator_proxy.services.names import owners
from mcp_operator_proxy.services.users.identity import on_behalf
from mcp_operator_proxy.services.users.instances import Nobody
from mcp_operator_proxy.services.windows import Call as CountedCall
from mcp_operator_proxy.table import Entry
from mcp_operator_proxy.usage import Status

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.state import State

logger = logging.getLogger(__name__)
DEFAULT_SECONDS: Final = 30.0
Decision: TypeAlias = Literal["allowed", "refused", "limited"]


@dataclass(frozen=True)
class Called:
    """A tool that ran. `failed`: it says of itself that it failed."""

    tool: Registered
    result: Mapping[str, Any]
    """`CallToolResult`, as clients of the route are shown it."""
    failed: bool
    seconds: float


class CallFailed(Exception):
    """A call without a result. The message holds no secret."""

    tool: Registered | None = None
    """Which, as far as it was found."""
    entry: Entry | None = None
    """The same, also where the caller may not call it."""


class UnknownTool(CallFailed):
    """Nothing of that id is shown to the caller."""


class CallForbidden(CallFailed):
    """The policy refuses it. The caller is told what it would be told of a tool that is not there."""


class ToolQuarantined(CallFailed):
    """Its definition is not approved."""


class BadArguments(CallFailed):
    """They do not fit the tool's schema: the call is not made."""

    def __init__(self, message: str, found: tuple[ArgumentProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = found


class ArgumentsRefused(BadArguments):
    """The server was asked, and does not take them."""


class CallLimited(CallFailed):
    """Too many calls; another may be made in `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CallTimedOut(CallFailed):
    """No answer in time. The tool may have run."""


class NeedsSignIn(CallFailed):
    """The server is shown a user's credential, and there is none that works."""

    def __init__(self, message: str, sign_in_url: str | None) -> None:
        super().__init__(message)
        self.sign_in_url = sign_in_url


class ToolAsks(CallFailed):
    """It asks its user something in the middle of a call, and nobody is there to answer."""


class ServerRefused(CallFailed):
    """The server answered with a JSON-RPC error of `code`."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Unreached:
    """Why a server gave no proper answer, and whether the tool may have run."""

    server: str
    report: ErrorReport
    executed: bool


class ServerDown(CallFailed):
    """The server cannot be reached, or what came is no answer."""

    def __init__(self, about: Unreached) -> None:
        super().__init__(f"server {about.server}: {about.report.message}")
        self.about = about


@dataclass(frozen=True)
class Caller:
    """Who calls: an authenticated caller, and the user for whom it does, if any."""

    principal: Principal | None = None
    user: str | None = None

    @property
    def owner(self) -> str | None:
        """Whose sessions with servers the call may use."""
        if self.user is not None:
            return on_behalf(self.user)
        return self.principal.key if self.principal else None


_STATUSES: Final[Mapping[type[CallFailed], Status]] = {
    CallForbidden: "denied",
    ToolQuarantined: "refused",
    BadArguments: "refused",
    CallLimited: "limited",
    CallTimedOut: "timeout",
    NeedsSignIn: "refused",
    ToolAsks: "unfinished",
}
_DECISIONS: Final[Mapping[type[CallFailed], Decision]] = {
    UnknownTool: "refused",
    CallForbidden: "refused",
    ToolQuarantined: "refused",
    BadArguments: "refused",
    CallLimited: "limited",
}


@dataclass
class Trail:
    """What is known of a call while it goes on, for whoever writes about it."""

    tool: Registered | None = None
    outcome: str = "error"
    decision: Decision = "allowed"
    trace: str | None = None
    """The `traceparent` that came with it."""


async def call_tool(
    proxy: "Proxy",
    caller: Caller,
    tool_id: str,
    arguments: Mapping[str, Any],
    *,
    seconds: float = DEFAULT_SECONDS,
    trail: Trail | None = None,
) -> Called:
    """Call the tool. `seconds` is for tools of which neither their server's settings nor their own say how long they may take.

    Raises:
        CallFailed: one of its kinds; there is no result.
    """
    trail = trail if trail is not None else Trail()
    began = time.perf_counter()
    execution = executions.begin()
    entry: Entry | None = None
    status: Status = "error"
    try:
        found = trail.tool = await _found(proxy, caller, tool_id)
        await _within_limits(proxy, caller, found)
        _refuse_quarantined(proxy.state, caller, tool_id)
        called = await _called(proxy, caller, found, arguments, seconds_of(proxy.state, found, seconds))
    except CallFailed as error:
        error.tool = trail.tool
        entry, status = error.entry, _status(error)
        trail.decision = _DECISIONS.get(type(error), "allowed")
        raise
    except asyncio.CancelledError:
        status = "cancelled"
        raise
    else:
        status = trail.outcome = "tool_error" if called.failed else "ok"
        return called
    finally:
        took, tool = time.perf_counter() - began, trail.tool
        proxy.services.audit.record(
            caller.principal,
            caller.user,
            "tools/call",
            tool_id,
            tool.server if tool is not None else None,
            trail.decision,
            trail.outcome,
            took,
            route=tool.path if tool is not None else None,
            trace=trail.trace,
            arguments=dict(arguments),
        )
        if tool is not None:
            proxy.metrics.observe(tool.path, "tools/call", trail.outcome, took)
            entry = tool.entry
        if entry is not None:
            proxy.record_call(entry, status, took)
        execution.status = status
        proxy.metrics.added("rest", execution.added(took))


def _status(error: CallFailed) -> Status:
    """How the call ended, for the metrics."""
    if isinstance(error, ServerDown):
        return executions.of_failure(error.__cause__)
    return _STATUSES.get(type(error), "error")


def seconds_of(state: "State | None", tool: Registered, default: float) -> float:
    """How long a call may take: as the settings of the tool or its server say, else `default`."""
    server = next((s for s in state.config.servers if s.id == tool.server), None) if state is not None else None
    own = tool.entry.timeout
    if server is None or "call_timeout_seconds" in server.model_fields_set or own != server.call_timeout_seconds:
        return own
    return default


async def _found(proxy: "Proxy", caller: Caller, tool_id: str) -> Registered:
    """Raises UnknownTool, CallForbidden, ToolQuarantined, ServerDown."""
    registry = proxy.services.registry
    await registry.decide(caller.principal, caller.user)
    _refuse_quarantined(proxy.state, caller, tool_id)
    found = registry.find(tool_id, caller.principal, caller.user)
    if found is None and registry.place(tool_id) is None and await _awaited(proxy, caller, tool_id):
        await registry.decide(caller.principal, caller.user)
        found = registry.find(tool_id, caller.principal, caller.user)
    if found is not None:
        return found
    hidden, state = registry.place(tool_id), proxy.state
    if hidden is not None and state is not None:
        reason = state.policy.refusal(caller.principal, hidden.path, "tool", hidden.document.name, hidden.entry)
        logger.info("call refused", extra={"tool": tool_id, "reason": reason})
        raise _of(hidden.entry, CallForbidden("there is no such tool"))
    raise UnknownTool("there is no such tool")


def _refuse_quarantined(state: "State | None", caller: Caller, tool_id: str) -> None:
    """Raises ToolQuarantined. Whom the policy does not show the tool hears nothing of it."""
    if state is None:
        return
    for path, table in state.table.items():
        for name, entry in table.quarantined.items():
            ids = {f"{server}.{entry.name}" for server in (entry.server, entry.server.partition("/")[2])}
            if tool_id in ids and state.policy.refusal(caller.principal, path, "tool", name, entry) is None:
                raise _of(entry, ToolQuarantined(quarantined(name, entry.server)))


def _of(entry: Entry, error: CallFailed) -> CallFailed:
    error.entry = entry
    return error


async def _awaited(proxy: "Proxy", caller: Caller, tool_id: str) -> bool:
    """Look for a server that has never been listed and whose tool it can be. Raises ServerDown, NeedsSignIn, CallForbidden."""
    state = proxy.state
    if state is None:
        return False
    for server in owners(state.config.servers, tool_id):
        if server.id in state.personal:
            backend = await _reached(proxy, caller, server.id)
            if not backend.status.ever_ready:
                try:
                    await backend.looked_for()
                except BackendError as error:
                    raise ServerDown(Unreached(server.id, error.report, error.executed)) from error
            return True
        found = state.backends.get(server.id)
        if found is None:
            stopped = ErrorReport(error_class="NotRunning", message="an operator has stopped it")
            raise ServerDown(Unreached(server.id, stopped, executed=False))
        if found.status.ever_ready:
            continue
        try:
            await found.looked_for()
        except BackendError as error:
            raise ServerDown(Unreached(server.id, error.report, error.executed)) from error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(server.connect_timeout_seconds):
                await proxy.caught_up()
        return True
    return False


async def _within_limits(proxy: "Proxy", caller: Caller, tool: Registered) -> None:
    """Raises CallLimited."""
    limits = proxy.services.limits
    if not limits.unlimited:
        found = await limits.check(CountedCall(caller.principal, tool.entry.name, tool.server, tool.path))
        if found is not None:
            raise CallLimited(f"too many calls: the limit {found.limit} is reached", found.seconds)


async def _called(
    proxy: "Proxy", caller: Caller, tool: Registered, arguments: Mapping[str, Any], seconds: float
) -> Called:
    if found := problems(tool.document.parameters, arguments):
        raise BadArguments("the parameters do not fit the tool's schema", tuple(found))
    backend = await _reached(proxy, caller, tool.server)
    deadline = asyncio.get_running_loop().time() + seconds
    began = time.perf_counter()

    async def make() -> dict[str, Any]:
        return await _asked(backend, caller, tool, arguments, deadline)

    try:
        if tool.entry.cache_seconds is None:
            result = await make()
        else:
            named = f"user {caller.user}" if caller.user is not None else caller_of(caller.principal, None)
            key = key_of(named, tool.path, backend.id, tool.entry.name, arguments)
            result = await proxy.cache.get_or_call(key, tool.entry.cache_seconds, make)
    except BackendError as error:
        if error.report.error_class == "Timeout" and asyncio.get_running_loop().time() >= deadline:
            raise CallTimedOut(f"no answer within {seconds:g} s") from error
        raise ServerDown(Unreached(backend.id, error.report, error.executed)) from error
    except MCPError as error:
        raise _refusal(error) from error
    if is_input_required(result):
        raise ToolAsks("the tool asks its user something, which only a client of MCP can answer")
    table = proxy.table(tool.path, caller.principal)
    shown = show("tools/call", result, modern=False, expose=table.exposer(backend.id))
    return Called(tool, shown, bool(shown.get("isError")), time.perf_counter() - began)


async def _reached(proxy: "Proxy", caller: Caller, server: str) -> Backend:
    """The server as the caller's user has it. Raises ServerDown, NeedsSignIn, CallForbidden, StoreUnavailable."""
    state = proxy.state
    if state is None or (server not in state.backends and server not in state.personal):
        gone = ErrorReport(error_class="NotRunning", message="it has just been removed")
        raise ServerDown(Unreached(server, gone, executed=False))
    try:
        return await proxy.services.users.backend_for(server, caller.user, caller.principal)
    except Nobody as error:
        if state.policy is ALLOW_ALL:
            raise CallForbidden(str(error)) from error
        raise UnknownTool("there is no such tool") from error  # nobody learns what there is
    except CredentialProblem as error:
        raise NeedsSignIn(error.message, error.sign_in_url) from error
    except BackendError as error:
        raise ServerDown(Unreached(server, error.report, error.executed)) from error


async def _asked(
    backend: Backend, caller: Caller, tool: Registered, arguments: Mapping[str, Any], deadline: float
) -> dict[str, Any]:
    """Raises BackendError, MCPError."""
    loop = asyncio.get_running_loop()
    key = Capabilities(owner=caller.owner)
    params = {"name": tool.entry.name, "arguments": dict(arguments)}

    async def once() -> dict[str, Any]:
        left = max(0.001, deadline - loop.time())
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(left):
                    session = await stack.enter_async_context(backend.pool.lease(key))
            except TimeoutError as error:
                raise BackendError(classify(error), executed=False) from error
            sent = translate.request_for(params, modern=session.connected.modern)
            return await session.request("tools/call", sent, Call(None, max(0.001, deadline - loop.time())))

    return await ask(backend, once, repeatable=tool.entry.idempotent, seconds=max(0.001, deadline - loop.time()))


def _refusal(error: MCPError) -> CallFailed:
    if error.code == URL_ELICITATION_REQUIRED:
        return ToolAsks("the tool sends its user to a web page first, which only a client of MCP can do")
    if error.code == INVALID_PARAMS:
        return ArgumentsRefused(f"the server does not take the parameters: {error.message}")
    return ServerRefused(error.message, error.code)
