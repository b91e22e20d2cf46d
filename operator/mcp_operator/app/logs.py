"""The operator's log lines: those of the proxy, with kopf held to warnings, as the operator says itself what it does."""

import logging
from typing import Final

from mcp_operator_proxy import logs

_QUIET: Final = ("kopf", "aiohttp.access")


def configure(level: str, log_format: logs.LogFormat) -> None:
    """Log to stderr from `level` on; at `debug` kopf speaks too."""
    logs.configure(level, log_format)
    if level != "debug":
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
