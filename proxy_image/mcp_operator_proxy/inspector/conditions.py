"""What the proxy itself knows of a server, as conditions of the kind that Kubernetes has. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mcp_operator_proxy.config import Server
from mcp_operator_proxy.inspector.models import Condition
from mcp_operator_proxy.report import ServerReport

CIRCUITS = {"closed": "Closed", "open": "Open", "half-open": "HalfOpen"}


@dataclass(frozen=True)
class Seen:
    """`since`: from when on it has been up or down. `waits`: why it is shown no credential yet; empty where it is."""

    now: datetime
    since: datetime | None = None
    waits: str = ""


def conditions(server: Server, report: ServerReport, seen: Seen) -> list[Condition]:
    """Those that mean something for this server."""
    if report.stopped:
        message = "an operator has stopped it"
        return [
            Condition(type="Connected", status="False", reason="Stopped", message=message, since=None),
            Condition(type="Listed", status="False", reason="Stopped", message=message, since=None),
        ]
    return [
        _connected(server, report, seen),
        _listed(server, report, seen),
        Condition(
            type="CircuitClosed",
            status="True" if report.circuit == "closed" else "False",
            reason=CIRCUITS[report.circuit],
            message="" if report.circuit == "closed" else "several calls in a row were not answered",
            since=None,
        ),
        *_process(report, seen),
        *_definitions(server, report),
        *_credential(server, seen),
    ]


def _connected(server: Server, report: ServerReport, seen: Seen) -> Condition:
    if report.error is not None:
        return Condition(
            type="Connected",
            status="False",
            reason=report.error.error_class,
            message=report.error.message,
            since=seen.since,
        )
    if server.of_users:
        message = "each user has an instance of its own"
        return Condition(type="Connected", status="True", reason="EachUser", message=message, since=None)
    if report.phase == "pending":
        return Condition(
            type="Connected", status="Unknown", reason="NeverAnswered", message="it has not answered yet", since=None
        )
    version = f"protocol {report.protocol_version}" if report.protocol_version else "connected"
    return Condition(type="Connected", status="True", reason="Negotiated", message=version, since=seen.since)


def _listed(server: Server, report: ServerReport, seen: Seen) -> Condition:
    if server.of_users:
        return Condition(
            type="Listed", status="Unknown", reason="EachUser", message="its lists are the users' own", since=None
        )
    if report.phase == "initialized":
        counts = {"tool": len(report.tools), "prompt": report.prompts, "resource": report.resources}
        said = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
        return Condition(type="Listed", status="True", reason="ListsRead", message=said, since=seen.since)
    if report.error is not None and report.digest:
        said = "the last good lists are shown"
        return Condition(type="Listed", status="True", reason="LastGood", message=said, since=None)
    return Condition(
        type="Listed", status="False", reason="NotListed", message="its lists have not been read yet", since=None
    )


def _process(report: ServerReport, seen: Seen) -> Iterator[Condition]:
    process = report.process
    if process is None:
        return
    running = process.state in {"ready", "idle"}
    since = seen.now - timedelta(seconds=process.uptime_seconds) if process.uptime_seconds is not None else None
    reason = "".join(part.capitalize() for part in process.state.split("-"))
    message = process.last_error or f"{process.restarts} restarts"
    yield Condition(
        type="ProcessRunning", status="True" if running else "False", reason=reason, message=message, since=since
    )


def _definitions(server: Server, report: ServerReport) -> Iterator[Condition]:
    if server.pinning == "off":
        return
    total = report.unapproved_total
    if total:
        word = "quarantined" if server.pinning == "enforce" else "served all the same"
        message = f"{total} definitions are not approved: {word}"
        yield Condition(type="DefinitionsApproved", status="False", reason="NotApproved", message=message, since=None)
    else:
        yield Condition(
            type="DefinitionsApproved", status="True", reason="Approved", message="all are as approved", since=None
        )


def _credential(server: Server, seen: Seen) -> Iterator[Condition]:
    if server.credential is None:
        return
    if server.credential.kind != "clientCredentials":
        message = "each user shows his own: see sessions"
        yield Condition(type="CredentialReady", status="Unknown", reason="EachUser", message=message, since=None)
    elif seen.waits:
        yield Condition(type="CredentialReady", status="False", reason="Waiting", message=seen.waits, since=None)
    else:
        yield Condition(
            type="CredentialReady", status="True", reason="Shown", message="it is shown a token", since=None
        )
