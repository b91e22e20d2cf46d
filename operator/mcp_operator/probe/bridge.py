"""Why the process of a hosted stdio server does not answer: its pod is not ready, so the Service leads nowhere, but the bridge knows."""

import asyncio
from typing import Final

import httpx2
from pydantic import BaseModel, ValidationError

from mcp_operator_proxy.backends.classify import MAX_PROCESS_TEXT, redact
from mcp_operator_proxy.report import ErrorClass, ErrorReport

SECONDS: Final = 2.0
MAX_BYTES: Final = 64 * 1024
SILENT: Final = "its process was started and has not answered yet"


class _Told(BaseModel):
    """Of what a bridge answers to `/readyz`, as much as is needed here."""

    state: str
    ready: bool
    lastError: str | None = None  # noqa: N815 - the bridge's name


async def ask_bridge(url: str) -> ErrorReport | None:
    """What the bridge whose `/readyz` is at `url` says; None where it is not there either, or has nothing to complain of."""
    try:
        async with asyncio.timeout(SECONDS), httpx2.AsyncClient(trust_env=False) as client:
            told = _Told.model_validate_json(await _body(client, url))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, ValidationError):
        return None
    if told.ready:
        return None
    error_class: ErrorClass = "CrashLoop" if told.state == "crash-loop" else "NotRunning"
    return ErrorReport(error_class=error_class, message=redact(told.lastError or SILENT, (), MAX_PROCESS_TEXT))


async def _body(client: httpx2.AsyncClient, url: str) -> bytes:
    """Of the answer, nothing where it is too large."""
    body = b""
    async with client.stream("GET", url) as response:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                return b""
    return body
