"""`mcp-operator COMMAND`. Subcommands are imported when they are called: each brings its own weight."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from mcp_operator import __version__

COMMANDS = {
    "run": "run the operator against a cluster",
    "local": "run the same manifests on this machine, without a cluster",
    "proxy": "any MCP server, or many, as one on stdin and stdout or on a port",
    "import": "turn the mcpServers of a desktop client into manifests",
    "render": "print every object that would be applied for manifests",
    "plan": "show what would change in the cluster, as a diff",
    "status": "show the state of everything, and what is served where",
    "crds": "print the CustomResourceDefinitions",
}

MODULES = {"import": "import_file"}
"""Of commands whose name is no name of a module."""
PRINTING = frozenset({"import", "render", "plan", "status", "crds"})
"""Commands whose result is what they print."""
OF_THE_CLUSTER = frozenset({"kubernetes", "aiohttp", "kopf"})
"""Packages that only commands which talk to a cluster need."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else "--help"
    if name in {"-h", "--help"}:
        print(usage())
        return 0
    if name == "--version":
        print(f"mcp-operator {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"mcp-operator: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        command: Callable[[Sequence[str]], int] = import_module(f"mcp_operator.cli.{MODULES.get(name, name)}").main
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in OF_THE_CLUSTER:
            raise
        needed = f"needs {error.name}: pip install 'mcp-operator[operator]'"
        print(f"mcp-operator {name}: {needed}", file=sys.stderr)
        return 2
    return _printed(command, given[1:]) if name in PRINTING else command(given[1:])


def _printed(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """End as `head` has other programs end: without a word when nobody reads on.

    Source: Python documentation, module signal, "Note on SIGPIPE".
    """
    try:
        status = command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status


def usage() -> str:
    lines = "\n".join(f"  {name:<8} {text}" for name, text in COMMANDS.items())
    return f"usage: mcp-operator COMMAND [ARGUMENT ...]\n\n{lines}\n\n`mcp-operator COMMAND --help` explains each."


if __name__ == "__main__":
    sys.exit(main())
