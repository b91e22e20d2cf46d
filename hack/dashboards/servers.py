"""Servers behind proxies, and the calls of their tools."""

from typing import Final

from dashboards.model import GOOD_IS_LOW, Body, Panel, Query, Row, Variable, dashboard, lines, quantiles, stat, table

P: Final = 'namespace=~"$namespace", mcp_proxy=~"$proxy"'
S: Final = f'{P}, server_id=~"(.+/)?$server"'
B: Final = f'{P}, server=~"(.+/)?$server"'
T: Final = f'{P}, tool_id=~"(.+/)?$server([.].+)?"'
FAILED: Final = 'status=~"tool_error|error|timeout"'
MADE: Final = 'status=~"ok|tool_error|error|timeout"'
UP: Final = {"0": ("Down", "red"), "1": ("Up", "green")}
VARIABLES: Final = (
    Variable("namespace", "label_values(mcp_proxy_requests_in_flight, namespace)"),
    Variable("proxy", 'label_values(mcp_proxy_requests_in_flight{namespace=~"$namespace"}, mcp_proxy)'),
)


def rate(series: str) -> str:
    return f"rate({series}[$__rate_interval])"


def by_server(expr: str) -> str:
    """Summed up by the server's part of the tools' ids."""
    return f'sum by (server) (label_replace({expr}, "server", "$1", "tool_id", "([^.]+)[.].+"))'


def _now() -> Row:
    each = f"min by (namespace, mcp_proxy, server_id) (mcp_server_status{{{S}}})"
    failed = f"(sum({rate(f'mcp_tool_executions_total{{{T}, {FAILED}}}')}) or vector(0))"
    made = f"(sum({rate(f'mcp_tool_executions_total{{{T}, {MADE}}}')}) > 0)"
    seconds = f"sum by (le) ({rate(f'mcp_tool_execution_duration_seconds_bucket{{{T}}}')})"
    return Row(
        "Now",
        (
            stat("Servers that answer", f"count({each} == 1) or vector(0)", "none"),
            stat("Servers that do not", f"count({each} == 0) or vector(0)", "none", steps=GOOD_IS_LOW),
            stat("Calls of tools", f"sum({rate(f'mcp_tool_executions_total{{{T}}}')})", "reqps"),
            stat(
                "Calls that fail",
                f"{failed} / {made}",
                "percentunit",
                "Of those that were made.",
                steps=((None, "green"), (0.05, "orange"), (0.2, "red")),
            ),
            stat("95 of 100 calls take at most", f"histogram_quantile(0.95, {seconds})", "s"),
            stat("Sessions of clients", f"sum(mcp_proxy_sessions{{{P}}})", "none"),
        ),
    )


def _status() -> Row:
    worst = f"min by (namespace, server_id) (mcp_server_status{{{S}}})"
    keys = "by (namespace, mcp_proxy, server_id)"
    return Row(
        "Servers",
        (
            Panel(
                "state-timeline",
                "Which answer",
                (Query(worst, "{{server_id}}"),),
                "none",
                "As the replica sees it that sees it worst.",
                width=12,
                height=9,
                steps=((None, "red"), (1.0, "green")),
                words=UP,
            ),
            table(
                "Answering since",
                "s",
                f"min {keys} (mcp_server_uptime_seconds{{{S}}})",
                about="Age of a process that the proxy runs; of any other server, time since which each look at it worked.",
                width=6,
                height=9,
            ),
            table(
                "Restarts and returns",
                "none",
                f"max {keys} (round(increase(mcp_server_restarts_total{{{S}}}[$__range])))",
                about="Within the time that is shown.",
                width=6,
                height=9,
            ),
        ),
    )


def _calls() -> Row:
    calls, seconds = f"mcp_tool_executions_total{{{T}}}", f"mcp_tool_execution_duration_seconds_bucket{{{T}}}"
    failed = f"mcp_tool_executions_total{{{T}, {FAILED}}}"
    server_seconds = f'sum by (le, server) (label_replace({rate(seconds)}, "server", "$1", "tool_id", "([^.]+)[.].+"))'
    tool_seconds = f"sum by (le, tool_id) (rate({seconds}[$__range]))"
    return Row(
        "Calls of tools",
        (
            lines("By server", "reqps", (by_server(rate(calls)), "{{server}}")),
            lines("By how they ended", "reqps", (f"sum by (status) ({rate(calls)})", "{{status}}")),
            lines("Errors by server", "reqps", (by_server(rate(failed)), "{{server}}")),
            quantiles("Duration", f"sum by (le) ({rate(seconds)})", "In the proxy, the server's time included."),
            lines("Duration by server, p95", "s", (f"histogram_quantile(0.95, {server_seconds})", "{{server}}")),
            table("Busiest tools", "none", f"topk(10, sum by (tool_id) (round(increase({calls}[$__range]))))"),
            table("Slowest tools, p95", "s", f"topk(10, histogram_quantile(0.95, {tool_seconds}) >= 0)", width=12),
            table(
                "Tools that fail most",
                "none",
                f"topk(10, sum by (tool_id, status) (round(increase({failed}[$__range]))))",
                width=12,
            ),
        ),
    )


def _gates() -> Row:
    state = f'max by (server, state) (mcp_proxy_backend_circuit_state{{{B}, state!="closed"}})'
    return Row(
        "On the way to servers",
        (
            lines("Circuits that are not closed", "none", (state, "{{server}} {{state}}")),
            lines(
                "Calls in flight, and those that wait for a place",
                "none",
                (f"sum by (server) (mcp_proxy_backend_calls_in_flight{{{B}}})", "{{server}}"),
                (f"sum by (server) (mcp_proxy_backend_calls_waiting{{{B}}})", "{{server}} waiting"),
            ),
            lines(
                "Calls not sent",
                "reqps",
                (f"sum by (server) ({rate(f'mcp_proxy_backend_calls_refused_total{{{B}}}')})", "{{server}}"),
                about="The circuit is open, or no place became free in time.",
            ),
        ),
    )


def _users() -> Row:
    each = "by (namespace, mcp_proxy)"
    refreshes, failures = "mcp_oauth_token_refreshes_total", "mcp_oauth_token_refresh_failures_total"
    return Row(
        "Users and definitions",
        (
            lines(
                "Sessions of users",
                "none",
                (f"max {each} (mcp_user_sessions_active{{{P}}})", "{{namespace}}/{{mcp_proxy}}"),
                (f"max {each} (mcp_user_sessions_limit{{{P}}})", "{{namespace}}/{{mcp_proxy}} at most"),
                width=6,
            ),
            lines(
                "Sessions begun and ended",
                "ops",
                (f"sum({rate(f'mcp_user_sessions_created_total{{{P}}}')})", "begun"),
                (f"sum({rate(f'mcp_user_sessions_destroyed_total{{{P}}}')})", "ended"),
                width=6,
            ),
            lines(
                "Tokens renewed",
                "ops",
                (f"sum by (provider) ({rate(f'{refreshes}{{{P}}}')})", "{{provider}}"),
                (f"sum by (provider) ({rate(f'{failures}{{{P}}}')})", "{{provider}} failed"),
                width=6,
            ),
            lines(
                "Definitions that wait for approval",
                "none",
                (f"max by (server, kind) (mcp_proxy_unapproved_tools{{{B}}})", "{{server}} {{kind}}"),
                width=6,
            ),
        ),
    )


def servers() -> Body:
    chosen = 'label_values(mcp_server_status{namespace=~"$namespace", mcp_proxy=~"$proxy"}, server_id)'
    return dashboard(
        "mcp-servers",
        "MCP servers",
        "Which servers answer, and how the calls of their tools fare.",
        (*VARIABLES, Variable("server", chosen, "/[^/]+\\/(.+)/")),
        (_now(), _status(), _calls(), _gates(), _users()),
    )
