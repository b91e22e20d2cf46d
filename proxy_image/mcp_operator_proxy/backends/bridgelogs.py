"""Asking the bridge of a server for what its processes wrote to standard error, signed with the key that both know."""

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import httpx2
import msgspec

from mcp_operator_proxy import callers
from mcp_operator_proxy.backends.classify import classify
from mcp_operator_proxy.backends.http import BackendTransport, http_client
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.bridge.stderr import LogLine
from mcp_operator_proxy.report import ProcessReport

ASK_SECONDS: Final = 2.0
MAX_ANSWER: Final = 4 * 2**20
"""Bytes. A bridge keeps 256 KiB, which JSON may write six times as long."""
REPORTED_LINES: Final = 5
_PATH: Final = "/logs"
_Time = Annotated[float, msgspec.Meta(ge=0, lt=253_402_300_800)]
_State = Literal["idle", "starting", "ready", "ending", "backoff", "crash-loop", "stopped"]


@dataclass(frozen=True, slots=True)
class BridgeLogs:
    """What a bridge says: the newest lines, oldest first, redacted by it."""

    process: ProcessReport
    lines: tuple[LogLine, ...]


class NoLogs(Exception):
    """Why there are none, in words for operators. Holds no URL and no credential."""


class _Line(msgspec.Struct):
    at: _Time
    pid: int
    text: str


class _Process(msgspec.Struct, rename="camel"):
    state: _State
    restarts: int
    processes: int = 0
    pid: int | None = None
    uptime_seconds: float | None = None
    exit_code: int | None = None
    last_error: str | None = None


class _Answer(msgspec.Struct):
    process: _Process
    lines: list[_Line]


async def fetch(resolved: ResolvedServer, lines: int) -> BridgeLogs:
    """The newest `lines`; of several replicas of the server those of one. Raises NoLogs."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            status, body = await _ask(resolved, lines)
    except TimeoutError:
        raise NoLogs(f"its bridge did not answer within {ASK_SECONDS:g} s") from None
    except (httpx2.RequestError, httpx2.StreamError, OSError) as error:
        raise NoLogs(f"its bridge cannot be reached: {classify(error).message}") from error
    if status != 200:
        raise NoLogs(_refusal(status))
    try:
        return _read(body, lines)
    except msgspec.MsgspecError:
        raise NoLogs("its bridge gave no proper answer") from None


async def _ask(resolved: ResolvedServer, lines: int) -> tuple[int, bytes]:
    """Status and body, of which more than `MAX_ANSWER` is not read, and nothing where it is none of success."""
    assert resolved.logs_key is not None
    server, query = resolved.server, f"lines={lines}"
    url = httpx2.URL(str(server.url)).copy_with(path=_PATH, query=query.encode())
    signed = callers.signed_request(resolved.logs_key, "GET", f"{_PATH}?{query}", time.time())
    headers = {callers.REQUEST_HEADER: signed, "accept": "application/json", "accept-encoding": "identity"}
    transport = BackendTransport(resolved.headers, server.ca_bundle, http2=server.http2, egress=resolved.egress)
    async with (
        http_client(transport, ASK_SECONDS) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        if answer.status_code != 200:
            return answer.status_code, b""
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER:
                break
        return answer.status_code, bytes(body)


def _read(body: bytes, lines: int) -> BridgeLogs:
    """Raises msgspec.MsgspecError."""
    answer = msgspec.json.decode(body, type=_Answer)
    found = tuple(LogLine(line.at, line.pid, line.text) for line in answer.lines[-lines:])
    process = ProcessReport(
        **msgspec.structs.asdict(answer.process), stderr=tuple(line.text[:300] for line in found[-REPORTED_LINES:])
    )
    return BridgeLogs(process, found)


def _refusal(status: int) -> str:
    if status in {404, 405}:
        return "its bridge gives none: it is of an earlier version, or has had no key since its pod was made"
    if status in {401, 403}:
        return "its bridge does not believe the proxy: its pod was made with another key, or clocks differ"
    return f"its bridge answered with HTTP status {status}"
