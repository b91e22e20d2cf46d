"""Heads of HTTP messages that come again byte for byte: what has been parsed once need not be parsed again. Pure.

A client of a kept-alive connection sends the same head with call after call, and a backend answers with the same one.
Equal bytes at the same place of a connection parse to the same thing, so only a message is recognized that arrives whole
and alone, from its first byte to the last that its `content-length` counts. All else is the parser's.
"""

from typing import Final, Generic, TypeVar

T = TypeVar("T")
LONGEST: Final = 4096
"""Bytes of a head that is kept."""
MOST: Final = 4
"""Heads kept for one connection; then it begins anew."""
_END: Final = b"\r\n\r\n"


class Repeats(Generic[T]):
    """What was made of heads, by their bytes."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, T]] = {}

    def find(self, message: bytes) -> tuple[T, bytes] | None:
        """What was made of its head, and its body; None where it is not a whole message with a head that is known."""
        body = message.find(_END) + 4
        found = self._known.get(message[:body])
        return (found[1], message[body:]) if found is not None and len(message) - body == found[0] else None

    def keep(self, message: bytes, body: bytes, made: T) -> None:
        """Remember the head of a message that was parsed: to this `body`, of the length that the head says, and no more.

        `message` is all that had come since the message before it.
        """
        size = len(message) - len(body)
        if not body or size > LONGEST or message.find(_END) + 4 != size:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[message[:size]] = len(body), made

    def forget(self) -> None:
        self._known.clear()
