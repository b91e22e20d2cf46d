"""A bounded queue of messages on their way to one HTTP stream."""

import asyncio
from collections import deque
from typing import Final

from mcp_operator_proxy.bridge.jsonrpc import Message

LIMIT: Final = 1024
"""Messages kept for a reader that does not keep up; then the oldest notification is dropped."""


class Outbox:
    """Written without waiting, read by one task. Notifications may be dropped, responses never are."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._messages: deque[Message] = deque()
        self._limit = limit
        self._wakeup = asyncio.Event()
        self.closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._messages)

    def push(self, message: Message) -> bool:
        """Add a message. False where it is not taken: after `close`, or a request when full of requests."""
        if self.closed:
            return False
        if len(self._messages) >= self._limit and not self._drop_oldest_notification() and "method" in message:
            return False
        self._messages.append(message)
        self._wakeup.set()
        return True

    def close(self) -> None:
        """End the stream after what is in it."""
        self.closed = True
        self._wakeup.set()

    async def get(self) -> Message | None:
        """The next message, or None at the end."""
        while not self._messages:
            if self.closed:
                return None
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._messages.popleft()

    def take_all(self) -> list[Message]:
        """What nobody has read."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def _drop_oldest_notification(self) -> bool:
        for index, message in enumerate(self._messages):
            if "id" not in message:
                del self._messages[index]
                self.dropped += 1
                return True
        return False
