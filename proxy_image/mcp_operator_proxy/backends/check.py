"""Test a connection: connect afresh, negotiate, and say what was found or why not.

report = await check(Target(url="http://127.0.0.1:8000/mcp"), Retry())
print(report.era, report.server_name, report.latency_seconds, report.error)
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mcp_operator_proxy.backends.classify import BackendError, classify
from mcp_operator_proxy.backends.connect import Connected, Era, ResolvedTransport, Target, connect
from mcp_operator_proxy.backends.oauth import explain
from mcp_operator_proxy.backends.retry import pause
from mcp_operator_proxy.backends.stdio import StdioHost
from mcp_operator_proxy.config import Retry
from mcp_operator_proxy.report import ErrorReport


@dataclass(frozen=True, kw_only=True)
class ConnectionReport:
    """What a test of a connection found. Either `error` is set, or all the others are."""

    error: ErrorReport | None = None
    attempts: int = 1
    latency_seconds: float | None = None
    """From the first packet to a negotiated session, of the attempt that succeeded."""
    era: Literal["legacy", "modern"] | None = None
    """The handshake (up to 2025-11-25), or 2026-07-28 and later."""
    protocol_version: str | None = None
    transport: ResolvedTransport | None = None
    server_name: str | None = None
    server_version: str | None = None
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """As the server declared them."""

    @property
    def ok(self) -> bool:
        return self.error is None


async def check_host(host: StdioHost, target: Target, retry: Retry) -> ConnectionReport:
    """Like `check`, of a stdio server that is served: its process is opened by the first attempt, if it was not before."""
    era = host.era or "legacy"
    report = await check(target, retry, era=era)
    return report if report.error is None or host.era in {None, era} else await check(target, retry, era=host.era)


async def check(target: Target, retry: Retry, *, era: Era | None = None) -> ConnectionReport:
    """Connect to `target` on connections of its own; each of the `retry.attempts` may take `target.connect_timeout` seconds.

    `era` is given where it is known without asking. What only an edit can mend (credentials, TLS, a wrong path) is not tried again.
    """
    error: ErrorReport | None = None
    for attempt in range(1, retry.attempts + 1):
        if attempt > 1:
            await asyncio.sleep(pause(Retry(attempts=attempt, backoff_seconds=retry.backoff_seconds), attempt - 1))
        started = time.perf_counter()
        try:
            async with connect(target, era=era) as connected:
                return _found(connected, time.perf_counter() - started, attempt)
        except Exception as failure:  # noqa: BLE001 - whatever a server does, the report says it
            error = await explained(target, failure)
        if error.error_class in LASTING:
            return ConnectionReport(error=error, attempts=attempt)
    return ConnectionReport(error=error, attempts=retry.attempts)


LASTING = frozenset({"TLSFailure", "Unauthorized", "NotFound", "NotMCP", "ProtocolError", "InternalError"})
"""Classes of errors that do not go away by themselves."""


async def explained(target: Target, error: BaseException) -> ErrorReport:
    """The report of `error`. For a 401 without an Authorization header of ours it says what the server wants."""
    report = classify(error, secrets=target.secrets)
    if not isinstance(error, BackendError) or error.challenge is None:
        return report
    if any(name.lower() == "authorization" for name in target.headers):
        return report.model_copy(
            update={"message": "the server refused the configured Authorization header (HTTP 401)"}
        )
    words = await explain(target, error.challenge)
    return report if words is None else report.model_copy(update={"message": f"HTTP 401: {words}"})


def _found(connected: Connected, seconds: float, attempts: int) -> ConnectionReport:
    info = connected.server_info
    return ConnectionReport(
        attempts=attempts,
        latency_seconds=seconds,
        era="modern" if connected.modern else "legacy",
        protocol_version=connected.protocol_version,
        transport=connected.transport,
        server_name=info.name if info else None,
        server_version=info.version if info else None,
        capabilities=connected.capabilities.model_dump(by_alias=True, mode="json", exclude_none=True),
    )
