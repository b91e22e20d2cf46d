"""What is known of one backend, and its report. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from mcp_types import Implementation, ServerCapabilities

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.backends.connect import ResolvedTransport
from mcp_operator_proxy.backends.digest import digest
from mcp_operator_proxy.backends.gate import GateReport
from mcp_operator_proxy.pinning.judge import MOST_REPORTED
from mcp_operator_proxy.report import ErrorReport, ProcessReport, ServerReport, UnapprovedTool

_TOLD_BY_SERVERS: Final = frozenset({"NotMCP", "ProtocolError", "NotRunning", "CrashLoop"})
"""Classes of errors whose messages quote the server, or the standard error of its process."""


@dataclass(frozen=True)
class Status:
    """What the last attempt to list the server found."""

    error: ErrorReport | None = None
    connected: bool = False
    """It has negotiated a session once."""
    ever_ready: bool = False
    """Its lists have been read once."""
    protocol_version: str | None = None
    server_name: str | None = None
    server_version: str | None = None
    transport: ResolvedTransport | None = None
    checked_at: datetime | None = None
    since: datetime | None = None
    """From when on it has been up, or down."""
    recoveries: int = 0
    """How often it has come up again after it had been down."""
    server_info: Implementation | None = None
    capabilities: ServerCapabilities | None = None
    instructions: str | None = None

    @property
    def phase(self) -> Literal["pending", "connected", "initialized", "error"]:
        if self.error is not None:
            return "error"
        return "initialized" if self.ever_ready else "connected" if self.connected else "pending"


class Digested:
    """The digest of a catalogue's tools, made when it is asked for and kept while the catalogue is the same."""

    def __init__(self) -> None:
        self._made: tuple[Catalogue, str] | None = None

    def of(self, catalogue: Catalogue) -> str:
        made = self._made
        if made is None or made[0] is not catalogue:
            made = self._made = (catalogue, digest(catalogue.tools))
        return made[1]


def server_report(
    server: str,
    status: Status,
    catalogue: Catalogue,
    gate: GateReport,
    process: ProcessReport | None = None,
    *,
    digested: Digested,
    unapproved: tuple[UnapprovedTool, ...] = (),
) -> ServerReport:
    """One server's part of the proxy's status."""
    return ServerReport(
        id=server,
        state="error" if status.error else "ready" if status.ever_ready else "pending",
        phase=status.phase,
        circuit=gate.circuit,
        error=status.error,
        protocol_version=status.protocol_version,
        server_name=status.server_name,
        server_version=status.server_version,
        transport=status.transport,
        tools=tuple(sorted(str(tool["name"]) for tool in catalogue.tools)),
        digest=digested.of(catalogue) if status.ever_ready else "",
        prompts=len(catalogue.prompts),
        resources=len(catalogue.resources),
        resource_templates=len(catalogue.resource_templates),
        checked_at=status.checked_at,
        process=process,
        up_since=status.since if status.ever_ready and status.error is None else None,
        restarts=status.recoveries if process is None else process.restarts,
        unapproved=unapproved[:MOST_REPORTED],
        unapproved_total=len(unapproved),
    )


def users_report(server: str, instances: Sequence[ServerReport]) -> ServerReport:
    """The part of a server of which each user has an instance. Its lists are the users' own, so none is told.

    It is ready where one of them is, or where nobody has one; otherwise it says what the first one says. Whoever reaches the
    proxy may read it, so that what a user's own server or process said is not in it.
    """
    said = next((report for report in instances if report.state == "ready"), instances[0] if instances else None)
    if said is None:
        return ServerReport(id=server, state="ready", phase="initialized")
    nothing: dict[str, Any] = {
        "tools": (),
        "digest": "",
        "prompts": 0,
        "resources": 0,
        "resource_templates": 0,
        "unapproved": (),
    }
    processes = [report.process for report in instances if report.process is not None]
    together = None
    if processes:
        sums = {"processes": sum(p.processes for p in processes), "restarts": sum(p.restarts for p in processes)}
        together = processes[0].model_copy(
            update={"pid": None, "uptime_seconds": None, "last_error": None, "stderr": (), **sums}
        )
    nothing["restarts"] = sum(report.restarts for report in instances)
    return said.model_copy(update={**nothing, "id": server, "error": _without_words(said.error), "process": together})


def _without_words(error: ErrorReport | None) -> ErrorReport | None:
    if error is None or error.error_class not in _TOLD_BY_SERVERS:
        return error
    return error.model_copy(update={"message": "a server of one of its users: the proxy's log has what it said"})
