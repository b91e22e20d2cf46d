"""Which Host and Origin headers are answered: the DNS-rebinding check that MCP's transport section asks for.

A request with an Origin is a browser's. It passes when the origin is listed, is the very host it is sent to, or is a
loopback address calling a loopback address. A request without an Origin passes: it is no browser's, or a page of the same
host reads something (GET). What pages read has to ask `rebound`, too.
"""

from fnmatch import fnmatchcase
from ipaddress import ip_address
from urllib.parse import urlsplit

from mcp_operator_proxy.config import ProxyConfig

_OF_CLUSTERS = (".svc", ".cluster.local", ".localhost")


def refusal(config: ProxyConfig | None, *, scheme: str, host: str, origin: str | None) -> tuple[int, str] | None:
    """HTTP status and reason to refuse a request with, or None. Pure."""
    hosts = config.allowed_hosts if config else ()
    origins = config.allowed_origins if config else ()
    if hosts and not any(_host_matches(host, pattern) for pattern in hosts):
        return 421, "this Host is not served here; allowedHosts lists those that are"
    if origin is None or any(_origin_matches(origin, pattern) for pattern in origins):
        return None
    asked = _authority(origin)
    own = host.lower()
    if asked is not None and asked[0] == scheme and _with_port(asked[1], scheme) == _with_port(own, scheme) and hosts:
        return None
    if asked is not None and is_loopback(_name(asked[1])) and is_loopback(_name(own)):
        return None
    return 403, "this Origin may not call the proxy; allowedOrigins lists those that may"


def rebound(config: ProxyConfig, *, host: str) -> tuple[int, str] | None:
    """HTTP status and reason to refuse what nobody's credential protects, and a page may read, or None. Pure.

    A page elsewhere whose name is made to lead here (DNS rebinding) reads without an Origin, as it is of the same host. It cannot
    be at an address, at a name without a dot or at one of a cluster; other names have to be listed.
    """
    name = _name(host.lower()).rstrip(".")
    if config.allowed_hosts or "." not in name or name.endswith(_OF_CLUSTERS) or _is_address(name):
        return None
    if any(
        _origin_matches(f"{scheme}://{host}", own) for scheme in ("https", "http") for own in config.allowed_origins
    ):
        return None
    return 421, "this Host is not served here without a credential; allowedHosts lists those that are"


def _host_matches(host: str, pattern: str) -> bool:
    host, pattern = host.lower(), pattern.lower()
    return fnmatchcase(host, pattern) or fnmatchcase(_name(host), pattern)


def _origin_matches(origin: str, pattern: str) -> bool:
    return fnmatchcase(origin.lower().rstrip("/"), pattern.lower().rstrip("/"))


def _authority(origin: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(origin)
        _ = parts.port
    except ValueError:
        return None
    return (parts.scheme.lower(), parts.netloc.lower()) if parts.netloc else None


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _with_port(host: str, scheme: str) -> str:
    has_port = host.endswith("]") is False and host.rpartition(":")[2].isdigit() and (":" in host)
    return host if has_port else f"{host}:{443 if scheme == 'https' else 80}"


def is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
