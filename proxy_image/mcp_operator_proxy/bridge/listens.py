"""`subscriptions/listen` of many clients on one server, which may be started anew beneath them (SEP-2575)."""

from collections.abc import Callable
from functools import partial

from mcp_operator_proxy.bridge import jsonrpc, modern
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.jsonrpc import Message

_GONE = frozenset({jsonrpc.SERVER_EXITED, jsonrpc.SERVER_UNAVAILABLE, jsonrpc.METHOD_NOT_FOUND})


class Listens:
    """A client's stream stays open while the server ends and starts, and also where the server has no such streams:
    of its restarts, after which anything may be different, only the bridge can tell."""

    def __init__(self, on_change: Callable[[Message], None]) -> None:
        """`on_change` is told of what servers say on the streams."""
        self._on_change = on_change
        self._open: dict[Call, _Upstream] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, call: Call) -> bool:
        return call in self._open

    async def add(self, call: Call, connection: Connection) -> None:
        """Open a client's stream."""
        await connection.submit(self._new(call))

    def park(self, call: Call) -> None:
        """Open a client's stream of which the server hears when it has started."""
        self._new(call).acknowledge()

    def _new(self, call: Call) -> "_Upstream":
        self._prune()
        self._open[call] = upstream = _Upstream(call, self._on_change)
        call.withdraw = partial(self._withdraw, call)
        return upstream

    async def restore(self, connection: Connection) -> None:
        """Open on a server that was started anew what was open on the one before."""
        self._prune()
        for call, before in list(self._open.items()):
            self._open[call] = upstream = _Upstream(call, self._on_change, acknowledged=before.acknowledged)
            await connection.submit(upstream)

    def announce(self, methods: list[str]) -> None:
        """Say that these lists, and all subscribed resources, may have changed."""
        for call in self._open:
            for method in methods:
                if modern.wants_change(call.message, method):
                    call.push(modern.of_subscription(call.message, method))
            for uri in modern.subscribed(call.message):
                call.push(modern.of_subscription(call.message, "notifications/resources/updated", uri=uri))

    def _prune(self) -> None:
        for call in [call for call in self._open if call.done]:
            del self._open[call]

    def _withdraw(self, call: Call, reason: str) -> None:
        upstream = self._open.pop(call, None)
        if upstream is not None and upstream.withdraw is not None:
            upstream.withdraw(reason)


class _Upstream(Call):
    """A client's stream on one process. What comes on it goes to the client, but for the end of the process."""

    def __init__(self, client: Call, on_change: Callable[[Message], None], *, acknowledged: bool = False) -> None:
        super().__init__(client.message)
        self._on_change = on_change
        self._client = client
        self.acknowledged = acknowledged

    @property
    def done(self) -> bool:
        return self._client.done

    def acknowledge(self) -> None:
        if not self.acknowledged:
            self.acknowledged = True
            self._client.push(modern.acknowledged(self.message))

    def push(self, message: Message) -> bool:
        if message["method"] == modern.ACKNOWLEDGED:
            if self.acknowledged:
                return True
            self.acknowledged = True
        else:
            self._on_change(message)
        return self._client.push(message)

    def finish(self, response: Message) -> None:
        error = response.get("error")
        if isinstance(error, dict) and error.get("code") in _GONE:
            self.acknowledge()
        else:
            self._client.finish(response)
