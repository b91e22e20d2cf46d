"""Proxies: requests, what they add, their stores and limits."""

from dashboards.model import Body, Row, dashboard, lines, quantiles, stat
from dashboards.servers import VARIABLES, P, rate


def _sum(labels: str, series: str, more: str = "") -> str:
    return f"sum by ({labels}) ({rate(f'{series}{{{P}{more}}}')})"


def _buckets(series: str, labels: str = "le") -> str:
    return _sum(labels, f"{series}_bucket")


def _now() -> Row:
    answered = f"sum({rate(f'mcp_proxy_requests_total{{{P}}}')})"
    failed = f'(sum({rate(f"""mcp_proxy_requests_total{{{P}, status="error"}}""")}) or vector(0))'
    lane = f'sum({rate(f"""mcp_proxy_fast_lane_requests_total{{{P}, outcome="answered"}}""")})'
    return Row(
        "Now",
        (
            stat("Pods that answer", f"sum(up{{{P}}})", "none", steps=((None, "red"), (1.0, "green"))),
            stat("Requests", answered, "reqps"),
            stat("Requests that end with an error", f"{failed} / ({answered} > 0)", "percentunit"),
            stat("In flight now", f"sum(mcp_proxy_requests_in_flight{{{P}}})", "none"),
            stat("Answered by the fast lane", f"{lane} / ({answered} > 0)", "percentunit"),
            stat(
                "95 of 100 times the proxy adds at most",
                f"histogram_quantile(0.95, {_buckets('mcp_proxy_added_seconds')})",
                "s",
                steps=((None, "green"), (0.1, "orange"), (0.25, "red")),
            ),
        ),
    )


def _requests() -> Row:
    return Row(
        "Requests",
        (
            lines(
                "By proxy and route",
                "reqps",
                (_sum("mcp_proxy, route", "mcp_proxy_requests_total"), "{{mcp_proxy}} {{route}}"),
            ),
            lines("By method", "reqps", (_sum("method", "mcp_proxy_requests_total"), "{{method}}")),
            lines("By outcome", "reqps", (_sum("status", "mcp_proxy_requests_total"), "{{status}}")),
            quantiles("Time to answer", _buckets("mcp_proxy_request_seconds")),
            quantiles(
                "Time that the proxy adds", _buckets("mcp_proxy_added_seconds"), "Without that of the server behind it."
            ),
            lines(
                "Time to answer by route, p95",
                "s",
                (f"histogram_quantile(0.95, {_buckets('mcp_proxy_request_seconds', 'le, route')})", "{{route}}"),
            ),
            lines("Fast lane", "reqps", (_sum("outcome", "mcp_proxy_fast_lane_requests_total"), "{{outcome}}")),
            lines("Requests in flight", "none", (f"sum by (pod) (mcp_proxy_requests_in_flight{{{P}}})", "{{pod}}")),
            lines("Sessions of clients", "none", (f"sum by (route) (mcp_proxy_sessions{{{P}}})", "{{route}}")),
        ),
    )


def _backends() -> Row:
    hits, misses = (f"sum({rate(f'mcp_proxy_result_cache_{what}_total{{{P}}}')})" for what in ("hits", "misses"))
    return Row(
        "Servers and memory",
        (
            lines(
                "Connections to servers",
                "none",
                (f"sum by (server, state) (mcp_proxy_backend_connections{{{P}}})", "{{server}} {{state}}"),
            ),
            lines(
                "Processes of stdio servers",
                "none",
                (f"sum by (server) (mcp_proxy_stdio_processes{{{P}}})", "{{server}}"),
            ),
            lines("Tools", "none", (f"max by (server) (mcp_proxy_server_tools{{{P}}})", "{{server}}")),
            lines("Results from memory", "reqps", (hits, "from memory"), (misses, "made")),
            lines("Memory of results", "bytes", (f"sum by (pod) (mcp_proxy_result_cache_bytes{{{P}}})", "{{pod}}")),
            lines(
                "Calls parked while clients are asked",
                "none",
                (f"sum by (route) (mcp_proxy_parked_calls{{{P}}})", "{{route}}"),
            ),
        ),
    )


def _services() -> Row:
    left = f"min by (namespace, mcp_proxy) (mcp_proxy_certificate_not_after_timestamp_seconds{{{P}}}) - time()"
    return Row(
        "Services",
        (
            lines("Calls over a rate limit", "reqps", (_sum("limit", "mcp_proxy_rate_limited_total"), "{{limit}}")),
            lines(
                "Calls that one process counted alone",
                "reqps",
                (_sum("namespace, mcp_proxy", "mcp_proxy_rate_limits_unshared_total"), "{{namespace}}/{{mcp_proxy}}"),
                about="Redis was away.",
            ),
            quantiles("Time to find tools", _buckets("mcp_proxy_search_seconds")),
            lines(
                "Audit records lost",
                "ops",
                (_sum("namespace, mcp_proxy", "mcp_proxy_audit_dropped_total"), "{{namespace}}/{{mcp_proxy}}"),
            ),
            lines("Notices", "ops", (_sum("type, outcome", "mcp_proxy_notices_total"), "{{type}} {{outcome}}")),
            lines("Certificates end in", "s", (left, "{{namespace}}/{{mcp_proxy}}")),
        ),
    )


def proxies() -> Body:
    return dashboard(
        "mcp-proxies",
        "MCP proxies",
        "What clients ask of proxies, how quickly it is answered, and what becomes of the rest.",
        VARIABLES,
        (_now(), _requests(), _backends(), _services()),
    )
