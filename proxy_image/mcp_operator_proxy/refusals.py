"""Calls that are not made, as MCP clients and the audit are told of them."""

from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, INVALID_REQUEST

from mcp_operator_proxy.services.windows import Limited

RATE_LIMITED: Final = -32029
"""Of JSON-RPC's range for servers (section 5.1); ends as HTTP's 429 does."""


class Refused(MCPError):
    """The policy does not let the caller use this: it is told what it would be told of a thing that is not there.

    `reason` is for those who keep a record.
    """

    decision = "refused"

    def __init__(self, unknown: str, reason: str, data: Any = None) -> None:
        super().__init__(INVALID_PARAMS, unknown, data)
        self.reason = reason


class Quarantined(MCPError):
    """A call of a tool whose definition is not approved."""

    def __init__(self, message: str) -> None:
        super().__init__(INVALID_REQUEST, message, {"reason": "quarantined"})


class RateLimited(MCPError):
    """A call that is one too many."""

    decision = "limited"

    def __init__(self, limited: Limited) -> None:
        data = {"limit": limited.limit, "retryAfter": limited.retry_after, "executed": False}
        again = f"try again in {limited.retry_after} s"
        super().__init__(RATE_LIMITED, f"rate limit {limited.limit} is reached: {again}", data)
