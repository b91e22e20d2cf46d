"""Secrets and ConfigMaps that resources refer to: who refers to which, and what they hold now.

The content of one is read when somebody needs it, and kept until its version changes. Of those that nobody refers to,
nothing is kept.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from mcp_operator.compile.lookup import DataId, DataObject
from mcp_operator.compile.references import decoded
from mcp_operator.engine.keys import Key
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.paths import built_in

FETCHES: Final = 16
"""Secrets and ConfigMaps that are read at once for one reconcile."""


class References:
    """`moved` is set whenever the set of what is referred to changes."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._referrers: defaultdict[DataId, set[Key]] = defaultdict(set)
        self._referred: dict[Key, frozenset[DataId]] = {}
        self._content: dict[DataId, DataObject | None] = {}
        self._reading: Counter[DataId] = Counter()
        self._outdated: set[DataId] = set()
        self.moved = asyncio.Event()

    def note(self, key: Key, references: Iterable[DataId]) -> None:
        """The resource refers to these, and to no others any more."""
        now, before = frozenset(references), self._referred.pop(key, frozenset())
        for gone in before - now:
            self._referrers[gone].discard(key)
            if not self._referrers[gone]:
                del self._referrers[gone]
                self._content.pop(gone, None)
                self.moved.set()
        for new in now - before:
            if new not in self._referrers:
                self.moved.set()
            self._referrers[new].add(key)
        if now:
            self._referred[key] = now

    def referrers(self, reference: DataId) -> frozenset[Key]:
        """Resources that refer to it, as far as they were read."""
        return frozenset(self._referrers.get(reference, ()))

    @property
    def wanted(self) -> Collection[DataId]:
        """All that is referred to."""
        return self._referrers.keys()

    async def contents(self, wanted: Iterable[DataId]) -> dict[DataId, DataObject]:
        """What these hold; what does not exist is left out. Raises the errors of `kube.errors`."""
        room = asyncio.Semaphore(FETCHES)
        ordered = sorted(set(wanted))
        found = await asyncio.gather(*(self._read(reference, room) for reference in ordered))
        return {reference: content for reference, content in zip(ordered, found, strict=True) if content is not None}

    async def _read(self, reference: DataId, room: asyncio.Semaphore) -> DataObject | None:
        if reference in self._content:
            return self._content[reference]
        kind, namespace, name = reference
        async with room:
            self._reading[reference] += 1
            try:
                body = await self._kube.get(built_in(kind).path(namespace, name))
            finally:
                self._reading[reference] -= 1
                if not self._reading[reference]:
                    del self._reading[reference]
        content = DataObject(body["metadata"]["resourceVersion"], decoded(kind, body)) if body is not None else None
        if reference in self._outdated:  # it changed meanwhile: the next pass, which has been ordered, reads it again
            if reference not in self._reading:
                self._outdated.discard(reference)
        elif reference in self._referrers:
            self._content[reference] = content
        return content

    def seen(self, reference: DataId, version: str | None) -> bool:
        """It has this version now (None: it does not exist); whether somebody was given another one."""
        if reference in self._reading:
            self._outdated.add(reference)
            self._content.pop(reference, None)
            return True
        if reference not in self._content:
            return False
        known = self._content[reference]
        if (known.version if known is not None else None) == version:
            return False
        del self._content[reference]
        return True

    def listed(self, found: Mapping[DataId, str], scope: Iterable[DataId]) -> list[DataId]:
        """Of the references `scope`, those exist that were `found`, with these versions; which of them is that news of?"""
        return [reference for reference in scope if self.seen(reference, found.get(reference))]
