"""Callers and what they may use, as Cedar knows them (docs.cedarpolicy.com, "Entities JSON file format"). Pure.

Claims are an issuer's, annotations a server's: nothing in them can become a Cedar entity or an extension value, and what
Cedar has no type for (null, fractions, large numbers) is left out or a text.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.authn.tokens import scopes_of
from mcp_operator_proxy.table import Entry, Kind

Uid: TypeAlias = dict[str, str]
Entity: TypeAlias = dict[str, Any]

ACTIONS: Final[Mapping[Kind, str]] = {
    "tool": "tools/call",
    "prompt": "prompts/get",
    "resource": "resources/read",
    "resource_template": "resources/read",
}
TYPES: Final[Mapping[Kind, str]] = {
    "tool": "Tool",
    "prompt": "Prompt",
    "resource": "Resource",
    "resource_template": "Resource",
}
HINTS: Final[Mapping[str, bool]] = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": True,
}
"""Annotations of tools and what the specification takes them to be where a server says nothing."""
_LARGEST: Final = 2**63
_DEEPEST: Final = 16


def principal_uid(principal: Principal | None) -> Uid:
    """`User::"ISSUER/NAME"`, `ApiKey::"NAME"`, `Anonymous::"nobody"`."""
    if principal is None:
        return {"type": "Anonymous", "id": "nobody"}
    return {"type": "User" if principal.issuer else "ApiKey", "id": principal.key}


def principal_entity(principal: Principal | None) -> Entity:
    """Its attributes are the claims; `issuer` and `caller` are as the configuration and the logs name them, `scopes` a set."""
    attributes: dict[str, Any] = claims_of(principal)
    if principal is not None:
        attributes |= {
            "issuer": principal.issuer,
            "caller": principal.name,
            "scopes": sorted(scopes_of(principal.claims)),
        }
    return {"uid": principal_uid(principal), "attrs": attributes, "parents": []}


def claims_of(principal: Principal | None) -> dict[str, Any]:
    """Those of its token, as Cedar values."""
    found = cedar_value(principal.claims) if principal is not None else {}
    return found if isinstance(found, dict) else {}


def resource_uid(kind: Kind, entry: Entry) -> Uid:
    """`Tool::"NAMESPACE/SERVER/NAME"`, by the server's own name (or URI)."""
    return {"type": TYPES[kind], "id": f"{entry.server}/{entry.name}"}


def resource_entity(kind: Kind, name: str, entry: Entry, route: str, category: str) -> Entity:
    """What the route at `route` shows as `name`; in `Server::"NAMESPACE/SERVER"`."""
    annotations = cedar_value(entry.definition.get("annotations"))
    annotations = annotations if isinstance(annotations, dict) else {}
    if kind == "tool":
        said = {hint: annotations[hint] for hint in HINTS if isinstance(annotations.get(hint), bool)}
        annotations = {**annotations, **HINTS, **said}
    attributes = {
        "server": entry.server,
        "namespace": entry.server.partition("/")[0],
        "name": entry.name,
        "exposed": name,
        "category": category,
        "annotations": annotations,
        "route": route,
    }
    return {
        "uid": resource_uid(kind, entry),
        "attrs": attributes,
        "parents": [{"type": "Server", "id": entry.server}],
    }


def cedar_value(value: Any, depth: int = 0) -> Any:
    """`value` as Cedar can have it, or None where it cannot."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else str(value)
    if depth >= _DEEPEST:
        return None
    if isinstance(value, Mapping):
        parts = {key: cedar_value(each, depth + 1) for key, each in value.items()}
        return {k: v for k, v in parts.items() if isinstance(k, str) and not k.startswith("__") and v is not None}
    if isinstance(value, list | tuple):
        return [each for each in (cedar_value(one, depth + 1) for one in value) if each is not None]
    return None
