"""Custom resource definitions that a test gave to an API server."""

import json
import time
from collections.abc import Callable

ESTABLISHED_SECONDS = 60.0
POLL_SECONDS = 0.1


def wait_established(kubectl: Callable[..., str], *names: str) -> None:
    """Wait until the API server serves the definitions of these names (`mcpservers.mcp-operator.dev`).

    `kubectl wait` fails at once on a definition that is so new that its conditions are still null.
    """
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while not all(_is_established(kubectl, name) for name in names):
        assert time.monotonic() < deadline, f"not established: {', '.join(names)}"
        time.sleep(POLL_SECONDS)


def _is_established(kubectl: Callable[..., str], name: str) -> bool:
    status = json.loads(kubectl("get", "crd", name, "-o", "json")).get("status") or {}
    return any(c["type"] == "Established" and c["status"] == "True" for c in status.get("conditions") or ())
