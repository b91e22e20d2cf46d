"""A load generator as a process of its own: prepared requests over uvloop and httptools, every answer checked.

    python -m bench.load http://127.0.0.1:8080/mcp --front legacy --tool a_echo -c 16 --calls 20000 --seconds 3 --pid 4711

prints one JSON object (`bench.stats.Sample`): calls, seconds, rps, p50_ms, p99_ms, longest_ms, cpu_ms_per_call (of all
`--pid`s, from /proc), errors, problems. Each connection is a client with a session of its own and has one request under way. `--calls` and
`--seconds` bound the measured part; the warm-up comes before it and is neither timed nor counted.
"""

import argparse
import asyncio
import contextlib
import json
import os
import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from bench import wire
from bench.stats import Sample, failed, percentile

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PROBLEMS: Final = 5
ALL_CALLS: Final = 8_000_000
"""As many as there is time for."""
QUIET_SECONDS: Final = 0.2
CLOSE_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 30.0
"""How long the answers that are still under way at the end are waited for."""


class Failed(Exception):
    """The target did not even open a session."""


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of those processes that still run."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total * _TICK


class Run:
    """What the connections of a measurement share: the ids, the end, and what came out."""

    def __init__(self, calls: int, seconds: float) -> None:
        self.latencies = array("d")
        self.errors = 0
        self.problems: list[str] = []
        self._left = calls
        self._end = time.perf_counter() + seconds
        self._next_id = wire.FIRST_ID

    def take(self, now: float) -> int | None:
        """The id of the next request; None where there is to be none."""
        if self._left <= 0 or now >= self._end:
            return None
        self._left -= 1
        self._next_id += 1
        return self._next_id

    def fail(self, problem: str) -> None:
        self.errors += 1
        if len(self.problems) < _PROBLEMS:
            self.problems.append(problem)


class Client(asyncio.Protocol):
    """One connection and, in the legacy era, its session."""

    def __init__(self, url: str, front: wire.Era, headers: Mapping[str, str], method: str, tool: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._path = parts.path or "/"
        self._front: wire.Era = front
        self._headers = dict(headers)
        self._method, self._tool = method, tool
        self._template: wire.Template
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._session = b""
        self._run: Run | None = None
        self._id = 0
        self._sent = 0.0
        self._done: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()

    # The connection

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's does not derive from it
        self._lost.clear()
        self._parser = httptools.HttpResponseParser(self)
        self._chunks = []

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(Failed(f"the connection was closed: {exc}"))
        elif self._run is not None:
            self._run.fail(f"the connection was closed: {exc}")
            self._finish()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._run is not None:
                self._run.fail(f"no HTTP: {error}")
                self._finish()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._session and name.lower() == b"mcp-session-id":
            self._session = value

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        chunks, self._chunks = self._chunks, []
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        status = self._parser.get_status_code()
        if self._answered is not None:
            self._answered.set_result((status, body))
            self._answered = None
            return
        run = self._run
        if run is None:
            return
        now = time.perf_counter()
        wrong = wire.problem(status, body, self._id)
        if wrong is None:
            run.latencies.append(now - self._sent)
        else:
            run.fail(wrong)
        self._next(run)

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        if self._transport is None:
            await self._connect()
        assert self._transport is not None
        self._answered = answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answered
        except TimeoutError:
            self._answered = None
            raise Failed(f"no answer within {ANSWER_SECONDS:g} s") from None

    # A client's life

    async def open(self) -> None:
        """Connect, and shake hands in the legacy era. Raises Failed, OSError."""
        host = f"{self._host}:{self._port}"
        await self._connect()
        if self._front == "legacy":
            status, body = await self._ask(wire.initialize(self._path, host, self._headers))
            if wrong := wire.problem(status, body, wire.FIRST_ID):
                raise Failed(f"initialize: {wrong}")
            if self._session:
                self._headers["mcp-session-id"] = self._session.decode()
            status, body = await self._ask(wire.initialized(self._path, host, self._headers))
            if status not in (200, 202, 204):
                raise Failed(f"notifications/initialized: status {status}")
        self._template = wire.template(
            self._front, self._path, host, self._headers, method=self._method, name=self._tool
        )

    async def work(self, run: Run) -> None:
        """Call until `run` gives no more ids."""
        if self._transport is None:
            await self._connect()
        self._run = run
        self._done = asyncio.get_running_loop().create_future()
        self._next(run)
        await self._done

    def _next(self, run: Run) -> None:
        now = time.perf_counter()
        request_id = run.take(now)
        if request_id is None or self._transport is None:
            self._finish()
            return
        self._id, self._sent = request_id, now
        self._transport.write(self._template.request(request_id))

    def _finish(self) -> None:
        self._run = None
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def close(self) -> None:
        """End the session, if there is one, and the connection."""
        if self._transport is None:
            return
        if self._session:
            with contextlib.suppress(Failed, OSError):
                await self._ask(wire.delete(self._path, f"{self._host}:{self._port}", self._headers))
        if self._transport is not None:
            self._transport.close()
        await self._lost.wait()


async def _together(clients: Sequence[Client], run: Run, seconds: float) -> None:
    works = [asyncio.ensure_future(client.work(run)) for client in clients]
    done, pending = await asyncio.wait(works, timeout=seconds + ANSWER_SECONDS)
    for work in pending:
        run.fail(f"no answer within {ANSWER_SECONDS:g} s after the end")
        work.cancel()
    for work in done:
        if (error := work.exception()) is not None:
            run.fail(str(error))


async def counted(counts: str | None) -> int | None:
    """The requests that a backend of `bench.backend` has counted since it was last asked."""
    if counts is None:
        return None
    parts = urlsplit(counts)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path}?reset HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    return sum(json.loads(body).values())


async def quiet(counts: str | None, within: float = CLOSE_SECONDS) -> None:
    """Wait until the backend hears nothing for a moment: sessions that were closed before, streams that are being opened."""
    async with asyncio.timeout(within):
        while await counted(counts):  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(QUIET_SECONDS)


async def measure(
    clients: Sequence[Client], *, calls: int, seconds: float, pids: Sequence[int] = (), counts: str | None = None
) -> Sample:
    """Let open clients call; at most `calls`, for at most `seconds`."""
    await counted(counts)
    run = Run(calls, seconds)
    cpu, started = cpu_seconds(pids), time.perf_counter()
    await _together(clients, run, seconds)
    took = time.perf_counter() - started
    return Sample(
        calls=len(run.latencies),
        seconds=took,
        p50=percentile(run.latencies, 0.5),
        p99=percentile(run.latencies, 0.99),
        longest=max(run.latencies, default=float("nan")),
        cpu_seconds=cpu_seconds(pids) - cpu,
        backend_requests=await counted(counts),
        errors=run.errors,
        problems=tuple(run.problems),
    )


async def opened(
    url: str, front: wire.Era, concurrency: int, *, headers: Mapping[str, str], method: str, tool: str
) -> list[Client]:
    """Clients with open sessions, opened eight at a time. Raises Failed, OSError."""
    clients = [Client(url, front, headers, method, tool) for _ in range(concurrency)]
    try:
        for start in range(0, len(clients), 8):
            await asyncio.gather(*(client.open() for client in clients[start : start + 8]))
    except BaseException:
        for client in clients:
            await client.close()
        raise
    return clients


async def _main(args: argparse.Namespace) -> Sample:
    headers = dict(header.split(": ", 1) for header in args.header)
    try:
        clients = await opened(
            args.url, args.front, args.concurrency, headers=headers, method=args.method, tool=args.tool
        )
    except (Failed, OSError) as error:
        return failed(str(error))
    if args.warm_up:
        await measure(clients, calls=args.warm_up, seconds=args.seconds)
    with contextlib.suppress(TimeoutError):
        await quiet(args.counts)
    sample = await measure(clients, calls=args.calls, seconds=args.seconds, pids=args.pid, counts=args.counts)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            for client in clients:
                await client.close()
    return sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--front", choices=("legacy", "modern"), default="legacy")
    parser.add_argument("-c", "--concurrency", type=int, default=1)
    parser.add_argument("--method", default="tools/call")
    parser.add_argument("--tool", default=wire.TOOL)
    parser.add_argument("--calls", type=int, default=ALL_CALLS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=int, default=200, help="calls before the measured ones")
    parser.add_argument("--header", action="append", default=[], help='"Name: value", more than once')
    parser.add_argument("--counts", help="URL of the backend's /counts, asked before and after the measured calls")
    parser.add_argument("--pid", type=int, action="append", default=[], help="process whose CPU time is measured")
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(_main(args)).to_json())


if __name__ == "__main__":
    main()
