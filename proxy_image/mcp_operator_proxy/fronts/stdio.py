"""The proxy on stdin and stdout, as desktop clients start it: one JSON-RPC message a line, and nothing else on stdout.

Source: MCP 2025-11-25, "Transports: stdio".
"""

import asyncio
import contextlib
import json
import logging
import os
import queue
import threading
from typing import Final

from mcp_types import INVALID_REQUEST, PARSE_ERROR, jsonrpc_message_adapter
from pydantic import ValidationError

from mcp_operator_proxy.bridge.framing import LineSplitter, Oversize
from mcp_operator_proxy.fronts.channel import Channel, ChannelClosed, Channels
from mcp_operator_proxy.fronts.takeover import Pipes
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)
MAX_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of one line from the client, as of one body over HTTP."""
GRACE_SECONDS: Final = 25.0
"""For the requests in flight when stdin ends."""
_CHUNK: Final = 64 * 1024
_LINES_AHEAD: Final = 16


async def serve_stdio(channels: Channels, pipes: Pipes, *, grace_seconds: float = GRACE_SECONDS) -> None:
    """Serve one client until its stdin ends or nobody reads stdout any more; cancel it to end at once.

    The threads that read and write can't be interrupted: they are daemons, and end with the process at the latest.
    """
    reader, writer = _Reader(pipes.stdin), _Writer(pipes.stdout)
    async with channels.open(None, modern=True, kind="stdio") as channel:
        loop = asyncio.get_running_loop()
        reading = loop.create_task(_read(reader, writer, channel))
        writing = loop.create_task(_write(writer, channel))
        try:
            await asyncio.wait([reading, writing], return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_seconds):
                        await channel.quiet()
                channel.end()
                await asyncio.wait([writing], timeout=1)
        finally:
            reader.stop()
            await cancel([reading, writing])
            writer.close()
    for task in (reading, writing):
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("the client has gone", extra={"reason": type(error).__name__})


async def _read(reader: "_Reader", writer: "_Writer", channel: Channel) -> None:
    while (line := await reader.next()) is not None:
        if isinstance(line, Oversize):
            await writer.error(INVALID_REQUEST, f"the message is longer than {MAX_MESSAGE} bytes")
            continue
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValidationError:
            await writer.error(PARSE_ERROR, "the line is not one JSON-RPC 2.0 message")
            continue
        try:
            await channel.put(message)
        except ChannelClosed:
            return


async def _write(writer: "_Writer", channel: Channel) -> None:
    async for message in channel.messages():
        await writer.line(message.model_dump_json(by_alias=True, exclude_unset=True).encode())


class _Reader:
    """Lines of a file descriptor, read by a thread: stdin may be a pipe, a terminal or a file."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | Oversize | None] = asyncio.Queue()
        self._room = threading.Semaphore(_LINES_AHEAD)
        self._stopped = False
        threading.Thread(target=self._run, args=(descriptor,), name="stdin", daemon=True).start()

    async def next(self) -> bytes | Oversize | None:
        """The next line, None at the end."""
        line = await self._lines.get()
        self._room.release()
        return line

    def stop(self) -> None:
        self._stopped = True
        self._room.release()

    def _run(self, descriptor: int) -> None:
        splitter = LineSplitter(MAX_MESSAGE)
        while chunk := _read_some(descriptor):
            for line in splitter.feed(chunk):
                self._hand_over(line)
        for line in splitter.end():
            self._hand_over(line)
        self._hand_over(None)

    def _hand_over(self, line: bytes | Oversize | None) -> None:
        self._room.acquire()
        if self._stopped:
            self._room.release()  # for the next line, that nobody wants either
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:  # the terminal has gone, or the descriptor is closed
        return b""


class _Writer:
    """Whole lines to a file descriptor, by a thread: a client that does not read holds up nobody but itself."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(descriptor,), name="stdout", daemon=True).start()

    async def line(self, message: bytes) -> None:
        """Raises OSError when the other end is closed."""
        written: asyncio.Future[None] = self._loop.create_future()
        self._work.put((message + b"\n", written))
        await written

    async def error(self, code: int, message: str) -> None:
        body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
        await self.line(json.dumps(body).encode())

    def close(self) -> None:
        self._work.put(None)

    def _run(self, descriptor: int) -> None:
        while (work := self._work.get()) is not None:
            data, written = work
            error: OSError | None = None
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            except OSError as failure:
                error = failure
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(_settle, written, error)


def _settle(written: "asyncio.Future[None]", error: OSError | None) -> None:
    if written.done():
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)
