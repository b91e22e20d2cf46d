"""What a swap has changed, and which swaps are kept."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.swap.history import KEPT, MOST_CHANGES, Difference, applied, differences
from mcp_operator_proxy.swap.validate import ConfigRejected
from support.gateway import make_config
from support.waiting import Eventually

A, B = "http://127.0.0.1:1/mcp", "http://127.0.0.1:2/mcp"


def config(servers: dict[str, Any] | None = None, **more: Any) -> ProxyConfig:
    """Servers `ns/NAME` with what differs from a plain one, all on /mcp."""
    found = servers if servers is not None else {"a": {}}
    data = {
        "revision": "1",
        "servers": [{"id": f"ns/{name}", "url": A, **own} for name, own in found.items()],
        "routes": [{"name": "r", "path": "/mcp", "servers": [{"server": f"ns/{n}", "prefix": n} for n in found]}],
        **more,
    }
    return ProxyConfig.model_validate(data)


PLAIN = config()
ROUTES = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/a", "prefix": "a"}]}]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (PLAIN, PLAIN, []),
        (None, PLAIN, [("server", "ns/a", "added", ()), ("route", "/mcp", "added", ())]),
        (PLAIN, config({"a": {"url": B, "maxConcurrency": 3}}), [("server", "ns/a", "changed", ("url", "maxConcurrency"))]),
        (
            PLAIN,
            config({"a": {}, "b": {}}),
            [("server", "ns/b", "added", ()), ("route", "/mcp", "changed", ("servers",))],
        ),
        (
            config({"a": {}, "b": {}}),
            PLAIN,
            [("server", "ns/b", "removed", ()), ("route", "/mcp", "changed", ("servers",))],
        ),
        (
            PLAIN,
            config(routes=[{**ROUTES[0], "path": "/other"}]),
            [("route", "/mcp", "removed", ()), ("route", "/other", "added", ())],
        ),
        (PLAIN, config(revision="2"), []),
        (PLAIN, config(accessLog=False), [("setting", "accessLog", "changed", ())]),
        (PLAIN, config(rest={}), [("setting", "rest", "added", ())]),
        (config(rest={}), PLAIN, [("setting", "rest", "removed", ())]),
        (
            config(rest={}),
            config(rest={"prefix": "/api", "docs": False}),
            [("setting", "rest", "changed", ("prefix", "docs"))],
        ),
        (
            PLAIN,
            config({"a": {"headers": [{"name": "X-Key", "value": "hunter2"}]}}),
            [("server", "ns/a", "changed", ("headers",))],
        ),
    ],
    ids=[
        "nothing", "first", "server", "server-added", "server-removed", "path", "revision", "setting", "rest-added",
        "rest-removed", "rest-changed", "no-values",
    ],
)  # fmt: skip
def test_differences(before: ProxyConfig | None, after: ProxyConfig, expected: list[tuple[Any, ...]]) -> None:
    assert differences(before, after) == [Difference(*one) for one in expected]


def test_of_many_changes_the_first_are_kept() -> None:
    many = config({f"s{n}": {} for n in range(MOST_CHANGES + 50)})
    swap = applied(None, many, datetime.now(UTC), 0.5)
    assert (len(swap.changes), swap.total) == (MOST_CHANGES, MOST_CHANGES + 51)


async def test_a_proxy_keeps_its_swaps(eventually: Eventually) -> None:
    async with Proxy(warm_seconds=0) as proxy:
        await proxy.apply(make_config({}, revision="one"))
        with pytest.raises(ConfigRejected):
            await proxy.apply(
                make_config({}, revision="bad", auth={"apiKeys": [{"name": "x", "secret": {"file": "x"}}]}),
                {"x": "short"},
            )
        await proxy.apply(make_config({}, revision="two", accessLog=False))
        await proxy.apply(make_config({}, revision="two", accessLog=False))  # it is in use already

        async def noted() -> bool:
            return len(proxy.history.swaps) == 3

        await eventually(noted)
        found = {swap.revision: swap for swap in proxy.history.swaps}
        assert {name: swap.outcome for name, swap in found.items()} == {
            "one": "applied",
            "bad": "rejected",
            "two": "applied",
        }
        assert "short" not in (found["bad"].message or "")
        assert found["bad"].message
        assert [change.name for change in found["two"].changes] == ["accessLog"]
        assert (found["two"].seconds or 0) > 0
        for number in range(KEPT + 10):
            proxy.reject(str(number), "no")
        assert len(proxy.history.swaps) == KEPT
