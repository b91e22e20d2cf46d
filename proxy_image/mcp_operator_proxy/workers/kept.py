"""What a worker's counters came to, for the worker that comes in its place: a sum over workers must not fall when one dies,
as Prometheus would take all that is left for new.

Each worker keeps what it has told last in memory that the workers share with their parent. So what was scraped is never taken
back; what was counted between the last scrape and a worker's sudden end is lost.
"""

import os
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mcp_operator_proxy.registry.listing import server_labels, tool_ids
from mcp_operator_proxy.toolmetrics import OTHER
from mcp_operator_proxy.workers.merge import Merged, merge_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_operator_proxy.state import State

_HEAD: Final = struct.Struct("<QI")
"""Length and checksum: whoever died while it wrote has kept nothing."""
Known = Callable[[str, str], bool]
"""Whether what a label (name, value) speaks of is still there."""


class Memory:
    """A place for each worker, which whoever is forked after it was made shares. `close` it in the parent."""

    def __init__(self, workers: int) -> None:
        self._files = [os.memfd_create(f"worker-{index}") for index in range(workers)]

    def close(self) -> None:
        for file in self._files:
            os.close(file)

    def write(self, worker: int, text: bytes) -> None:
        file, data = self._files[worker], zlib.compress(text, 1)
        os.pwrite(file, _HEAD.pack(0, 0), 0)
        os.pwrite(file, data, _HEAD.size)
        os.pwrite(file, _HEAD.pack(len(data), zlib.crc32(data)), 0)

    def read(self, worker: int) -> bytes:
        """Empty where nothing was kept."""
        file = self._files[worker]
        head = os.pread(file, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return b""
        length, checksum = _HEAD.unpack(head)
        data = os.pread(file, length, _HEAD.size)
        return zlib.decompress(data) if length and zlib.crc32(data) == checksum else b""


@contextmanager
def shared_memory(workers: int) -> "Iterator[Memory | None]":
    """None where there is nothing to share, or the system has no such files (memfd_create(2))."""
    if workers == 1 or not hasattr(os, "memfd_create"):
        yield None
        return
    memory = Memory(workers)
    try:
        yield memory
    finally:
        memory.close()


class Kept:
    """One worker's: what it tells goes on from where its predecessor was."""

    def __init__(self, memory: Memory, worker: int) -> None:
        self._memory = memory
        self._worker = worker
        self._before = memory.read(worker)
        self._lock = threading.Lock()

    def going_on(self, render: Callable[[], bytes], known: Known) -> bytes:
        """What `render` gives with what was counted before, but for what is no more; it is kept."""
        with self._lock:
            text = render()
            if self._before:
                text = merge_metrics([text, counters(self._before, known)], one_after_the_other=True)
            self._memory.write(self._worker, text)
            return text

    def of(self, worker: int, known: Known) -> bytes:
        """The counters of a sibling that does not answer, as it told them last."""
        return counters(self._memory.read(worker), known)


def counters(text: bytes, known: Known) -> bytes:
    """Counters and histograms of `text`, those series whose labels are `known`."""
    families = []
    for family in text_string_to_metric_families(text.decode()):
        if family.type != "gauge":
            family.samples = [s for s in family.samples if all(known(*label) for label in s.labels.items())]
            families.append(family)
    return generate_latest(Merged(families))


def known_in(state: "State | None") -> Known:
    """By the configuration and lists in use. Of what has not been heard of yet nobody says that it is gone."""
    if state is None:
        return lambda *_: True
    servers, routes = {server.id for server in state.config.servers}, set(state.table)
    tools = {*tool_ids(state.config, {path: table.tools for path, table in state.table.items()}).values(), OTHER}
    labels = server_labels(state.config)
    unheard = [backend.id for backend in state.backends.values() if not backend.status.ever_ready]
    open_ended = tuple(f"{labels[server]}." for server in (*state.personal, *unheard))

    def known(label: str, value: str) -> bool:
        if label in {"server", "server_id"}:
            return value in servers
        if label == "route":
            return value in routes
        return label != "tool_id" or value in tools or value.startswith(open_ended)

    return known
