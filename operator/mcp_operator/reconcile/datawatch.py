"""Streams that tell when a Secret or ConfigMap that a resource refers to changes, comes or goes.

Only what is referred to is watched, and only its metadata: object by object while these are few, then by namespace, and the
whole cluster where even these are many (and the operator watches it). What a wider stream tells of others is dropped at once.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from mcp_operator.compile.lookup import DataId, DataKind
from mcp_operator.engine.backoff import Backoff
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import ApiError, Gone
from mcp_operator.kube.metadata import Seen, changes, pages
from mcp_operator.kube.paths import built_in
from mcp_operator.reconcile.references import References

log = logging.getLogger(__name__)

MOST_STREAMS: Final = 32
"""Of each of the two kinds. A stream costs a connection here and a watch in the API server."""
STEADY_SECONDS: Final = 10.0
"""A stream that lasted for so long may be begun anew at once."""
SETTLE_SECONDS: Final = 0.05
"""Many resources are read one after the other: what they refer to is looked at once."""


class Scope(NamedTuple):
    """What one stream tells of: an object, or (None) all of a namespace, or all of the cluster."""

    kind: DataKind
    namespace: str | None
    name: str | None

    def covers(self, reference: DataId) -> bool:
        kind, namespace, name = reference
        return self.kind == kind and self.namespace in (None, namespace) and self.name in (None, name)

    def __str__(self) -> str:
        where = "the cluster" if self.namespace is None else self.namespace
        return f"{self.kind} {where}/{self.name}" if self.name else f"every {self.kind} of {where}"


def scopes(wanted: Iterable[DataId], *, clusterwide: bool, most: int = MOST_STREAMS) -> frozenset[Scope]:
    """The streams that tell of all that is `wanted`: at most `most` of a kind, where one for each namespace is not too many.

    Without `clusterwide` there is never a stream of the whole cluster.
    """
    wanted = [*wanted]
    chosen: set[Scope] = set()
    for kind, count in Counter(kind for kind, _, _ in wanted).items():
        of_kind = [reference for reference in wanted if reference[0] == kind]
        namespaces = {namespace for _, namespace, _ in of_kind}
        if count <= most:
            chosen |= {Scope(*reference) for reference in of_kind}
        elif len(namespaces) <= most or not clusterwide:
            chosen |= {Scope(kind, namespace, None) for namespace in namespaces}
        else:
            chosen.add(Scope(kind, None, None))
    return frozenset(chosen)


@dataclass(slots=True)
class _Position:
    """Up to which version a stream has told everything; None: nothing has been listed."""

    version: str | None = None


class DataWatch:
    """`changed` is called with each reference whose version is another than the one that somebody was given."""

    def __init__(
        self,
        kube: KubeClient,
        references: References,
        changed: Callable[[DataId], None],
        *,
        clusterwide: bool,
        backoff: Backoff | None = None,
    ) -> None:
        self._kube = kube
        self._references = references
        self._changed = changed
        self._clusterwide = clusterwide
        self._backoff = backoff or Backoff(base=0.2, cap=30.0)
        self._following: dict[Scope, asyncio.Task[None]] = {}

    @property
    def following(self) -> frozenset[Scope]:
        """What is watched now."""
        return frozenset(self._following)

    async def run(self) -> None:
        """Watch what is referred to, until cancelled."""
        try:
            while True:
                self._references.moved.clear()
                self._arrange()
                await self._references.moved.wait()
                await asyncio.sleep(SETTLE_SECONDS)
        finally:
            await self._end(self._following)

    def _arrange(self) -> None:
        wanted = scopes(self._references.wanted, clusterwide=self._clusterwide)
        for scope in self._following.keys() - wanted:
            self._following.pop(scope).cancel()
        for scope in wanted - self._following.keys():
            self._following[scope] = asyncio.get_running_loop().create_task(self._follow(scope), name=f"watch {scope}")

    async def _end(self, tasks: dict[Scope, "asyncio.Task[None]"]) -> None:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        tasks.clear()

    async def _follow(self, scope: Scope) -> None:
        position, failures = _Position(), 0
        while True:
            began, problem = time.monotonic(), "it ended at once"
            try:
                if position.version is None:
                    position.version = await self._list(scope)
                await self._watch(scope, position)
            except Gone as error:
                position.version, problem = None, str(error)
            except ApiError as error:
                # From where it was, if that is still known there: what happened meanwhile is then told.
                problem = str(error)
            except Exception as error:
                log.exception("the watch of %s failed", scope)
                position.version, problem = None, f"unexpected {type(error).__name__}"
            if time.monotonic() - began >= STEADY_SECONDS:
                failures = 0
                continue
            delay = self._backoff.delay(failures)
            failures += 1
            log.warning("cannot watch %s, next try in %.1f s: %s", scope, delay, problem)
            await asyncio.sleep(delay)

    async def _list(self, scope: Scope) -> str:
        """LIST, and tell of differences; the version from which to watch."""
        found: dict[DataId, str] = {}
        version = ""
        async with aclosing(pages(self._kube, *_collection(scope))) as listing:
            async for page in listing:
                version = page.resource_version
                of_interest = ((_id(scope, item), item.version) for item in page.items)
                found |= {reference: seen or "" for reference, seen in of_interest if self._is_wanted(reference)}
        covered = [reference for reference in self._references.wanted if scope.covers(reference)]
        for reference in self._references.listed(found, covered):
            self._changed(reference)
        return version

    async def _watch(self, scope: Scope, position: "_Position") -> None:
        """Tell of changes until the API server ends the stream."""
        path, selector = _collection(scope)
        async with aclosing(changes(self._kube, path, position.version or "", selector)) as events:
            async for seen, version in events:
                position.version = version
                if seen is not None and self._references.seen(reference := _id(scope, seen), seen.version):
                    self._changed(reference)

    def _is_wanted(self, reference: DataId) -> bool:
        return reference in self._references.wanted


def _id(scope: Scope, seen: Seen) -> DataId:
    return scope.kind, seen.namespace, seen.name


def _collection(scope: Scope) -> tuple[str, str | None]:
    """The path, and the field selector."""
    selector = f"metadata.name={scope.name}" if scope.name is not None else None
    return built_in(scope.kind).path(scope.namespace), selector
