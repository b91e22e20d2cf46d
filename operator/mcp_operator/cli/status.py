"""`mcp-operator status`: the state of everything, as tables and as a tree of what is served where."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.cli import cluster, colours
from mcp_operator.cli.yamls import dumped
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Forbidden, NotFound
from mcp_operator.kube.paths import built_in
from mcp_operator.overview import text
from mcp_operator.overview.data import as_data
from mcp_operator.overview.model import Overview, overview

Object = dict[str, Any]
CLEAR: Final = "\x1b[H\x1b[J"
EPILOG: Final = """\
The tree goes from each McpProxy over its paths to the servers there, with the prefix of their tools, and says under each
what does not hold. Of the conditions, docs/conditions.md tells what they mean and what to do.

Exit codes: 0 shown; 2 the cluster can't be asked, or usage. With --exit-code 1 says that something is not Ready, or that
the operator has not seen its newest version.

  mcp-operator status -A                     everything
  mcp-operator status -o wide                with reasons, messages and all conditions
  mcp-operator status --exit-code >/dev/null || echo "not all is well\""""


def main(arguments: Sequence[str]) -> int:
    """Show the status; the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.watch and (args.exit_code or args.output in {"json", "yaml"}):
        parser.error("--watch goes on until Ctrl-C: it goes with neither --exit-code nor -o json|yaml")
    return cluster.run("status", _status(args))


async def _status(args: argparse.Namespace) -> int:
    async with KubeClient.connect(**cluster.connection(args)) as kube:
        namespace = None if args.all_namespaces else args.namespace or kube.namespace
        if args.watch:
            return await _watch(kube, namespace, args)
        found = await _overview(kube, namespace)
    sys.stdout.write(_shown(found, namespace, args))
    if not found.views:
        where = "in the cluster" if namespace is None else f"in namespace {namespace} (-A shows all)"
        print(f"there is no McpServer, McpProxy or McpRoute {where}", file=sys.stderr)
    return 1 if args.exit_code and not found.all_ready else 0


async def _watch(kube: KubeClient, namespace: str | None, args: argparse.Namespace) -> int:
    """Look again and again; on a terminal in one place, else anew when something changed. Ends by Ctrl-C."""
    in_place = sys.stdout.isatty()
    before = None
    while True:
        found = await _overview(kube, namespace)
        shown = _shown(found, namespace, args)
        told = as_data(found)
        if in_place:
            sys.stdout.write(CLEAR + shown)
        elif told != before:
            sys.stdout.write(f"# {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n{shown}")
        sys.stdout.flush()
        before = told
        await asyncio.sleep(args.interval)


async def _overview(kube: KubeClient, namespace: str | None) -> Overview:
    bodies = await _bodies(kube, namespace)
    return overview(bodies, None if namespace is None else [namespace], await _labels(kube, bodies))


async def _labels(kube: KubeClient, bodies: Sequence[Object]) -> dict[str, dict[str, str]] | None:
    """Labels of all namespaces, where a server asks for them; None where they can't be read."""
    consents = ((body.get("spec") or {}).get("allowedRoutes") or {} for body in bodies)
    if not any((consent.get("namespaces") or {}).get("from") == "Selector" for consent in consents):
        return {}
    try:
        listing = await kube.list(built_in("Namespace").path())
    except Forbidden:
        return None
    return {body["metadata"]["name"]: body["metadata"].get("labels") or {} for body in listing.items}


async def _bodies(kube: KubeClient, namespace: str | None) -> list[Object]:
    """Every resource. Of all namespaces if that may be read, as routes may serve what lives elsewhere."""
    try:
        return await _listed(kube, None)
    except Forbidden:
        if namespace is None:
            raise
        return await _listed(kube, namespace)


async def _listed(kube: KubeClient, namespace: str | None) -> list[Object]:
    """Raises NotFound in words where the definitions are missing."""
    try:
        listings = await asyncio.gather(*(kube.list(kind.path(namespace)) for kind in meta.KINDS))
    except NotFound:
        raise NotFound(
            "the cluster does not know McpServer, McpProxy and McpRoute: is mcp-operator installed?"
        ) from None
    return [body for listing in listings for body in listing.items]


def _shown(found: Overview, namespace: str | None, args: argparse.Namespace) -> str:
    if args.output == "json":
        return json.dumps(as_data(found), indent=2, ensure_ascii=False) + "\n"
    if args.output == "yaml":
        return dumped(as_data(found))
    paint = colours.paint(args.color, sys.stdout)
    wide, all_ = args.output == "wide", namespace is None
    lines: list[str] = []
    if args.output != "tree":
        lines += text.tables(found, paint, datetime.now(UTC), wide=wide, namespaces=all_)
    if args.output != "table":
        lines += text.trees(found, paint, wide=wide, namespaces=all_)
    return "\n".join(lines).rstrip("\n") + "\n" if lines else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-operator status",
        description="Show every McpProxy, McpServer and McpRoute with its state, and what is served where.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("wide", "table", "tree", "json", "yaml"),
        help="default: tables and tree; wide: with reasons, messages and every condition; table, tree: one of them alone",
    )
    parser.add_argument("-w", "--watch", action="store_true", help="show it again when it changes, until Ctrl-C")
    parser.add_argument(
        "--interval",
        type=cluster.duration,
        default=2.0,
        metavar="DURATION",
        help="time between two looks (default: 2s)",
    )
    parser.add_argument("--exit-code", action="store_true", help="end with 1 when something is not Ready: for scripts")
    colours.add_flag(parser)
    cluster.add_flags(parser)
    return parser
