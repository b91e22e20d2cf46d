"""Which object the code at hand is about: log lines carry its name without anybody handing it on."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mcp_operator.engine.keys import Key

_subject: ContextVar[Key | None] = ContextVar("subject", default=None)


@contextmanager
def about(key: Key) -> Iterator[None]:
    """What runs inside, and every task that is born there, is about `key`."""
    token = _subject.set(key)
    try:
        yield
    finally:
        _subject.reset(token)


def current() -> Key | None:
    """The object that this is about, if any."""
    return _subject.get()
