"""What a proxy is given beside its config, checked. Pure. Each function raises ConfigError, without a credential."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from mcp_operator_proxy.auth import Authenticator, BadKey
from mcp_operator_proxy.config import MCP_PATH, RESERVED_PATHS
from mcp_operator_proxy.library.errors import ConfigError, Problem

_CALLER: Final = re.compile(r"[A-Za-z0-9._@-]{1,128}")
_ORIGIN: Final = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.*-]*://[A-Za-z0-9.*\[\]:_-]+/?")


def authenticator(api_key: str | Mapping[str, str] | None) -> Authenticator | None:
    """From one key, or from several by the name of whom they authenticate. None: anybody may call."""
    if api_key is None:
        return None
    keys = {"api-key": api_key} if isinstance(api_key, str) else api_key
    if not keys:  # not None: keys that did not turn up must not open the door
        raise _wrong("api_key", "holds no key; leave it out to let anybody call")
    if bad := [name for name in keys if not _CALLER.fullmatch(name)]:
        raise _wrong("api_key", f"the name {bad[0]!r} must have 1 to 128 letters, digits, '_', '.', '-' or '@'")
    try:
        return Authenticator(keys)
    except BadKey as error:
        raise _wrong("api_key", str(error)) from None


def origins(given: Sequence[str], name: str) -> tuple[str, ...]:
    """Origins of browsers; `*` stands for any part of one."""
    if isinstance(given, str):
        raise _wrong(name, f"must be a list, for example [{given!r}]")
    for origin in given:
        if not _ORIGIN.fullmatch(origin):
            raise _wrong(name, f"{origin!r} is no origin: https://app.example has a scheme, a host, and no path")
    return tuple(given)


def endpoint(path: str) -> str:
    """The path of an MCP endpoint."""
    if not re.fullmatch(MCP_PATH, path):
        raise _wrong(
            "path", "must begin with / and may hold letters, digits, '.', '_', '~', '-' and /, for example /mcp"
        )
    if path in RESERVED_PATHS:
        raise _wrong("path", f"{path} is the proxy's own; take another, for example /mcp")
    return path


def _wrong(name: str, message: str) -> ConfigError:
    return ConfigError([Problem(name, message)], "arguments")
