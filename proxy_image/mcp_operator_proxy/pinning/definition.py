"""What of a tool is pinned, and its name by content: the operator and the proxies give equal definitions one digest. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

FIELDS: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


class TooDeep(ValueError):
    """A definition is nested too deep to be compared with another one."""


def canonical(tool: Mapping[str, Any]) -> str:
    """The definition of a tool in wire form as JSON: equal definitions have equal texts.

    What counts are `FIELDS`. An absent field is as good as a null one, and neither white space nor the order of keys counts; that
    of lists does. Texts are taken as they are: no Unicode normalization is applied, so that two texts which merely look alike
    are two definitions.

    Raises:
        TooDeep: it is nested too deep.
    """
    try:
        return json.dumps(
            {key: tool[key] for key in FIELDS if tool.get(key) is not None},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
        )
    except RecursionError:
        raise TooDeep("nested too deep") from None


def digest_of(text: str) -> str:
    """`sha256:…` of a canonical definition."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def tool_digest(tool: Mapping[str, Any]) -> str:
    """`sha256:…` of a tool's definition; empty, which nothing is equal to, where it is nested too deep."""
    try:
        return digest_of(canonical(tool))
    except TooDeep:
        return ""
