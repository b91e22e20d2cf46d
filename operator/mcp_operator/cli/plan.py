"""`mcp-operator plan`: what would change in the cluster, as a diff for each object. Nothing is written."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mcp_operator import __version__
from mcp_operator.app.options import Options
from mcp_operator.cli import cluster, colours
from mcp_operator.cli.render import read_files
from mcp_operator.cli.yamls import dumped
from mcp_operator.desired import HostingSettings
from mcp_operator.local.catalogue import Catalogue, Snapshot
from mcp_operator.local.files import NotThere
from mcp_operator.local.manifests import FileContent, Severity
from mcp_operator.planning import diff
from mcp_operator.planning.dryrun import Change, DryRun
from mcp_operator.planning.installation import installed
from mcp_operator.planning.plan import Plan, counted, make_plan

NO_CHANGE: Final = 0
CHANGES: Final = 1
EPILOG: Final = """\
With -f: what `kubectl apply -f PATH` and the operator after it would change: the resources themselves, the objects of the
servers in the files, and those of every McpProxy in their namespaces. Without: what the operator would change of what it
made for the resources that are in the cluster, so with this version of the command, what an upgrade would.

Every object is sent to the API server as a dry run, so its defaults, validation and admission take part, and the rights to
write are needed. Images and pull secrets are those of the operator that runs in the cluster, if it is found. Values of
Secrets are never shown. JSON inside ConfigMaps is shown in lines.

Exit codes, as of diff: 0 nothing would change, 1 something would, 2 trouble: a manifest is invalid, the API server would
refuse something, or can't be asked.

  mcp-operator plan -f examples/quickstart
  mcp-operator plan -A -o names"""


def main(arguments: Sequence[str]) -> int:
    """Print the plan; the exit status."""
    args = _parser().parse_args(arguments)
    return cluster.run("plan", _plan(args))


async def _plan(args: argparse.Namespace) -> int:
    async with DryRun.connect(**cluster.connection(args)) as kube:
        namespace = args.namespace or kube.namespace
        try:
            contents = read_files(args.file, namespace) if args.file else None
        except NotThere as error:
            print(f"mcp-operator plan: {error}", file=sys.stderr)
            return cluster.TROUBLE
        files = _snapshot(contents)
        namespaces = None if args.all_namespaces else _namespaces(files, namespace)
        options = await installed(kube)
        clusterwide = options is None or not options.namespaces
        settings = _settings(options, args)
        plan = await make_plan(kube, files, namespaces, settings, reads_namespaces=clusterwide)
    shown = [(change, lines) for change in plan.changes if (lines := diff.lines(change, dumped))]
    _print(shown, args)
    _tell(plan, files, [change for change, _ in shown])
    if plan.problems or _has_errors(files):
        return cluster.TROUBLE
    return CHANGES if shown else NO_CHANGE


def _snapshot(contents: list[FileContent] | None) -> Snapshot | None:
    return None if contents is None else Catalogue().update(contents, datetime.now(UTC))


def _namespaces(files: Snapshot | None, namespace: str) -> list[str]:
    return [namespace] if files is None else sorted({namespace, *(key.namespace for key in files.resources)})


def _settings(options: Options | None, args: argparse.Namespace) -> HostingSettings:
    """Those of the operator in the cluster, with what the command line says laid over."""
    if options is None:
        if not (args.proxy_image and args.runner_image):
            print("no operator is found in the cluster: images are those of this version", file=sys.stderr)
        hosting = HostingSettings(f"mcp-operator-proxy:{__version__}", f"mcp-operator-runner:{__version__}")
    else:
        hosting = options.hosting
    given = {
        "proxy_image": args.proxy_image,
        "runner_image": args.runner_image,
        "image_pull_policy": args.image_pull_policy,
        "image_pull_secrets": tuple(args.image_pull_secret) or None,
    }
    return dataclasses.replace(hosting, **{name: value for name, value in given.items() if value is not None})


def _has_errors(files: Snapshot | None) -> bool:
    return files is not None and any(d.severity is Severity.ERROR for d in files.diagnostics)


def _print(shown: Sequence[tuple[Change, list[str]]], args: argparse.Namespace) -> None:
    if args.output == "json":
        print(json.dumps([_as_data(change, lines) for change, lines in shown], indent=2, ensure_ascii=False))
        return
    paint = colours.paint(args.color, sys.stdout)
    for change, lines in shown:
        if args.output == "names":
            colour = {"create": "green", "change": "yellow", "delete": "red"}[change.action]
            print(paint(f"{change.action:<6} {_name(change)}", colour))  # type: ignore[arg-type]
            continue
        for line in lines:
            print(paint(line, _colour(line)))


def _colour(line: str) -> colours.Colour | None:
    if line.startswith(("diff ", "--- ", "+++ ")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])  # type: ignore[return-value]


def _name(change: Change) -> str:
    metadata = change.body["metadata"]
    where = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{change.body['kind']} {where}{metadata['name']}"


def _as_data(change: Change, lines: list[str]) -> dict[str, Any]:
    body = change.body
    return {
        "action": change.action,
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "namespace": body["metadata"].get("namespace"),
        "name": body["metadata"]["name"],
        "diff": "\n".join(lines) + "\n",
    }


def _tell(plan: Plan, files: Snapshot | None, changes: Sequence[Change]) -> None:
    """What is wrong, what the operator would say of it, and the sum, on standard error."""
    for diagnostic in files.diagnostics if files else ():
        print(diagnostic, file=sys.stderr)
    for line in plan.notes:
        print(f"note: {line}", file=sys.stderr)
    for line in plan.problems:
        print(f"refused: {line}", file=sys.stderr)
    print(f"plan: {counted(changes)}" if changes else "plan: nothing would change", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-operator plan",
        description="Show what would change in the cluster, as a diff for each object. Nothing is written.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option(
        "-f", "--file", action="append", type=Path, metavar="PATH", help="file, folder or - (stdin); may be repeated"
    )
    option(
        "-o",
        "--output",
        choices=("diff", "names", "json"),
        default="diff",
        help="diff (default), names: a line for each object, json: for programs",
    )
    option("--proxy-image", help="image of proxy pods (default: that of the operator in the cluster)")
    option("--runner-image", help="image that runs stdio servers (default: likewise)")
    option("--image-pull-policy", choices=("Always", "IfNotPresent", "Never"), help="of both (default: likewise)")
    option("--image-pull-secret", action="append", default=[], metavar="NAME", help="may be repeated")
    colours.add_flag(parser)
    cluster.add_flags(parser)
    return parser
