"""`mcp-operator crds`: the CustomResourceDefinitions of this version, printed or applied."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import definition
from mcp_operator.api.crd.manifests import render
from mcp_operator.kube.client import KubeClient, Object
from mcp_operator.kube.errors import ApiError, ConfigError
from mcp_operator.kube.paths import built_in

POLL_SECONDS: Final = 0.2


def main(arguments: Sequence[str]) -> int:
    """0: printed, or applied and served by the API server; 1: the API server refused or took too long; 2: no cluster."""
    parser = argparse.ArgumentParser(prog="mcp-operator crds", description="Print the CustomResourceDefinitions.")
    parser.add_argument("--apply", action="store_true", help="apply them to the cluster and wait until it serves them")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="longest wait of --apply")
    options = parser.parse_args(arguments)
    if not options.apply:
        sys.stdout.write("---\n".join(render(kind) for kind in meta.KINDS))
        return 0
    try:
        asyncio.run(_apply(options.timeout))
    except TimeoutError:
        print(f"mcp-operator crds: not served by the API server after {options.timeout:g} s", file=sys.stderr)
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
