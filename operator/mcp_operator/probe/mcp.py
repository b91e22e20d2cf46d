"""One probe: speak MCP to a server as a client does, and say what it is or why it is none."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from mcp_operator.probe.bridge import ask_bridge
from mcp_operator.probe.exchange import exchange
from mcp_operator.probe.facts import ProbeResult, ServerFacts, clip, definitions, tool_names
from mcp_operator.probe.plain import Listed, look
from mcp_operator.probe.target import Target
from mcp_operator_proxy.backends.catalogue import Catalogue, EndlessList, list_catalogue
from mcp_operator_proxy.backends.connect import Connected
from mcp_operator_proxy.backends.digest import digest
from mcp_operator_proxy.backends.lean.session import LeanSession
from mcp_operator_proxy.report import ErrorReport

MAX_TOOLS: Final = 10_000
_LEAST_SECONDS: Final = 0.05
"""What is left to the library's session at least, where the plain way has met something odd."""


async def probe(target: Target) -> ProbeResult:
    """Connect, negotiate, list everything, end the session: see `plain` and `exchange`. At most `MAX_TOOLS` tools are taken in."""
    started = time.monotonic()
    plain = await look(target)
    if isinstance(plain, Listed):
        found, seconds = _judged(plain.session, plain.catalogue, keep=target.definitions), plain.ended - started
    elif isinstance(plain, ErrorReport):
        found, seconds = plain, time.monotonic() - started
    else:
        before = time.monotonic() - started
        rest = replace(target, timeout=max(target.timeout - before, _LEAST_SECONDS))
        found, seconds = await exchange(rest, partial(_list, keep=target.definitions) if target.lists else _meet)
        seconds += before
    if target.guarded and isinstance(found, ErrorReport) and found.error_class == "Unauthorized":
        found = ServerFacts(protocol_version="", transport="sse" if target.transport == "sse" else "streamable-http")
    if isinstance(found, ErrorReport):
        if target.bridge is not None:
            found = await ask_bridge(target.bridge) or found
        return ProbeResult(time=datetime.now(UTC), seconds=seconds, error=found)
    return ProbeResult(time=datetime.now(UTC), seconds=seconds, facts=found)


async def _meet(connected: Connected) -> ServerFacts | ErrorReport:
    return _facts(connected, Catalogue())


async def _list(connected: Connected, *, keep: bool) -> ServerFacts | ErrorReport:
    try:
        catalogue = await list_catalogue(connected)
    except EndlessList as error:
        return ErrorReport(error_class="ProtocolError", message=str(error))
    return _judged(connected, catalogue, keep=keep)


def _judged(connected: Connected | LeanSession, catalogue: Catalogue, *, keep: bool) -> ServerFacts | ErrorReport:
    if len(catalogue.tools) > MAX_TOOLS:
        return _too_many(len(catalogue.tools))
    return _facts(connected, catalogue, keep=keep)


def _facts(connected: Connected | LeanSession, catalogue: Catalogue, *, keep: bool = False) -> ServerFacts:
    info = connected.server_info
    return ServerFacts(
        protocol_version=clip(connected.protocol_version),
        transport=connected.transport,
        server_name=clip(info.name if info else ""),
        server_version=clip(info.version if info else ""),
        tools=tool_names(catalogue.tools),
        digest=digest(catalogue.tools),
        definitions=definitions(catalogue.tools) if keep else None,
        prompts=len(catalogue.prompts),
        resources=len(catalogue.resources),
        resource_templates=len(catalogue.resource_templates),
    )


def _too_many(count: int) -> ErrorReport:
    return ErrorReport(
        error_class="ProtocolError", message=f"the server lists {count} tools; at most {MAX_TOOLS} are supported"
    )
