"""Event streams, event by event (WHATWG HTML, "Server-sent events"). Pure."""

from typing import Final

from mcp_operator_proxy.backends.http import MAX_ANSWER

_MESSAGE: Final = (b"", b"message")


class EventTooLarge(ValueError):
    """One event of the stream is larger than `MAX_ANSWER`."""


class Events:
    """Takes the bytes as they come and gives the data of the events that are complete."""

    __slots__ = ("_data", "_last_cr", "_name", "_rest", "_size", "last_id")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0
        self._last_cr = False
        self.last_id = b""
        """Of the last event that had one: where the stream can be resumed."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each message that `chunk` completes; comments, events of other names and those without data are left out.

        Raises:
            EventTooLarge: the event that is under way.
        """
        if self._last_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._last_cr = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._size += len(chunk)
        if self._size > MAX_ANSWER:
            raise EventTooLarge("an event of the server's stream is too large")
        if b"\n" not in chunk:
            self._rest.append(chunk)  # joined once, however many chunks a line has
            return []
        lines = b"".join((*self._rest, chunk)).split(b"\n")
        self._rest = [lines.pop()]
        found = []
        for line in lines:
            if line:
                self._field(line)
                continue
            if self._data:
                if self._name in _MESSAGE:
                    found.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
            self._name = b""
            self._size = len(self._rest[0])
        return found

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            if value:
                self._data.append(value)
        elif name == b"event":
            self._name = value
        elif name == b"id" and b"\0" not in value:
            self.last_id = value


def event(data: bytes) -> bytes:
    """One `message` event of JSON, in which a line break can only stand between tokens."""
    if b"\n" in data:
        data = data.replace(b"\n", b" ")
    return b"event: message\r\ndata: " + data + b"\r\n\r\n"
