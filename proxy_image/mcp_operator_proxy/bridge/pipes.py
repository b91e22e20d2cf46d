"""A server that runs in a container of its own, reached through two named pipes in a folder that both containers mount.

The server's container makes the pipes anew at each start (`in` is its stdin, `out` its stdout) and opens them in that order, which
waits for this side: fifo(7). So what was written for a process that has ended never reaches the next one. Who starts it again is
the kubelet.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Final

from mcp_operator_proxy.bridge.framing import read_lines
from mcp_operator_proxy.bridge.process import Exit, ProcessSpec, StartError

log = logging.getLogger(__name__)

IN: Final = "in"
OUT: Final = "out"
SERVING: Final = "serving"
"""A file that stands there while the bridge serves: the server's container ends after it is gone."""
_LOOK_SECONDS: Final = 0.05
_NOT_YET: Final = frozenset({errno.ENXIO, errno.ENOENT})
"""Nobody has the pipe open for reading (open(2), O_NONBLOCK), or it has not been made yet."""


class PipedProcess:
    """One process at the other end of the pipes, from its opening to its end. The same face as `ServerProcess`."""

    pid: Final = None
    """It is in another container."""

    def __init__(self, spec: ProcessSpec, on_line: Callable[[bytes], None], on_garbage: Callable[[str], None]) -> None:
        assert spec.pipes is not None
        self._spec = spec
        self._folder = Path(spec.pipes)
        self._on_line = on_line
        self._on_garbage = on_garbage
        self._write_lock = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self.started = False
        self.closed = asyncio.Event()

    @property
    def exit(self) -> Exit | None:
        """That it has ended; its code is known to the kubelet alone."""
        return Exit(None, ()) if self.closed.is_set() else None

    def last_stderr(self, lines: int = 5) -> tuple[str, ...]:  # noqa: ARG002 - it goes to the log of its container
        return ()

    async def start(self) -> None:
        """Wait until a process has opened its end, and open this one. Raises StartError."""
        loop = asyncio.get_running_loop()
        sink, source = await self._open()
        try:
            protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # for its flow control
            transport, _ = await loop.connect_write_pipe(lambda: protocol, sink)
            reader = asyncio.StreamReader()
            receiving, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        except BaseException:
            sink.close()
            source.close()
            raise
        self._writer = asyncio.StreamWriter(transport, protocol, None, loop)
        self.started = True
        self._reading = loop.create_task(self._pump(reader, receiving))

    async def _open(self) -> tuple[FileIO, FileIO]:
        while True:
            try:
                sink = self._opened(IN, os.O_WRONLY)
            except OSError as error:
                if error.errno not in _NOT_YET:
                    raise StartError(f"pipe {self._folder / IN} can't be opened: {error.strerror}") from error
                await asyncio.sleep(_LOOK_SECONDS)  # nothing tells when a pipe gets a reader
                continue
            try:
                return sink, self._opened(OUT, os.O_RDONLY)
            except OSError as error:
                sink.close()
                raise StartError(f"pipe {self._folder / OUT} can't be opened: {error.strerror}") from error

    def _opened(self, name: str, mode: int) -> FileIO:
        descriptor = os.open(self._folder / name, mode | os.O_NONBLOCK | os.O_CLOEXEC)
        return FileIO(descriptor, "wb" if mode == os.O_WRONLY else "rb")

    async def send(self, line: bytes, unless: Callable[[], bool] = lambda: False) -> bool:
        """Write one line, in turn, waiting while the pipe is full; False where `unless` said so when its turn came.

        Raises ConnectionError when the process no longer reads.
        """
        async with self._write_lock:
            if unless():
                return False
            if self._writer is None or self.closed.is_set() or self._writer.is_closing():
                raise ConnectionResetError("the server does not run")
            self._writer.write(line + b"\n")
            await self._writer.drain()
            return True

    async def stop(self) -> None:
        """Close its stdin, and wait a while for it to end: it can't be killed from here."""
        if self._writer is None or self._reading is None:
            return
        self._writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._spec.stop_grace):
                await self.closed.wait()
        if not self.closed.is_set():
            log.warning("%s goes on although its stdin was closed", self._spec.name)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, receiving: asyncio.ReadTransport) -> None:
        try:
            await read_lines(reader, self._spec.max_line, self._on_line, self._on_garbage)
        finally:
            self.closed.set()
            receiving.close()
            if self._writer is not None:
                self._writer.transport.abort()
