"""Which secret files a configuration names."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

_FILE_NAME: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@lru_cache(maxsize=1)
def secret_files(config: bytes) -> frozenset[str]:
    """The files that a config refers to, whatever else may be wrong with it."""
    try:
        data = json.loads(config)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(name for name in _references(data) if _FILE_NAME.fullmatch(name) and name not in (".", ".."))


def _references(data: Any) -> Iterable[str]:
    """File names of all that looks like a `SecretRef`, wherever it stands."""
    pending = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            if item.keys() == {"file"} and isinstance(item["file"], str):
                yield item["file"]
            pending.extend(item.values())
