"""The proxy's program, whose counting can be switched off and on while it runs: SIGUSR1 and SIGUSR2.

    python -m bench.uncounted serve --config-dir FOLDER …      # as `mcp-operator-proxy serve`

Off, what the fast lane calls for each request to count it does nothing. What it reads of the clock for that it reads all the same.
"""

import signal
from collections.abc import Callable
from typing import Any, Final

from mcp_operator_proxy.cli import main
from mcp_operator_proxy.tally import Tally, Times
from mcp_operator_proxy.usage import ToolUsage

COUNTING: Final[tuple[type, ...]] = (Tally, Times, ToolUsage)
_ADD: Final[dict[type, Callable[..., None]]] = {kind: kind.add for kind in COUNTING}  # type: ignore[attr-defined]


def _nothing(*_: Any) -> None: ...


def off(*_: Any) -> None:
    for kind in COUNTING:
        kind.add = _nothing  # type: ignore[attr-defined]


def on(*_: Any) -> None:
    for kind, add in _ADD.items():
        kind.add = add  # type: ignore[attr-defined]


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, off)
    signal.signal(signal.SIGUSR2, on)
    raise SystemExit(main())
