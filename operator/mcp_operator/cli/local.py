"""`mcp-operator local`: run the same manifests on this machine, without a cluster."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mcp_operator.cli.arguments import namespace
from mcp_operator.local.files import ManifestFiles, NotThere
from mcp_operator.local.run import CannotServe, Options, run
from mcp_operator.local.screen import PlainScreen, Screen
from mcp_operator.local.state import StateInUse, state_folder

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
EPILOG = """\
PATH is a file, or a folder whose own .yaml, .yml and .json files count (not those in folders below). Both are watched:
an edit is swapped in while clients stay connected. Exit codes: 0 stopped by a signal, 1 can't serve, 2 usage."""


def main(arguments: Sequence[str]) -> int:
    """Run local mode until a signal; its exit status."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    if args.host not in LOOPBACK:
        print(
            f"mcp-operator local: whoever reaches {args.host} can call every tool: there is no login", file=sys.stderr
        )
    try:
        files = ManifestFiles(args.file, args.namespace)
        with state_folder(args.state_dir) as state:
            options = Options(host=args.host, port=args.port, verbose=args.verbose, ui=args.ui)
            with _screen(args) as screen:
                asyncio.run(run(files, state, options, screen, os.environ))
    except (CannotServe, StateInUse) as error:
        print(f"mcp-operator local: {error}", file=sys.stderr)
        return 1
    except NotThere as error:
        print(f"mcp-operator local: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"mcp-operator local: {error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-operator local",
        description="Run manifests on this machine: the same compile step, proxy and bridge as in a cluster.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-f", "--file", action="append", type=Path, required=True, metavar="PATH", help="may be repeated"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address that the gateway listens on (default: 127.0.0.1)")
    parser.add_argument(
        "--port",
        type=port,
        default=8080,
        help="port of the first McpProxy by name, the others get those after it; 0: free ones (default: 8080)",
    )
    parser.add_argument(
        "-n",
        "--namespace",
        type=namespace,
        default="default",
        help="namespace of manifests that name none (default: default)",
    )
    parser.add_argument(
        "--output",
        choices=("auto", "table", "plain"),
        default="auto",
        help="live table, or lines on change (default: a table where standard output is a terminal)",
    )
    parser.add_argument(
        "--no-table", action="store_const", const="plain", dest="output", help="the same as --output plain"
    )
    parser.add_argument(
        "--state-dir", type=Path, help="where configurations and logs are written (default: a temporary folder)"
    )
    parser.add_argument("--ui", action="store_true", help="serve the inspector of each proxy at /ui, and say where")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the output of all processes, as lines")
    return parser


def port(text: str) -> int:
    """A port, or 0. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535 is needed")
    return int(text)


def _screen(args: argparse.Namespace) -> Screen:
    wanted = args.output == "table" or (args.output == "auto" and sys.stdout.isatty() and not args.verbose)
    if not wanted:
        return PlainScreen()
    try:
        from mcp_operator.local.live import LiveScreen  # noqa: PLC0415 - only where a table is wanted
    except ImportError:
        print("mcp-operator local: no table without rich: pip install 'mcp-operator[local]'", file=sys.stderr)
        return PlainScreen()
    return LiveScreen(f"mcp-operator local   {', '.join(map(str, args.file))}   Ctrl-C stops")
