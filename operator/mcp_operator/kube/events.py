"""Kubernetes Events: what `kubectl describe` shows under an object.

Written as `v1` Events, the form that every kubectl and dashboard reads. The same event again raises the count of the first instead of
making another; each object may cause a burst of 25 and then one event every five minutes (client-go's limits). Best effort: what
does not fit the queue or is refused is dropped, and the caller never waits and never sees an error.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, Self

from mcp_operator.kube.client import KubeClient, Object
from mcp_operator.kube.errors import AlreadyExists, Forbidden, NotFound, Unavailable
from mcp_operator.kube.paths import built_in

log = logging.getLogger(__name__)

_REMEMBERED: Final = 4096
_BURST: Final = 25.0
_PER_SECOND: Final = 1 / 300
_ATTEMPTS: Final = 4
_MESSAGE_MAX: Final = 1024
_NAME_MAX: Final = 253
_EVENTS: Final = built_in("Event")


@dataclass(frozen=True, slots=True)
class _Note:
    about: Mapping[str, Any]
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    at: str
    once: str = ""
    """Part of the Event's name: whoever records it again finds it there."""

    @property
    def identity(self) -> tuple[str, ...]:
        return (*(str(value) for value in self.about.values()), self.type, self.reason, self.message)


@dataclass(slots=True)
class _Sent:
    path: str
    count: int


@dataclass(slots=True)
class _Budget:
    tokens: float
    at: float


class EventRecorder:
    """Use as `async with EventRecorder(client, "mcp-operator", instance=pod_name) as events:`; leaving it sends what waits.

    Needs RBAC: `create` and `patch` on `events` of the core group.
    """

    def __init__(
        self,
        client: KubeClient,
        component: str,
        *,
        instance: str = "",
        capacity: int = 1000,
        flush_timeout: float = 2.0,
    ) -> None:
        self._client = client
        self._component = component
        self._instance = instance or component
        self._flush_timeout = flush_timeout
        self._notes: asyncio.Queue[_Note] = asyncio.Queue(capacity)
        self._sent: OrderedDict[tuple[str, ...], _Sent] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Events that were not sent: too many, or refused."""

    def normal(self, about: Mapping[str, Any], reason: str, message: str) -> None:
        """Something happened as it should. `about`: the object (with `apiVersion` and `kind`); `reason` in CamelCase."""
        self._record(about, "Normal", reason, message)

    def warning(self, about: Mapping[str, Any], reason: str, message: str) -> None:
        """Something needs attention."""
        self._record(about, "Warning", reason, message)

    def once(
        self, about: Mapping[str, Any], kind: Literal["Normal", "Warning"], reason: str, message: str, identity: str
    ) -> None:
        """An event that has happened once, by a name of its own: recorded again, by this process or another, it is the same.

        `identity` is at most 32 lower-case letters and digits.
        """
        self._record(about, kind, reason, message, identity)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_all(), name="events")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(self._flush_timeout):
                await self._notes.join()
        except TimeoutError:
            log.warning("%d events were not sent in time", self._notes.qsize())
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _record(
        self,
        about: Mapping[str, Any],
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        once: str = "",
    ) -> None:
        try:
            note = _Note(_reference(about), kind, reason, _shorten(message), _now(), once)
        except (KeyError, TypeError, AttributeError):
            self.dropped += 1
            log.warning("event %s is about something that is no object", reason)
            return
        if not self._allowed(str(note.about.get("uid") or note.about)):
            self.dropped += 1
            return
        try:
            self._notes.put_nowait(note)
        except asyncio.QueueFull:
            self.dropped += 1

    def _allowed(self, source: str) -> bool:
        """A token bucket for each object."""
        now = time.monotonic()
        budget = self._budgets.pop(source, None) or _Budget(_BURST, now)
        budget.tokens = min(_BURST, budget.tokens + (now - budget.at) * _PER_SECOND)
        budget.at = now
        self._budgets[source] = budget
        if len(self._budgets) > _REMEMBERED:
            self._budgets.popitem(last=False)
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True

    async def _send_all(self) -> None:
        while True:
            note = await self._notes.get()
            try:
                await self._persist(note)
            except Exception as error:  # noqa: BLE001 - an event is never worth a failure
                self.dropped += 1
                ends = isinstance(error, Forbidden) and error.namespace_terminating
                log.log(logging.DEBUG if ends else logging.WARNING, "event %s was not recorded: %s", note.reason, error)
            finally:
                self._notes.task_done()

    async def _persist(self, note: _Note) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._send(note)
            except Unavailable as error:
                if attempt + 1 == _ATTEMPTS:
                    raise
                await asyncio.sleep(error.retry_after or 2.0**attempt)
        return None

    async def _send(self, note: _Note) -> None:
        if note.once:
            event = self._event(note)
            with contextlib.suppress(AlreadyExists):
                await self._client.create(_EVENTS.path(event["metadata"]["namespace"]), event)
            return
        sent = self._sent.pop(note.identity, None)
        if sent is not None:
            sent.count += 1
            try:
                await self._client.merge_patch(sent.path, {"count": sent.count, "lastTimestamp": note.at})
            except NotFound:  # events live for an hour
                sent = None
        if sent is None:
            event = self._event(note)
            namespace = event["metadata"]["namespace"]
            await self._client.create(_EVENTS.path(namespace), event)
            sent = _Sent(_EVENTS.path(namespace, event["metadata"]["name"]), 1)
        self._sent[note.identity] = sent
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    def _event(self, note: _Note) -> Object:
        suffix = f".{note.once or f'{time.time_ns():x}'}"
        return {
            "apiVersion": _EVENTS.api_version,
            "kind": _EVENTS.kind,
            "metadata": {
                "name": f"{note.about['name'][: _NAME_MAX - len(suffix)]}{suffix}",
                "namespace": note.about.get("namespace") or "default",
            },
            "involvedObject": dict(note.about),
            "type": note.type,
            "reason": note.reason,
            "message": note.message,
            "count": 1,
            "firstTimestamp": note.at,
            "lastTimestamp": note.at,
            "source": {"component": self._component, "host": self._instance},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }


def _reference(about: Mapping[str, Any]) -> dict[str, Any]:
    """An ObjectReference. Without the resourceVersion, by which equal events would differ."""
    metadata = about["metadata"]
    reference = {
        "apiVersion": about["apiVersion"],
        "kind": about["kind"],
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "uid": metadata.get("uid"),
    }
    return {name: value for name, value in reference.items() if value}


def _shorten(message: str) -> str:
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
