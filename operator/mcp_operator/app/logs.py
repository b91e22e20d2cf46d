"""The operator's log lines: those of the proxy, each with the object that it is about, and kopf held to warnings."""

import logging
from typing import Final

from mcp_operator.engine.subject import current
from mcp_operator_proxy import logs

_QUIET: Final = ("kopf", "aiohttp.access")


def configure(level: str, log_format: logs.LogFormat) -> None:
    """Log to stderr from `level` on; at `debug` kopf speaks too."""
    logs.configure(level, log_format)
    for handler in logging.getLogger().handlers:
        handler.addFilter(name_the_subject)
    if level != "debug":
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)


def name_the_subject(record: logging.LogRecord) -> bool:
    """Give the record the fields `kind`, `namespace` and `object` of what it is about, unless it has its own."""
    key = current()
    if key is not None:
        for field, value in (("kind", key.kind), ("namespace", key.namespace), ("object", key.name)):
            record.__dict__.setdefault(field, value)
    return True
