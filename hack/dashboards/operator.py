"""The operator, and what it finds out about resources."""

from typing import Final

from dashboards.model import GOOD_IS_LOW, Body, Row, Variable, dashboard, lines, quantiles, stat, table
from dashboards.servers import rate

OWN: Final = 'namespace=~"$namespace"'
"""The operator's own namespace."""


def ours(expr: str) -> str:
    """Series whose names other controllers use, too: those of processes that take part in the election."""
    return f"({expr} and on (instance, job) mcp_operator_leader{{{OWN}}})"


def _now() -> Row:
    unmet = f'count(mcp_operator_unmet_conditions{{{OWN}, condition="Ready", status="False"}}) or vector(0)'
    oldest = f"max(mcp_operator_watch_age_seconds{{{OWN}}})"
    return Row(
        "Now",
        (
            stat(
                "Leaders",
                f"sum(mcp_operator_leader{{{OWN}}})",
                "none",
                steps=((None, "red"), (1.0, "green"), (2.0, "red")),
            ),
            stat("Resources", f"sum(mcp_operator_objects{{{OWN}}})", "none"),
            stat("Resources that are not ready", unmet, "none", steps=GOOD_IS_LOW),
            stat("Keys that wait", f"sum({ours('workqueue_depth')})", "none"),
            stat("Age of the oldest watch", oldest, "s", steps=((None, "green"), (90.0, "orange"), (180.0, "red"))),
            stat("Oldest pass under way", f"max({ours('controller_longest_running_reconcile_seconds')})", "s"),
        ),
    )


def _resources() -> Row:
    probes = f"sum by (outcome) ({rate(f'mcp_operator_probes_total{{{OWN}}}')})"
    canaries = f"sum by (outcome) ({rate(f'mcp_operator_canary_calls_total{{{OWN}}}')})"
    return Row(
        "Resources",
        (
            table(
                "What does not hold",
                "none",
                f"max by (kind, object, condition, status, reason) (mcp_operator_unmet_conditions{{{OWN}}})",
                about="docs/conditions.md has each reason with what to do.",
                width=12,
                height=9,
            ),
            lines(
                "Resources by readiness",
                "none",
                (f"sum by (kind, ready) (mcp_operator_objects{{{OWN}}})", "{{kind}} {{ready}}"),
                width=12,
                height=9,
            ),
            lines("Probes", "ops", (probes, "{{outcome}}"), width=6),
            quantiles(
                "Duration of a probe", f"sum by (le) ({rate(f'mcp_operator_probe_seconds_bucket{{{OWN}}}')})", width=6
            ),
            lines("Canary calls", "ops", (canaries, "{{outcome}}"), width=6),
            lines(
                "Restarts of servers that were ordered",
                "ops",
                (f"sum({rate(f'mcp_operator_server_restarts_total{{{OWN}}}')})", "restarts"),
                width=6,
            ),
        ),
    )


def _work() -> Row:
    passes = ours(rate("controller_reconcile_total"))
    return Row(
        "Work",
        (
            lines("Passes", "ops", (f"sum by (kind, result) ({passes})", "{{kind}} {{result}}")),
            quantiles("Duration of a pass", f"sum by (le) ({ours(rate('controller_reconcile_time_seconds_bucket'))})"),
            quantiles("Time in line", f"sum by (le) ({ours(rate('workqueue_queue_duration_seconds_bucket'))})"),
            lines(
                "Keys that wait, workers at work",
                "none",
                (f"sum({ours('workqueue_depth')})", "waiting"),
                (f"sum({ours('controller_active_workers')})", "at work"),
            ),
            lines(
                "Keys put in line",
                "ops",
                (f"sum by (kind) ({ours(rate('workqueue_adds_total'))})", "{{kind}}"),
                (f"sum by (kind) ({ours(rate('workqueue_retries_total'))})", "{{kind}} once more"),
            ),
            lines(
                "Found by listing, told by no watch",
                "ops",
                (f"sum by (kind) ({ours(rate('controller_resync_differences_total'))})", "{{kind}}"),
            ),
        ),
    )


def _cluster() -> Row:
    requests = f"sum by (method, code) ({rate(f'mcp_operator_api_requests_total{{{OWN}}}')})"
    return Row(
        "API server and leadership",
        (
            lines("Requests to the API server", "reqps", (requests, "{{method}} {{code}}")),
            quantiles(
                "Time until it answers", f"sum by (le) ({rate(f'mcp_operator_api_request_seconds_bucket{{{OWN}}}')})"
            ),
            lines("Age of watches", "s", (f"max by (kind) (mcp_operator_watch_age_seconds{{{OWN}}})", "{{kind}}")),
            lines("Who leads", "none", (f"mcp_operator_leader{{{OWN}}}", "{{pod}}")),
            lines(
                "Leads lost, watches begun anew",
                "ops",
                (f"sum({rate(f'mcp_operator_leadership_losses_total{{{OWN}}}')})", "leads lost"),
                (f"sum({rate(f'mcp_operator_watch_failures_total{{{OWN}}}')})", "watches begun anew"),
            ),
        ),
    )


def operator() -> Body:
    return dashboard(
        "mcp-operator",
        "MCP operator",
        "Whether the operator gets on, and what it finds out about resources.",
        (Variable("namespace", "label_values(mcp_operator_leader, namespace)"),),
        (_now(), _resources(), _work(), _cluster()),
    )
