"""`mcp-operator proxy`: any MCP server, or many, as one on stdin and stdout or on a port, without a cluster."""

from collections.abc import Sequence

from mcp_operator_proxy.library.command import main as command


def main(arguments: Sequence[str]) -> int:
    """Run until the client leaves or a signal comes; its exit status."""
    return command(arguments)
