"""Newline-delimited framing (MCP, "stdio transport"), tolerant of what real servers write."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

CHUNK: Final = 2**16


@dataclass(frozen=True, slots=True)
class Oversize:
    """A line longer than the limit, skipped. `length` is in bytes, without its newline."""

    length: int


@dataclass(slots=True)
class LineSplitter:
    """Cuts a byte stream into lines; keeps at most `limit` bytes of an unfinished one."""

    limit: int
    _parts: list[bytes] = field(default_factory=list)
    _length: int = 0

    def feed(self, chunk: bytes) -> list[bytes | Oversize]:
        """Lines that `chunk` completes, without line end and without blank ones."""
        *complete, rest = chunk.split(b"\n")
        lines: list[bytes | Oversize] = []
        for piece in complete:
            self._keep(piece)
            lines += self._take()
        self._keep(rest)
        return lines

    def end(self) -> list[bytes | Oversize]:
        """What the stream's end leaves: a last line without a newline."""
        return self._take()

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > self.limit:
            self._parts.clear()
        elif piece:
            self._parts.append(piece)

    def _take(self) -> list[bytes | Oversize]:
        length, line = self._length, b"".join(self._parts).rstrip(b"\r")
        self._length = 0
        self._parts.clear()
        if length > self.limit:
            return [Oversize(length)]
        return [line] if line.strip() else []


async def read_lines(
    stream: asyncio.StreamReader, limit: int, on_line: Callable[[bytes], None], on_garbage: Callable[[str], None]
) -> None:
    """Hand over each line of `stream`, until it ends; of one longer than `limit` bytes, what was wrong with it."""
    splitter = LineSplitter(limit)

    def hand_over(lines: list[bytes | Oversize]) -> None:
        for line in lines:
            if isinstance(line, Oversize):
                on_garbage(f"a line of {line.length} bytes, over the limit of {limit}")
            else:
                on_line(line)

    while chunk := await stream.read(CHUNK):
        hand_over(splitter.feed(chunk))
    hand_over(splitter.end())
