"""`mcp-operator`: run, local, proxy, render, crds. Subcommands are imported when they are called: each brings its own weight."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from mcp_operator import __version__

COMMANDS = {
    "run": "run the operator against a cluster",
    "local": "run the same manifests on this machine, without a cluster",
    "proxy": "any MCP server, or many, as one on stdin and stdout or on a port",
    "render": "print every object that would be applied for manifests",
    "crds": "print the CustomResourceDefinitions",
}


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
    command: Callable[[Sequence[str]], int] = import_module(f"mcp_operator.cli.{name}").main
    return command(given[1:])


def usage() -> str:
    lines = "\n".join(f"  {name:<8} {text}" for name, text in COMMANDS.items())
    return f"usage: mcp-operator COMMAND [ARGUMENT ...]\n\n{lines}\n\n`mcp-operator COMMAND --help` explains each."


if __name__ == "__main__":
    sys.exit(main())
