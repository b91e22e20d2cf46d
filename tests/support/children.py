"""Processes that a test has begun, to see that none is left."""

import psutil

from support.stores import SERVERS


def children() -> list[psutil.Process]:
    """All beneath this process, but for the servers that stand for a whole session of tests."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        if child.pid in SERVERS:
            continue
        found.append(child)
        try:
            found += child.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return found
