"""A client's request on its way through the bridge."""

from collections.abc import Callable
from typing import Final, Literal

from mcp_operator_proxy.bridge import jsonrpc, modern
from mcp_operator_proxy.bridge.jsonrpc import Message, RequestId
from mcp_operator_proxy.bridge.outbox import Outbox

_UPKEEP: Final = frozenset(
    {
        *("initialize", "ping", "logging/setLevel", modern.DISCOVER, modern.LISTEN),
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
    }
)


class Call:
    """The stream of one request: notifications, then its one response, then the end.

    `streams` says whether the client reads a stream of events; to one that doesn't only the response goes.
    """

    def __init__(self, message: Message, *, streams: bool = True) -> None:
        self.message = message
        self.streams = streams
        self.sent = False
        """Whether the server has been given it; if not, it surely did not run."""
        self.withdraw: Callable[[str], None] | None = None
        """How to tell the server, with a reason, that nobody waits any more; set where it is on its way there."""
        self.on_result: Callable[[object], None] | None = None
        """Told the result, when there is one."""
        self.on_end: Callable[[], None] | None = None
        """Told when it is over, however it ended."""
        self.outbox = Outbox()
        self.outcome: Literal["result", "error", "abandoned"] = "abandoned"

    @property
    def id(self) -> RequestId:
        """The id that the client gave."""
        request_id: RequestId = self.message["id"]
        return request_id

    @property
    def method(self) -> str:
        return str(self.message["method"])

    @property
    def is_work(self) -> bool:
        """Whether it is what a server is there for; to be asked for lists and pings does not keep an idle one running."""
        return self.method not in _UPKEEP

    @property
    def stands(self) -> bool:
        """Whether it stays open for as long as the client likes, so that nobody waits for its answer."""
        return self.method == modern.LISTEN

    @property
    def done(self) -> bool:
        """Answered, or nobody is there for the answer."""
        return self.outbox.closed

    def push(self, message: Message) -> bool:
        """A message that belongs to the request, before its response. False where it is not taken."""
        return self.streams and self.outbox.push(message)

    def finish(self, response: Message) -> None:
        """The response; whatever comes after the first one is dropped."""
        if not self.done:
            self.outcome = "error" if "error" in response else "result"
            if self.on_result is not None and "error" not in response:
                self.on_result(response["result"])
            self.outbox.push(response)
            self.outbox.close()

    def succeed(self, value: Message) -> None:
        self.finish(jsonrpc.result(self.id, value))

    def fail(self, code: int, message: str, data: object = None) -> None:
        self.finish(jsonrpc.error(self.id, code, message, data))

    def cancel(self, reason: str, answer: str | None = None) -> None:
        """Give the call up. With `answer`, that is what the client is told."""
        if self.withdraw is not None:
            self.withdraw(reason)
        if answer is not None:
            self.fail(jsonrpc.REQUEST_CANCELLED, answer)

    async def response(self) -> Message:
        """The response alone, for a caller inside the bridge that never abandons."""
        while (message := await self.outbox.get()) is not None:
            if "method" not in message:
                return message
        return jsonrpc.error(self.id, jsonrpc.REQUEST_CANCELLED, "abandoned")
