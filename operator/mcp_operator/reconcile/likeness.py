"""Objects that look different from what is desired and are the same to the API server.

It writes quantities in a form of its own, leaves out a `false` that is the default, and takes lists as maps by keys that
differ from kind to kind. Whether such an object has drifted only it can say; it is asked once.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from mcp_operator.engine.keys import Key

MOST: Final = 20_000
"""Objects that are remembered; of more, each costs a request now and then that changes nothing."""
_MOVING: Final = frozenset({"resourceVersion", "managedFields", "generation"})

Body = Mapping[str, Any]


class Likeness:
    """Remembers that applying `desired` to `live` changed nothing, and so would not while both are what they are."""

    def __init__(self, most: int = MOST) -> None:
        self._known: OrderedDict[Key, tuple[bytes, bytes]] = OrderedDict()
        self._most = most

    def note(self, key: Key, desired: Body, live: Body) -> None:
        """The API server has taken `desired` and `live` is as it was."""
        self._known[key] = _digest(desired), _digest(_substance(live))
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def holds(self, key: Key, desired: Body, live: Body) -> bool:
        """Whether that was noted of the two as they are. What the object's own controller writes into its status is no change."""
        known = self._known.get(key)
        return known is not None and known == (_digest(desired), _digest(_substance(live)))


def _substance(body: Body) -> dict[str, Any]:
    metadata = {name: value for name, value in body["metadata"].items() if name not in _MOVING}
    return {**{name: value for name, value in body.items() if name != "status"}, "metadata": metadata}


def _digest(body: Body) -> bytes:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
