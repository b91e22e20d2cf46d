"""The process's own stdin and stdout, taken for the protocol alone. Light to import: it comes before everything else."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pipes:
    """The file descriptors that the client is at the other end of."""

    stdin: int
    stdout: int


@contextlib.contextmanager
def taken_over() -> Iterator[Pipes]:
    """What anything else prints goes to stderr from now on, and it reads nothing.

    The duplicates stay open: a thread may be waiting on one, and its number must not come to mean another file.
    """
    pipes = Pipes(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        yield pipes
    finally:
        os.close(nothing)
        os.dup2(pipes.stdin, 0)
        os.dup2(pipes.stdout, 1)
