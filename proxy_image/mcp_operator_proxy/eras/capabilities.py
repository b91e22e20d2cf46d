"""What a client lets servers ask it for, as a value that sessions can be kept apart by."""

import json
from dataclasses import dataclass
from typing import Any, Final

from mcp_types import ClientCapabilities

from mcp_operator_proxy.auth import Principal

TASKS: Final = "io.modelcontextprotocol/tasks"
"""The extension by which a server may answer a call with a task (SEP-2663)."""
_ASKABLE: Final = {"elicitation", "sampling", "roots"}


@dataclass(frozen=True)
class Capabilities:
    """What a client without a session lets a server ask it for, as a key of sessions. `owner` keeps users apart."""

    declared: str = "{}"
    """JSON with sorted keys, of `elicitation`, `sampling`, `roots` and the tasks extension as the client wrote them."""
    owner: str | None = None

    @classmethod
    def of(cls, declared: ClientCapabilities | None, principal: Principal | None) -> "Capabilities":
        said = declared.model_dump(by_alias=True, mode="json", exclude_none=True, include=_ASKABLE) if declared else {}
        if takes_tasks(declared):
            said["extensions"] = {TASKS: {}}
        return cls(json.dumps(said, sort_keys=True), principal.key if principal else None)

    def as_declared(self) -> ClientCapabilities:
        return ClientCapabilities.model_validate_json(self.declared)

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.declared)
        return found


def takes_tasks(declared: ClientCapabilities | None) -> bool:
    """Whether the client can be answered with a task."""
    return declared is not None and TASKS in (declared.extensions or {})
