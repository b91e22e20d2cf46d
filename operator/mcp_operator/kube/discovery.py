"""Which kinds the API server serves: for those that come with CRDs of other projects, and may come or go at any time."""

import time
from collections.abc import Callable
from typing import Final

from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.paths import object_path

SURE_SECONDS: Final = 600.0
"""How long it is believed that a kind is served; who finds out otherwise says so with `forget`."""
RETRY_SECONDS: Final = 30.0
"""After which a kind that was not served is looked for again."""


class Discovery:
    """Asks once for each group and version, and again now and then."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    async def serves(self, api_version: str, kind: str) -> bool:
        """Whether objects of that kind can be made. Raises the errors of `kube.errors`."""
        asked_at, kinds = self._known.get(api_version, (-SURE_SECONDS, frozenset()))
        age = self._clock() - asked_at
        if age < (SURE_SECONDS if kind in kinds else RETRY_SECONDS):
            return kind in kinds
        found = await self._kube.get(object_path(api_version, "").rstrip("/"))
        listed = (found or {}).get("resources") or ()
        kinds = frozenset(resource["kind"] for resource in listed if "/" not in resource["name"])
        self._known[api_version] = self._clock(), kinds
        return kind in kinds

    def forget(self, api_version: str) -> None:
        """What was found out is no longer true."""
        self._known.pop(api_version, None)
