"""A plan: what applying some files, or the operator's next look at the cluster, would change."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mcp_operator.api import meta
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.desired import HostingSettings
from mcp_operator.engine.keys import Key
from mcp_operator.kube.errors import ApiError
from mcp_operator.local.catalogue import Snapshot
from mcp_operator.local.manifests import named
from mcp_operator.planning.dryrun import Change, DryRun
from mcp_operator.planning.rehearsal import Rehearsal
from mcp_operator.planning.world import Planned, observe_world, planned_resources, reaches

_ORDER: Final = {kind.kind: number for number, kind in enumerate(meta.KINDS)}
"""Servers, proxies, then routes: a route hears from its proxies what became of it."""
_SPEC: Final = frozenset({Type.ACCEPTED, Type.RESOLVED_REFS})
"""Conditions that need no running pod to be decided."""
_MADE: Final = frozenset({Type.PROGRAMMED, Type.EXPOSED, Type.AUTOSCALED, Type.MONITORED})
"""Conditions that tell of objects which could not be made."""
_REFUSALS: Final = frozenset({Reason.APPLY_REFUSED, Reason.CHILD_NAME_TAKEN, Reason.API_MISSING})


@dataclass(slots=True)
class Plan:
    """What would change, in the order of the writes; what would be refused; and what there is to know."""

    changes: list[Change] = field(default_factory=list, repr=False)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def make_plan(
    kube: DryRun,
    files: Snapshot | None,
    namespaces: Sequence[str] | None,
    settings: HostingSettings,
    *,
    reads_namespaces: bool = True,
) -> Plan:
    """Plan for the resources of `files` and the proxies of their namespaces, or without files for all of `namespaces`.

    `namespaces` are None for all; `reads_namespaces`: whether the operator may read their labels.
    Raises `kube.errors` where the cluster can't be asked.
    """
    planned = await planned_resources(kube, files or Snapshot(), namespaces)
    chosen = _chosen(planned, files, namespaces)
    plan = Plan(problems=planned.problems, notes=planned.notes)
    async with Rehearsal(kube, settings, reads_namespaces=reads_namespaces) as rehearsal:
        await observe_world(kube, rehearsal.world, planned, files or Snapshot(), chosen)
        for key in chosen:
            try:
                await rehearsal.run(key)
            except ApiError as error:
                plan.problems.append(f"{planned.places[key]}: {named(key)}: {error}")
        for key in chosen:
            _tell(plan, f"{planned.places[key]}: {named(key)}", rehearsal, key)
    plan.changes = list(kube.changes.values())
    plan.notes += [
        f"namespace {namespace} does not exist: what is put there is shown as it would be sent"
        for namespace in sorted(kube.unchecked)
    ]
    return plan


def _chosen(planned: Planned, files: Snapshot | None, namespaces: Sequence[str] | None) -> list[Key]:
    """What is looked at, in the order in which that is done."""
    if files is None:
        found = {key for key in planned.bodies if namespaces is None or key.namespace in namespaces}
    else:
        touched = {key.namespace for key in (*files.resources, *files.refused)}
        touched |= {namespace for _, namespace, _ in files.objects}
        found = {key for key in planned.bodies if key in files.resources}
        found |= {key for key in planned.bodies if key.kind == meta.ROUTE.kind and key.namespace in touched}
        found |= {proxy for proxy, reach in reaches(planned).items() if reach & touched}
    return sorted(found, key=lambda key: (_ORDER[key.kind], key))


def _tell(plan: Plan, what: str, rehearsal: Rehearsal, key: Key) -> None:
    """Sort what the operator would say into what it could not do, and what there is to know."""
    for condition in rehearsal.conditions(key):
        line = f"{what}: {condition.message}"
        if condition.reason == Reason.PAUSED and condition.type == Type.PROGRAMMED:
            plan.notes.append(f"{what}: paused: the operator leaves its objects as they are")
        elif condition.status == "False" and condition.reason in _REFUSALS and condition.type in _MADE:
            plan.problems.append(line)
        elif condition.status == "False" and condition.type in _SPEC:
            plan.notes.append(line)


def counted(changes: Collection[Change]) -> str:
    """`1 to create, 2 to change, none to delete`"""
    return ", ".join(_counts(changes))


def _counts(changes: Collection[Change]) -> Iterator[str]:
    for action in ("create", "change", "delete"):
        yield f"{sum(change.action == action for change in changes) or 'none'} to {action}"
