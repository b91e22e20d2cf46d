import pytest

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.guard import rebound, refusal


@pytest.mark.parametrize(
    ("hosts", "origins", "host", "origin", "status"),
    [
        ((), (), "tools.ns.svc:8080", None, None),
        ((), (), "anything", "https://evil.example", 403),
        ((), (), "evil.example", "http://evil.example", 403),
        ((), (), "127.0.0.1:8080", "https://evil.example", 403),
        ((), (), "localhost:8080", "http://localhost:6274", None),
        ((), (), "127.0.0.1:8080", "http://[::1]:3000", None),
        ((), (), "tools.example.com", "http://localhost:3000", 403),
        ((), ("https://app.example.com",), "tools", "https://app.example.com", None),
        ((), ("https://app.example.com",), "tools", "https://APP.example.com/", None),
        ((), ("https://*.example.com",), "tools", "https://a.example.com", None),
        ((), ("https://app.example.com",), "tools", "https://app.example.com.evil.org", 403),
        ((), ("*",), "tools", "null", None),
        ((), (), "tools", "null", 403),
        ((), (), "tools", "http://[bad", 403),
        (("tools",), (), "tools:8080", None, None),
        (("tools:8080",), (), "tools:8080", None, None),
        (("tools:8080",), (), "tools:9090", None, 421),
        (("*.example.com",), (), "a.example.com", None, None),
        (("*.example.com",), (), "example.com", None, 421),
        (("tools",), (), "", None, 421),
        (("tools.example.com",), (), "tools.example.com", "http://tools.example.com", None),
        (("tools.example.com",), (), "tools.example.com:80", "http://tools.example.com", None),
        (("tools.example.com",), (), "tools.example.com", "https://tools.example.com", 403),
    ],
)
def test_refusal(
    hosts: tuple[str, ...], origins: tuple[str, ...], host: str, origin: str | None, status: int | None
) -> None:
    config = ProxyConfig(revision="1", allowed_hosts=hosts, allowed_origins=origins)
    found = refusal(config, scheme="http", host=host, origin=origin)
    assert (found[0] if found else None) == status


def test_before_the_first_config_origins_are_checked_too() -> None:
    assert refusal(None, scheme="http", host="x", origin="http://x") is not None


@pytest.mark.parametrize(
    ("hosts", "origins", "host", "status"),
    [
        ((), (), "127.0.0.1:8080", None),
        ((), (), "[::1]:8080", None),
        ((), (), "10.1.2.3", None),
        ((), (), "localhost:8080", None),
        ((), (), "tools-proxy:80", None),
        ((), (), "tools-proxy.team.svc", None),
        ((), (), "tools-proxy.team.svc.cluster.local:80", None),
        ((), (), "evil.example:8080", 421),
        ((), (), "127.0.0.1.evil.example", 421),
        ((), (), "svc.evil.example", 421),
        ((), (), "localhost.evil.example.", 421),
        ((), ("https://mcp.example.com",), "mcp.example.com", None),
        ((), ("https://mcp.example.com",), "evil.example", 421),
        (("mcp.example.com",), (), "mcp.example.com", None),
    ],
)
def test_names_that_may_be_made_to_lead_here(
    hosts: tuple[str, ...], origins: tuple[str, ...], host: str, status: int | None
) -> None:
    config = ProxyConfig(revision="1", allowed_hosts=hosts, allowed_origins=origins)
    found = rebound(config, host=host)
    assert (found[0] if found else None) == status
