"""The status of tasks on a client's `subscriptions/listen` stream (SEP-2663: `taskIds` in the filter, `notifications/tasks`).

A client names its tasks by the ids that it got (`tasktokens`), which nobody else can use. Each server that has some of
them is sent a stream of its own, so that what it tells belongs to this client. A lost stream is opened again; what
happened in between the client learns by `tasks/get`, on which it has to rely anyway.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

from mcp.client.session import IncomingMessage
from mcp.shared.exceptions import MCPError
from mcp_types import ClientCapabilities, SubscriptionFilter, SubscriptionsAcknowledgedNotification

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.connect import Callbacks
from mcp_operator_proxy.backends.session import Call
from mcp_operator_proxy.backends.watching import RETRY_FIRST, RETRY_MOST
from mcp_operator_proxy.eras.capabilities import TASKS
from mcp_operator_proxy.subscriptions import Sources
from mcp_operator_proxy.taskrequests import shown_task
from mcp_operator_proxy.tasks import cancel
from mcp_operator_proxy.tasktokens import TaskTokens

logger = logging.getLogger(__name__)
MAX_TASKS: Final = 1_000
"""Of one stream."""
_DECLARED: Final = ClientCapabilities(extensions={TASKS: {}})

Json: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[Json], Awaitable[None]]
"""Called with the task as the client knows it."""


def task_ids(wanted: SubscriptionFilter) -> list[str]:
    """Those of a filter, as far as they are strings."""
    found = (wanted.model_extra or {}).get("taskIds")
    return [each for each in found[:MAX_TASKS] if isinstance(each, str)] if isinstance(found, list) else []


class TaskWatch:
    """What one stream hears of tasks. `start` it, `close` it."""

    def __init__(
        self, sources: Sources, tokens: TaskTokens, principal: Principal | None, ids: Iterable[str], tell: Tell
    ) -> None:
        self._sources = sources
        self._principal = principal
        self._owner = principal.key if principal is not None else None
        self._tell = tell
        self._wanted: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for task_id in ids:
            if (found := tokens.open(task_id, principal)) is not None:
                self._wanted[found.server][found.task_id] = task_id
        self._swapped = asyncio.Event()
        self._following: list[asyncio.Task[None]] = []

    async def start(self, seconds: float) -> list[str]:
        """The ids that servers agreed to tell of; one that says nothing within `seconds`, or is down, is taken to agree."""
        loop = asyncio.get_running_loop()
        asked: dict[str, asyncio.Future[frozenset[str]]] = {server: loop.create_future() for server in self._wanted}
        self._following = [loop.create_task(self._follow(server, answer)) for server, answer in asked.items()]
        if asked:
            await asyncio.wait(asked.values(), timeout=seconds)
        return [
            task_id
            for server, ids in self._wanted.items()
            for own, task_id in ids.items()
            if not asked[server].done() or own in asked[server].result()
        ]

    def swapped(self) -> None:
        """The route may have changed: what is a server's now is asked."""
        self._swapped.set()
        self._swapped = asyncio.Event()

    async def close(self) -> None:
        await cancel(self._following)

    async def _follow(self, server: str, answer: "asyncio.Future[frozenset[str]]") -> None:
        wait, refused = RETRY_FIRST, False
        while not refused:
            swapped = self._swapped
            table = self._sources.table(self._principal)
            backend = self._sources.backend(server, self._principal) if server in table.servers else None
            if backend is None:
                _settle(answer, frozenset())
                await swapped.wait()
                continue
            listening = asyncio.get_running_loop().create_task(self._listen(backend, server, answer))
            try:
                await self._while_it_is(server, backend, listening)
                refused = listening.done() and listening.result()
            finally:
                await cancel([listening])
            await asyncio.sleep(0 if refused else wait)
            wait = min(2 * wait, RETRY_MOST)

    async def _while_it_is(self, server: str, backend: Backend, listening: "asyncio.Task[bool]") -> None:
        """Wait until the stream has ended or the server is another backend."""
        while not listening.done() and self._sources.backend(server, self._principal) is backend:
            waking = asyncio.get_running_loop().create_task(self._swapped.wait())
            try:
                await asyncio.wait([listening, waking], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel([waking])

    async def _listen(self, backend: Backend, server: str, answer: "asyncio.Future[frozenset[str]]") -> bool:
        """Until the stream ends; returns whether the server will not have it."""
        ids = self._wanted[server]
        loop = asyncio.get_running_loop()
        honored: asyncio.Future[frozenset[str]] = loop.create_future()

        async def message(note: IncomingMessage) -> None:
            if isinstance(note, SubscriptionsAcknowledgedNotification):
                _settle(honored, frozenset(task_ids(note.params.notifications)) & ids.keys())
                _settle(answer, honored.result())

        async def status(task: Json) -> None:
            if (known := ids.get(str(task.get("taskId")))) is not None:
                await self._tell(shown_task(task, known, self._sources.table(self._principal).exposer(server)))

        callbacks = Callbacks(message=message, tasks=status, declared=_DECLARED)
        session = backend.session(callbacks, principal=self._owner)
        call = Call(None, backend.call_timeout)
        try:
            await session.open()
            if not session.connected.modern:
                _settle(answer, frozenset())
                return True
            with call.asking():  # a stream lasts
                await session.request("subscriptions/listen", {"notifications": {"taskIds": list(ids)}}, call)
            return honored.done() and not honored.result()
        except MCPError:
            _settle(answer, frozenset())
            return True
        except BackendError as error:
            if error.era_changed:  # so looks "method not found" on a session that took the era over
                _settle(answer, frozenset())
            logger.debug("listening for tasks: %s", error)
            return error.era_changed
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await session.close()


def _settle(answer: "asyncio.Future[frozenset[str]]", honored: frozenset[str]) -> None:
    if not answer.done():
        answer.set_result(honored)
