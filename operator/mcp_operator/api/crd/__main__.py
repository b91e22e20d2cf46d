"""`python -m mcp_operator.api.crd [--check] DIR...`: write the CRDs, or say which files are out of date."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mcp_operator.api.crd.manifests import COMMAND, outdated, write


def main(arguments: Sequence[str] | None = None) -> int:
    """0: written, or all up to date; 1: `--check` found files that differ."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Generate the CRDs from the models.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is out of date")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder of the CRDs; several get copies")
    options = parser.parse_args(arguments)
    paths = [path for folder in options.folders for path in (outdated if options.check else write)(folder)]
    for path in paths:
        sys.stdout.write(f"{path} {'is out of date' if options.check else 'written'}\n")
    return 1 if options.check and paths else 0


if __name__ == "__main__":
    sys.exit(main())
