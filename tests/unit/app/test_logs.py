"""Log lines that carry what they are about."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest

from mcp_operator import watch
from mcp_operator.app import logs
from mcp_operator.engine.keys import Key
from mcp_operator.engine.subject import about, current

KEY = Key("McpServer", "team-a", "time")
log = logging.getLogger("mcp_operator.test")


@contextmanager
def configured() -> Iterator[list[dict[str, object]]]:
    """Log as the operator does; the lines are there in the end."""
    root, lines, text = logging.getLogger(), [], io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure("info", "json")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(text)
    try:
        yield lines
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        for name in ("kopf", "aiohttp.access"):
            logging.getLogger(name).setLevel(logging.NOTSET)
        lines += [json.loads(line) for line in text.getvalue().splitlines()]


def test_the_object_stands_on_the_line() -> None:
    with configured() as lines:
        with about(KEY):
            log.info("applied", extra={"seconds": 0.1, "revision": "abc"})
        log.info("elsewhere")
        with about(KEY):
            log.info("about another", extra={"object": "its-own"})
    inside, outside, own = lines
    named = {"kind": "McpServer", "namespace": "team-a", "object": "time", "seconds": 0.1, "revision": "abc"}
    assert named.items() <= inside.items()
    assert not {"kind", "namespace", "object"} & outside.keys()
    assert own["object"] == "its-own"


def test_an_object_of_kopfs_stands_on_the_line_too() -> None:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "tools-1", "uid": "u", "namespace": "team-a"}
    extra = {"settings": watch.settings(), "k8s_skip": False, "k8s_ref": reference}
    with configured() as lines:
        logging.getLogger("kopf.objects").error("failed", extra=extra)
    (line,) = lines
    assert {"kind": "Pod", "namespace": "team-a", "object": "tools-1"}.items() <= line.items()
    assert not {"settings", "k8s_skip", "k8s_ref"} & line.keys()


def test_kopf_speaks_only_of_trouble() -> None:
    with configured() as lines:
        logging.getLogger("kopf.reactor").info("chatter")
        logging.getLogger("kopf.reactor").warning("trouble")
    assert [line["message"] for line in lines] == ["trouble"]


@pytest.mark.parametrize(
    ("logger", "error", "cause", "is_traced"),
    [
        ("kopf._core.reactor", RuntimeError("404 page not found"), aiohttp.ClientError(), False),
        ("kopf._core.reactor", aiohttp.ClientError("refused"), None, False),
        ("kopf._core.reactor", RuntimeError("a fault"), None, True),
        ("mcp_operator.app", RuntimeError("a fault"), aiohttp.ClientError(), True),
    ],
)
def test_what_the_api_server_answered_to_kopf_is_one_line(
    logger: str, error: Exception, cause: Exception | None, *, is_traced: bool
) -> None:
    error.__cause__ = cause
    with configured() as lines:
        logging.getLogger(logger).error("the task has failed: %s", error, exc_info=error)
    (line,) = lines
    assert str(error) in str(line["message"])
    assert ("exception" in line) == is_traced


async def test_tasks_take_the_subject_along() -> None:
    with about(KEY):
        born_inside = asyncio.create_task(asyncio.to_thread(current))
    assert await born_inside == KEY
    assert current() is None
