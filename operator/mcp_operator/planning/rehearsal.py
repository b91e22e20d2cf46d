"""The operator's own reconcilers, with edges that do nothing: they find out what they would write, and that is all.

No probe is made, no tool called, no replica asked, no Event told, no status written; the client only pretends to write.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Never, cast

from mcp_operator.api.common import Condition, StatusModel
from mcp_operator.desired import HostingSettings
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Store
from mcp_operator.kube.discovery import Discovery
from mcp_operator.kube.events import EventRecorder
from mcp_operator.planning.dryrun import DryRun
from mcp_operator.probe.canaries import Canaries
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replicas import Replicas
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.dispatch import reconcile
from mcp_operator.reconcile.status import StatusWriter
from mcp_operator.reconcile.world import INDEXED_LABELS, LABELLED, World

PASSES: Final = 5
"""More than it takes to come to rest: what a first pass keeps for replicas that have not followed, the next one drops."""


class Rehearsal:
    """Use as `async with`; fill `store` with the world before the first `run`."""

    def __init__(self, kube: DryRun, settings: HostingSettings, *, reads_namespaces: bool = True) -> None:
        self._kube = kube
        self.store = Store(label_indexes=INDEXED_LABELS, labelled=LABELLED)
        self.world = World(self.store, kube, reads_namespaces=reads_namespaces)
        self._statuses = _Kept(kube, self.store, cast("EventRecorder", _Deaf()))
        self._prober: Prober[Key] = Prober(_ignore, spread=0.0, probe=_no_answer)
        self._canaries: Canaries[Key] = Canaries(_ignore, call=_no_answer)
        self._replicas: Replicas[Key] = Replicas(_ignore)
        self._context = Context(
            kube=kube,
            world=self.world,
            prober=self._prober,
            canaries=self._canaries,
            replicas=self._replicas,
            status=self._statuses,
            settings=settings,
            enqueue=_ignore,
            on_swap=_ignore,
            discovery=Discovery(kube),
        )

    async def __aenter__(self) -> "Rehearsal":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._prober.aclose()
        await self._canaries.aclose()
        await self._replicas.aclose()

    async def run(self, key: Key) -> None:
        """Reconcile a resource until it is at rest. Raises `kube.errors`."""
        for _ in range(PASSES):
            before = self._kube.writes
            await reconcile(self._context, key)
            if self._kube.writes == before:
                return

    def conditions(self, key: Key) -> Iterable[Condition]:
        """Conditions that the operator would give the resource; empty where it would not look at it."""
        status = self._statuses.kept.get(key)
        return status.conditions if status else ()


class _Kept(StatusWriter):
    """Statuses are remembered in the place of being written."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept: dict[Key, StatusModel] = {}

    async def write(self, resource: Any, status: Any) -> bool:
        self.kept[Key(resource.kind, resource.metadata.namespace, resource.metadata.name)] = status
        return False

    async def write_raw(self, *_: Any) -> None:
        return None


class _Deaf:
    """In the place of a recorder of Events."""

    def __getattr__(self, name: str) -> Any:
        return _ignore


def _ignore(*_: object, **__: object) -> None:
    return None


async def _no_answer(_: object) -> Never:
    await asyncio.Event().wait()
    raise AssertionError
