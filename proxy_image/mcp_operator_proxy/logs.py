"""One line per event, as JSON or as text, with what belongs to it as fields."""

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

LogFormat = Literal["json", "text"]
LEVELS: Final = ("debug", "info", "warning", "error")
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}
_QUIET: Final = {
    # Requests and their URLs, which may carry keys; failures are classified and told by the proxy itself.
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "mcp": logging.CRITICAL,
    "client": logging.CRITICAL,
    "fastmcp": logging.WARNING,
    "watchfiles": logging.WARNING,
    "asyncio": logging.WARNING,
}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


class JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        line = f"{time} {record.levelname:<7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _is_news(record: logging.LogRecord) -> bool:
    """False for one harmless error: under uvloop, anyio's unix sockets are told twice that they are ready."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, asyncio.InvalidStateError) and "built-in method set_result" in record.getMessage())


def configure(level: str, log_format: LogFormat) -> None:
    """Send all logging to standard error in one form, and what `warnings` has to say too: that would be text among JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet in _QUIET.items():
        logger = logging.getLogger(name)
        logger.setLevel(max(quiet, root.level))
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("asyncio").addFilter(_is_news)
    logging.captureWarnings(True)


def mark(**fields: Any) -> None:
    """Put `fields` on every line from now on, as those of one worker."""

    def add(record: logging.LogRecord) -> bool:
        for key, value in fields.items():
            record.__dict__.setdefault(key, value)
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(add)
