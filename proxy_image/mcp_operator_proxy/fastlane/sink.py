"""Where an exchange puts what the client is to get. One method for each thing that can happen to a response."""

from typing import Any, Final, Protocol

FIRST_RESULT: Final = "mcp_operator_proxy.first_result"
"""Key in an ASGI scope: the result that the lane got for this request, with which the full path goes on."""

TRIED: Final = "mcp_operator_proxy.lane_tried"
"""Key in an ASGI scope of a request that the lane has declined or given back already."""


class Sink(Protocol):
    """The response to one request. `answer` once; or `open`, any number of `write`, `close`; or `hand_over`.

    After `open` it may still be handed over: the full path's events then follow those that were written.
    """

    def answer(self, status: int, body: bytes, session: bytes | None) -> None:
        """A whole JSON body; `session` is the value of `Mcp-Session-Id`."""
        ...

    def open(self, content_type: bytes, session: bytes | None) -> None:
        """Status 200 and a body of unknown length."""
        ...

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def broken(self) -> None:
        """The body that was opened cannot be completed."""
        ...

    def hand_over(self, scope: dict[str, Any]) -> None:
        """Let the full path answer, with `scope` added to the request's."""
        ...
