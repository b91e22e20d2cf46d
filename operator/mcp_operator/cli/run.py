"""`mcp-operator run`: the operator."""

import asyncio
import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import Final

from mcp_operator.app.options import parse
from mcp_operator.app.run import run
from mcp_operator.kube.errors import ConfigError

_NO_ADDRESS: Final = {errno.EADDRINUSE, errno.EADDRNOTAVAIL}


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    _spare_the_collector()
    try:
        return asyncio.run(run(options))
    except ConfigError as error:
        print(f"mcp-operator run: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _NO_ADDRESS:
            raise
        problem = f"{options.host}:{options.port} cannot be listened on: {os.strerror(error.errno)}"
        print(f"mcp-operator run: {problem}; see --host and --port", file=sys.stderr)
        return 2


def _spare_the_collector() -> None:
    """What was imported stays for ever, and so do thousands of resources: to look through them for garbage takes a quarter of
    a second each time. The collector leaves the first alone, and looks through the others more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
