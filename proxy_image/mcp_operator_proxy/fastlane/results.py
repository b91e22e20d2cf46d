"""A backend's result as the full path shows it, for the results that cannot be spliced. Pure."""

import json
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, SERVER_INFO_META_KEY
from mcp_types.methods import is_input_required, serialize_server_result, validate_server_result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from mcp_operator_proxy.eras.translate import check_whole
from mcp_operator_proxy.eras.uris import Expose
from mcp_operator_proxy.provider import show

CORE: frozenset[str] = frozenset({"complete", "input_required"})


def object_of(raw: bytes, method: str, version: str) -> dict[str, Any]:
    """The result that a backend of `version` sent.

    Raises:
        ValueError, pydantic.ValidationError: it is none.
    """
    result = json.loads(raw)
    if not isinstance(result, dict):
        raise ValueError("a result is an object")  # noqa: TRY004 - its callers know one error for all bad input
    if result.get("resultType", "complete") in CORE:
        validate_server_result(method, version, result if version not in MODERN_PROTOCOL_VERSIONS else _typed(result))
        check_whole(method, result)
    return result


def _typed(result: dict[str, Any]) -> dict[str, Any]:
    return result if "resultType" in result else {"resultType": "complete", **result}


def shown(
    method: str, version: str, result: dict[str, Any], expose: Expose | None, stamp: dict[str, Any]
) -> dict[str, Any]:
    """`result` for a client of `version`: what FastMCP makes of it after the provider.

    Raises:
        MCPError: the result has no form in that version.
    """
    modern = version in MODERN_PROTOCOL_VERSIONS
    made = show(method, dict(result), modern=modern, expose=expose)
    if not modern or made.get("resultType", "complete") in CORE:
        try:
            made = serialize_server_result(method, version, made)
        except ValidationError:
            raise MCPError(INTERNAL_ERROR, "Handler returned an invalid result") from None
    if modern:
        made.setdefault("resultType", "complete")
        meta = made.get("_meta")
        if meta is None or (isinstance(meta, dict) and meta.get(SERVER_INFO_META_KEY) is None):
            made["_meta"] = {**(meta or {}), SERVER_INFO_META_KEY: stamp}
    return made


def asks(result: dict[str, Any]) -> bool:
    """Whether the server wants an answer from the client first (SEP-2322), or answers in a way of an extension."""
    return is_input_required(result) or result.get("resultType", "complete") not in CORE
