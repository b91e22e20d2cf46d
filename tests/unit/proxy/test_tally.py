"""Tallies as metrics: what prometheus_client's own counters and histograms would say of the same requests."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from mcp_operator_proxy.tally import BUCKETS, Tallies

SEEN = [
    ("/mcp", "tools/call", "ok", 0.0004),
    ("/mcp", "tools/call", "ok", 0.001),
    ("/mcp", "tools/call", "tool_error", 0.0011),
    ("/mcp", "tools/call", "error", 59.9),
    ("/mcp", "tools/list", "ok", 60.0),
    ("/other", "ping", "ok", 61.0),
]


def ours() -> Tallies:
    tallies = Tallies()
    for route, method, outcome, seconds in SEEN:
        tallies.of(route, method).add(outcome, seconds)
    return tallies


def lines(registry: CollectorRegistry) -> set[str]:
    found = generate_latest(registry).decode().splitlines()
    others = ("#", "mcp_proxy_fast_lane", "mcp_proxy_added")
    return {line for line in found if not line.startswith(others) and "_created" not in line}


def test_they_are_those_of_the_library() -> None:
    library, own = CollectorRegistry(), CollectorRegistry()
    own.register(ours())
    names = ["route", "method"]
    counter = Counter("mcp_proxy_requests", "MCP requests answered.", [*names, "status"], registry=library)
    histogram = Histogram("mcp_proxy_request_seconds", "Time.", names, buckets=BUCKETS, registry=library)
    for route, method, outcome, seconds in SEEN:
        counter.labels(route, method, outcome).inc()
        histogram.labels(route, method).observe(seconds)
    assert lines(own) == lines(library)


def test_a_count_without_a_time_makes_no_histogram() -> None:
    registry = CollectorRegistry()
    tallies = Tallies()
    registry.register(tallies)
    tallies.of("/mcp", "none").count("refused")
    labels = {"route": "/mcp", "method": "none"}
    assert registry.get_sample_value("mcp_proxy_requests_total", {**labels, "status": "refused"}) == 1
    assert registry.get_sample_value("mcp_proxy_request_seconds_count", labels) is None


def test_a_route_is_forgotten() -> None:
    registry = CollectorRegistry()
    tallies = ours()
    registry.register(tallies)
    tallies.forget("/mcp")
    routes = {s.labels["route"] for family in registry.collect() for s in family.samples if "route" in s.labels}
    assert routes == {"/other"}
