"""`mcp-operator run`: the operator."""

import asyncio
import sys
from collections.abc import Sequence

from mcp_operator.app.options import parse
from mcp_operator.app.run import run
from mcp_operator.kube.errors import ConfigError


def main(arguments: Sequence[str]) -> int:
    try:
        return asyncio.run(run(parse(arguments)))
    except ConfigError as error:
        print(f"mcp-operator run: {error}", file=sys.stderr)
        return 2
