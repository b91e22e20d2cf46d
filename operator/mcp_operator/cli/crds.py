"""`mcp-operator crds`: print the CustomResourceDefinitions, write them into a folder, or apply them to the cluster."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from mcp_operator.api.crd.manifests import file_names, render, write


def main(arguments: Sequence[str]) -> int:
    """Print, write or apply; its exit status."""
    parser = argparse.ArgumentParser(
        prog="mcp-operator crds",
        description="Print the CustomResourceDefinitions: `mcp-operator crds | kubectl apply --server-side -f -`.",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("-o", "--output", type=Path, metavar="DIR", help="write a file for each into DIR instead")
    instead.add_argument(
        "--apply", action="store_true", help="apply them to the cluster instead, wait until it serves them"
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="longest wait of --apply")
    args = parser.parse_args(arguments)
    if args.apply:
        apply: Callable[[float], int] = import_module("mcp_operator.app.crds").apply
        return apply(args.timeout)
    if args.output is None:
        sys.stdout.write("---\n".join(render(kind) for kind in file_names().values()))
        return 0
    try:
        for path in write(args.output):
            print(f"{path} written")
    except OSError as error:
        print(f"mcp-operator crds: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
