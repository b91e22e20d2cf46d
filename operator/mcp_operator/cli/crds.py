"""`mcp-operator crds`: print the CustomResourceDefinitions, or write them into a folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mcp_operator.api.crd.manifests import file_names, render, write


def main(arguments: Sequence[str]) -> int:
    """Print or write; its exit status."""
    parser = argparse.ArgumentParser(
        prog="mcp-operator crds",
        description="Print the CustomResourceDefinitions: `mcp-operator crds | kubectl apply --server-side -f -`.",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="write a file for each into DIR instead")
    args = parser.parse_args(arguments)
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
