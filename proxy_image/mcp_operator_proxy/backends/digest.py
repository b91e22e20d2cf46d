"""Names for what a server lists, by content: operator and proxies give equal definitions one name. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

_DEFINITION: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


def digest(tools: Iterable[Mapping[str, Any]]) -> str:
    """Name the tools' definitions (wire form: names, titles, descriptions, schemas, annotations) by their content: `sha256:…`.

    The order of the tools and of the keys does not count, nor does `_meta` or an absent field against a null one.
    """
    texts = sorted(_canonical({key: tool[key] for key in _DEFINITION if tool.get(key) is not None}) for tool in tools)
    whole = hashlib.sha256()
    for text in texts:
        whole.update(text + b"\n")
    return f"sha256:{whole.hexdigest()}"


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
