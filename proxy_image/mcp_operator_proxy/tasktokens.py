"""The task ids that clients get (`io.modelcontextprotocol/tasks`, SEP-2663): a server's id, and whose and where it is. Pure.

Two servers may use one id, and a server cannot tell the proxy's callers apart. So an id is sealed together with the route,
the server and the caller: AES-256-GCM by the SDK's codec, with keys that come from those of session ids. Replicas with one
key read each other's; anybody else finds a task that does not exist.
"""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.sessions.ids import Keys

MAX_LENGTH: Final = 4096
_LABEL: Final = b"mcp-operator task id\0"


class Sealed(NamedTuple):
    """What an id says."""

    server: str
    task_id: str
    """The server's own."""
    tool: str
    """The server's own name of the tool that began the task."""


class TaskTokens:
    """Of the route at `route`; `keys` returns the keys of that moment."""

    def __init__(self, keys: Callable[[], Keys], route: str) -> None:
        self._keys = keys
        self._route = route
        self._made: tuple[Keys, AESGCMRequestStateCodec] | None = None

    def seal(self, server: str, task_id: str, principal: Principal | None, tool: str = "") -> str:
        """The id under which `principal` knows the server's task, begun by the server's `tool`."""
        return self._codec().seal(json.dumps([self._route, _name(principal), server, task_id, tool]).encode())

    def open(self, token: str, principal: Principal | None) -> Sealed | None:
        """None where `principal` has no such task on this route."""
        if len(token) > MAX_LENGTH:
            return None
        try:
            fields: Any = json.loads(self._codec().unseal(token))
        except (InvalidRequestState, ValueError):
            return None
        route, owner, server, task_id, *tool = fields  # one of the version before names no tool
        return (
            Sealed(server, task_id, tool[0] if tool else "")
            if (route, owner) == (self._route, _name(principal))
            else None
        )

    def _codec(self) -> AESGCMRequestStateCodec:
        keys = self._keys()
        if self._made is None or self._made[0] is not keys:
            self._made = keys, AESGCMRequestStateCodec(keys.derived(_LABEL))
        return self._made[1]


def _name(principal: Principal | None) -> str | None:
    return principal.key if principal is not None else None
