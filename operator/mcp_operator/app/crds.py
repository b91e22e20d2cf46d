"""Puts the CustomResourceDefinitions of this version into a cluster: the chart does so before an upgrade."""

import asyncio
import sys
from typing import Final

from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import definition
from mcp_operator.kube.client import KubeClient, Object
from mcp_operator.kube.errors import ApiError, ConfigError
from mcp_operator.kube.paths import built_in

POLL_SECONDS: Final = 0.2


def apply(seconds: float) -> int:
    """Apply, and wait at most so many seconds until they are served. 1: refused or too slow; 2: there is no cluster."""
    try:
        asyncio.run(_apply(seconds))
    except TimeoutError:
        print(f"mcp-operator crds: not served by the API server after {seconds:g} s", file=sys.stderr)
        return 1
    except (ApiError, ConfigError) as error:
        print(f"mcp-operator crds: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


async def _apply(seconds: float) -> None:
    async with KubeClient.connect() as kube, asyncio.timeout(seconds):
        for kind in meta.KINDS:
            path = built_in("CustomResourceDefinition").path(name=kind.crd_name)
            await kube.apply(path, definition(kind), field_manager=meta.FIELD_MANAGER)
            while not _is_established(await kube.get(path) or {}):  # noqa: ASYNC110 - one look is less than a watch
                await asyncio.sleep(POLL_SECONDS)
            print(f"{kind.crd_name} is applied and served")


def _is_established(crd: Object) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == "Established" and condition.get("status") == "True" for condition in conditions)
