"""Clients that call without pause and note every failure, a lost session and every `list_changed` they hear."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from fastmcp import Client
from mcp.client.client import Client as SDKClient

Era = Literal["legacy", "modern"]


@dataclass
class Tally:
    """What one client saw."""

    era: Era
    calls: int = 0
    failures: list[str] = field(default_factory=list)
    list_changed: int = 0
    dropped: bool = False
    ended_in_order: int = 0
    """Subscriptions that the server ended with a word, as it does before it goes."""
    longest_seconds: float = 0.0


class Caller:
    """One client on one session that calls a tool over and over. Use as `async with`."""

    def __init__(
        self, url: str, tool: str, arguments: dict[str, Any], expected: object, era: Era, *, listens_again: bool = False
    ) -> None:
        self._url = url
        self._listens_again = listens_again
        self._tool = tool
        self._arguments = arguments
        self._expected = expected
        self.tally = Tally(era)
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def __aenter__(self) -> Self:
        if self.tally.era == "legacy":
            client: Any = Client(self._url, mode="legacy", message_handler=self._hear, timeout=30)
        else:
            client = SDKClient(self._url, mode="auto", read_timeout_seconds=30)
        self._client = await self._stack.enter_async_context(client)
        if self.tally.era == "modern":
            listening = asyncio.get_running_loop().create_future()
            self._tasks.append(asyncio.create_task(self._listen(listening)))
            await listening
        self._tasks.append(asyncio.create_task(self._call()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """The last call gets its answer: the SDK's client ends badly when one comes while it is closing."""
        self._stopping = True
        *listening, calling = self._tasks
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, calling, return_exceptions=True)
        await self._stack.aclose()

    async def check_session(self) -> None:
        """Note whether the one session, or the subscription, that this client began with is still alive."""
        if self.tally.era == "legacy":
            try:
                await self._client.ping()
            except Exception as error:  # noqa: BLE001 - noted
                self.tally.failures.append(f"ping: {type(error).__name__}: {error}")
                self.tally.dropped = True
        else:
            self.tally.dropped = self._tasks[0].done()

    async def _hear(self, message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            self.tally.list_changed += 1

    async def _listen(self, listening: "asyncio.Future[None]") -> None:
        """Listen; and where that is wanted again, when the server has ended it with a word."""
        try:
            while True:
                async with self._client.listen(tools_list_changed=True) as changes:
                    if not listening.done():
                        listening.set_result(None)
                    async for _ in changes:
                        self.tally.list_changed += 1
                if not self._listens_again:
                    self.tally.failures.append("the subscription was closed by the server")
                    return
                self.tally.ended_in_order += 1
        except Exception as error:  # noqa: BLE001 - noted
            self.tally.failures.append(f"subscription: {type(error).__name__}: {error}")
            if not listening.done():
                listening.set_exception(error)

    async def _call(self) -> None:
        while not self._stopping:
            started = time.monotonic()
            try:
                result = await self._client.call_tool(self._tool, self._arguments)
                answer = result.content[0].text
                if result.is_error or answer != self._expected:
                    self.tally.failures.append(f"wrong answer: {answer!r}")
            except Exception as error:  # noqa: BLE001 - noted
                self.tally.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.05)
            self.tally.calls += 1
            self.tally.longest_seconds = max(self.tally.longest_seconds, time.monotonic() - started)


class Crowd:
    """Several callers at once, half of each era. `listens_again`: where servers may end subscriptions in order."""

    def __init__(
        self,
        url: str,
        tool: str,
        arguments: dict[str, Any],
        expected: object,
        *,
        size: int = 8,
        listens_again: bool = False,
    ) -> None:
        eras: list[Era] = ["legacy", "modern"]
        self.callers = [
            Caller(url, tool, arguments, expected, eras[number % 2], listens_again=listens_again)
            for number in range(size)
        ]
        self._stack = AsyncExitStack()

    @property
    def tallies(self) -> list[Tally]:
        return [caller.tally for caller in self.callers]

    @property
    def failures(self) -> list[str]:
        return [failure for tally in self.tallies for failure in tally.failures]

    @property
    def calls(self) -> int:
        return sum(tally.calls for tally in self.tallies)

    async def more_calls(self, count: int) -> None:
        """Until every client has made `count` more calls."""
        before = [tally.calls for tally in self.tallies]
        while not all(t.calls >= calls + count for t, calls in zip(self.tallies, before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def __aenter__(self) -> Self:
        for caller in self.callers:
            await self._stack.enter_async_context(caller)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
