"""How configurations arrive at proxies."""

from dashboards.model import GOOD_IS_LOW, Body, Panel, Query, Row, dashboard, lines, quantiles, stat, table
from dashboards.servers import VARIABLES, P, rate


def _now() -> Row:
    arrived = "sum by (le) (increase(mcp_operator_swap_seconds_bucket[$__range]))"
    differing = f"count(count by (namespace, mcp_proxy) (count by (namespace, mcp_proxy, revision) (mcp_proxy_config_info{{{P}}})) > 1)"
    waiting = 'count(mcp_operator_unmet_conditions{kind="McpProxy", condition="Programmed"})'
    slow = ((None, "green"), (5.0, "orange"), (10.0, "red"))
    return Row(
        "Within the time that is shown",
        (
            stat(
                "Configurations that arrived", "sum(round(increase(mcp_operator_swap_seconds_count[$__range])))", "none"
            ),
            stat("Half arrived within", f"histogram_quantile(0.5, {arrived})", "s", steps=slow),
            stat("95 of 100 arrived within", f"histogram_quantile(0.95, {arrived})", "s", steps=slow),
            stat(
                "Refused",
                f"sum(round(increase(mcp_proxy_rejected_configs_total{{{P}}}[$__range])))",
                "none",
                steps=GOOD_IS_LOW,
            ),
            stat("Proxies that wait for one now", f"{waiting} or vector(0)", "none", steps=GOOD_IS_LOW),
            stat("Proxies whose replicas differ now", f"{differing} or vector(0)", "none", steps=GOOD_IS_LOW),
        ),
    )


def _convergence() -> Row:
    buckets = f"sum by (le) ({rate('mcp_operator_swap_seconds_bucket')})"
    seen = "sum by (le) (increase(mcp_operator_swap_seconds_bucket[$__rate_interval]))"
    each = "{{namespace}}/{{mcp_proxy}}"
    swaps = f"sum by (namespace, mcp_proxy) ({rate(f'mcp_proxy_swaps_total{{{P}}}')})"
    refused = f"sum by (namespace, mcp_proxy) ({rate(f'mcp_proxy_rejected_configs_total{{{P}}}')})"
    return Row(
        "From the write to every replica",
        (
            quantiles(
                "Until every replica runs it", buckets, "From the operator's write of a configuration.", width=12
            ),
            Panel("heatmap", "All of them", (Query(seen, "{{le}}"),), "none", "Swaps by their seconds.", width=12),
            quantiles(
                "In the proxy",
                f"sum by (le) ({rate(f'mcp_proxy_swap_seconds_bucket{{{P}}}')})",
                "From having read a configuration to its use.",
            ),
            lines("Configurations taken into use", "ops", (swaps, each)),
            lines("Configurations refused", "ops", (refused, each)),
        ),
    )


def _revisions() -> Row:
    each = f"count by (namespace, mcp_proxy, revision) (mcp_proxy_config_info{{{P}}})"
    return Row(
        "Revisions",
        (
            table("Replicas by revision", "none", each, width=12),
            table(
                "Proxies that are not programmed",
                "none",
                'max by (object, status, reason) (mcp_operator_unmet_conditions{kind="McpProxy", condition="Programmed"})',
                width=12,
            ),
            lines(
                "Revisions at a time",
                "none",
                (f"count by (namespace, mcp_proxy) ({each})", "{{namespace}}/{{mcp_proxy}}"),
                about="More than one for long: replicas differ.",
                width=24,
            ),
        ),
    )


def swaps() -> Body:
    return dashboard(
        "mcp-swaps",
        "MCP swaps",
        "How long configurations take from the write to every replica of a proxy, and which one runs where.",
        VARIABLES,
        (_now(), _convergence(), _revisions()),
    )
