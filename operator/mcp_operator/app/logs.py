"""The operator's log lines: those of the proxy, each with the object that it is about, and kopf held to warnings."""

import logging
from typing import Final

import aiohttp

from mcp_operator.engine.subject import current
from mcp_operator_proxy import logs

_QUIET: Final = ("kopf", "aiohttp.access")
_EXTRAS: Final = ("settings", "k8s_skip")
"""What kopf puts on every record of an object beside the object."""


def configure(level: str, log_format: logs.LogFormat) -> None:
    """Log to stderr from `level` on; at `debug` kopf speaks too."""
    logs.configure(level, log_format)
    for handler in logging.getLogger().handlers:
        handler.addFilter(name_the_subject)
        handler.addFilter(drop_tracebacks_of_answers)
    if level != "debug":
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)


def drop_tracebacks_of_answers(record: logging.LogRecord) -> bool:
    """Where the API server's answer, or its silence, has ended a task of kopf's, the message says so and no traceback helps.

    A watch of a kind whose definition was just deleted is answered with 404, for one.
    """
    error = record.exc_info[1] if record.exc_info else None
    causes = (error, error.__cause__) if error is not None else ()
    if record.name.startswith("kopf.") and any(isinstance(cause, aiohttp.ClientError) for cause in causes):
        record.exc_info = record.exc_text = None
    return True


def name_the_subject(record: logging.LogRecord) -> bool:
    """Give the record the fields `kind`, `namespace` and `object` of what it is about, unless it has its own.

    kopf's records have a reference of its form instead, and all of its settings.
    """
    key, fields = current(), record.__dict__
    reference = fields.pop("k8s_ref", None) or {}
    for extra in _EXTRAS:
        fields.pop(extra, None)
    about = (
        (key.kind, key.namespace, key.name)
        if key is not None
        else (reference.get("kind"), reference.get("namespace"), reference.get("name"))
    )
    if any(about):
        for field, value in zip(("kind", "namespace", "object"), about, strict=True):
            fields.setdefault(field, value)
    return True
