"""What the programs log, and what they leave out."""

import asyncio
import json
import logging
import subprocess
import sys

import pytest

from mcp_operator_proxy import logs


@pytest.mark.parametrize(
    ("message", "error", "told"),
    [
        ("Exception in callback <built-in method set_result of _asyncio.Future object>", asyncio.InvalidStateError(), False),
        ("Exception in callback <built-in method set_result of _asyncio.Future object>", ValueError(), True),
        ("Exception in callback somebody's", asyncio.InvalidStateError(), True),
        ("Task was destroyed", None, True),
    ],
)  # fmt: skip
def test_a_readiness_that_is_told_twice_is_no_news(message: str, error: Exception | None, told: bool) -> None:
    root, logger = logging.getLogger(), logging.getLogger("asyncio")
    before = root.handlers[:], root.level, logger.filters[:]
    try:
        logs.configure("info", "text")
        exc_info = (type(error), error, None) if error is not None else None
        record = logging.LogRecord("asyncio", logging.ERROR, "", 0, message, None, exc_info)
        assert bool(logger.filter(record)) is told
    finally:
        root.handlers[:], logger.filters[:] = before[0], before[2]
        root.setLevel(before[1])
        logging.captureWarnings(False)


WARNS = """
import warnings
from mcp_operator_proxy import logs
logs.configure("info", "json")
warnings.warn("a library has something to say", UserWarning)
"""


def test_what_a_library_warns_of_is_a_line_like_others() -> None:
    """Some warn while they are imported, whenever that is."""
    ran = subprocess.run([sys.executable, "-c", WARNS], capture_output=True, text=True, check=True)
    (line,) = [json.loads(line) for line in ran.stderr.splitlines()]
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "UserWarning: a library has something to say" in line["message"]
