"""Writing a status when, and only when, it says something new; Events on transitions of what matters most in it."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.common import Condition, StatusModel
from mcp_operator.api.proxy import ProxyStatus
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer
from mcp_operator.api.route import RouteStatus
from mcp_operator.api.server import ServerStatus
from mcp_operator.conditions.reasons import PROGRESSING, Reason, Type
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Store
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import NotFound
from mcp_operator.kube.events import EventRecorder

log = logging.getLogger(__name__)
_TOLD: Final = (Type.READY, Type.CANARY_PASSING, Type.STALLED)


class StatusWriter:
    """Writes statuses by server-side apply with a field manager of its own."""

    def __init__(self, kube: KubeClient, store: Store, events: EventRecorder) -> None:
        self._kube = kube
        self._store = store
        self._events = events

    async def write(
        self, resource: McpServer | McpProxy | McpRoute, status: ServerStatus | ProxyStatus | RouteStatus
    ) -> bool:
        """Write `status` unless the resource already says so. Returns whether it did."""
        if _ordered(resource.status) == _ordered(status):
            return False
        kind = next(kind for kind in meta.KINDS if kind.kind == resource.kind)
        body = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        key = Key(kind.kind, resource.metadata.namespace, resource.metadata.name)
        if await self._apply(kind, key, resource.metadata.uid, body):
            self._tell(key, resource.status.conditions, status.conditions)
        return True

    async def write_raw(self, kind: meta.Kind, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Write a status for a body that could not be read; unchanged reasons are not written again."""
        if _reasons(body.get("status") or {}) != _reasons(status):
            await self._apply(kind, Key.of(kind.kind, body), body["metadata"].get("uid", ""), dict(status))

    def tell_restart(self, server: McpServer, count: int) -> None:
        """An Event for a restart that the operator orders."""
        key = Key(server.kind, server.metadata.namespace, server.metadata.name)
        if (body := self._store.get(key)) is not None:
            limit = server.spec.health.max_restarts
            self._events.warning(
                body, "Restarting", f"its pods are up but it does not answer: restart {count} of at most {limit}"
            )

    def tell_reset(self, server: McpServer) -> None:
        """An Event that somebody has the count of restarts start anew."""
        key = Key(server.kind, server.metadata.namespace, server.metadata.name)
        if (body := self._store.get(key)) is not None:
            self._events.normal(
                body, "RestartsReset", f"the count of restarts, which was {server.status.restarts}, starts anew"
            )

    def tell_notice(self, about: Key, reason: str, message: str, identity: str) -> bool:
        """An Event of what a proxy has noticed, once; whether `about` exists."""
        body = self._store.get(about)
        if body is None:
            return False
        self._events.once(body, "Warning", reason, message, identity)
        return True

    def tell(self, server: McpServer, reason: str, message: str, *, warning: bool = False) -> None:
        """An Event of something that no condition tells."""
        key = Key(server.kind, server.metadata.namespace, server.metadata.name)
        if (body := self._store.get(key)) is not None:
            (self._events.warning if warning else self._events.normal)(body, reason, message)

    async def _apply(self, kind: meta.Kind, key: Key, uid: str, status: dict[str, Any]) -> bool:
        body = {
            "apiVersion": meta.API_VERSION,
            "kind": kind.kind,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "status": status,
        }
        path = kind.path(key.namespace, key.name)
        try:
            applied = await self._kube.apply_status(path, body, field_manager=meta.STATUS_FIELD_MANAGER)
        except NotFound:
            return False
        self._store.observe(kind.kind, applied)
        return True

    def _tell(self, key: Key, before: tuple[Condition, ...], after: tuple[Condition, ...]) -> None:
        """An Event for each condition of `_TOLD` that is another than before."""
        body = self._store.get(key)
        if body is None:
            return
        for kind in _TOLD:
            old, new = _of_type(before, kind), _of_type(after, kind)
            if new is None or new.status == "Unknown":
                continue
            if old is not None and (old.status, old.reason) == (new.status, new.reason):
                continue
            if kind == Type.STALLED and new.reason != Reason.RESTART_LIMIT_REACHED:
                continue  # Ready has the same reason
            log.info("%s is %s: %s", kind, new.status, new.reason, extra={"status": new.status, "reason": new.reason})
            fine = kind != Type.STALLED and (new.status == "True" or new.reason in PROGRESSING)
            tell = self._events.normal if fine else self._events.warning
            tell(body, new.reason, new.message)


def _ordered(status: StatusModel) -> StatusModel:
    """The status with its conditions by type and its parents by name: the API server keeps them in an order of its own."""
    ordered: dict[str, object] = {"conditions": _by_type(status.conditions)}
    if isinstance(status, RouteStatus):
        parents = (p.model_copy(update={"conditions": _by_type(p.conditions)}) for p in status.parents)
        ordered["parents"] = tuple(sorted(parents, key=lambda parent: parent.name))
    return status.model_copy(update=ordered)


def _by_type(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(sorted(conditions, key=lambda condition: condition.type))


def _of_type(conditions: tuple[Condition, ...], kind: Type) -> Condition | None:
    return next((condition for condition in conditions if condition.type == kind), None)


def _reasons(status: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    listed = status.get("conditions") or []
    return sorted(
        (c.get("type"), c.get("status"), c.get("reason"), c.get("message"), c.get("observedGeneration")) for c in listed
    )
