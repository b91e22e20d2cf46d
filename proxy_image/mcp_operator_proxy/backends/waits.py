"""How long one request of a client has waited for others: for its server, for a place with it, for an answer of its user.

What is left of its time is what the proxy added. The time that goes by between the bytes of a server's answer counts, not
what is made of them.
"""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar


class Waits:
    """Of one request."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


current: ContextVar[Waits | None] = ContextVar("waits", default=None)


def waited(seconds: float) -> None:
    """The current request has waited for so long."""
    waits = current.get()
    if waits is not None:
        waits.seconds += seconds


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """In the block the current request does nothing but wait."""
    began = time.perf_counter()
    try:
        yield
    finally:
        waited(time.perf_counter() - began)
