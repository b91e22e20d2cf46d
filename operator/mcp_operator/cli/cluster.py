"""The flags of kubectl that say which cluster and which namespace, and how a command ends when there is none."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, Final

from mcp_operator.api.scalars import seconds
from mcp_operator.cli.arguments import namespace
from mcp_operator.kube.errors import ApiError, ConfigError, Forbidden

TROUBLE: Final = 2
"""Exit code of a command that could not do its work."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """`--kubeconfig`, `--context`, `--request-timeout`, and one of `-n` and `-A`."""
    cluster = parser.add_argument_group("which cluster")
    cluster.add_argument(
        "--kubeconfig", metavar="FILE", help="default: KUBECONFIG, a pod's own account, ~/.kube/config"
    )
    cluster.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    cluster.add_argument(
        "--request-timeout",
        type=duration,
        default=30.0,
        metavar="DURATION",
        help="longest wait for one answer of the API server, such as 5s (default: 30s)",
    )
    where = cluster.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", type=namespace, help="namespace (default: that of the context)")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="all namespaces")


def duration(text: str) -> float:
    """Seconds of `30`, `5s` or `1m30s`. Raises ArgumentTypeError."""
    try:
        found = float(text) if text.replace(".", "", 1).isdigit() else seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found <= 0:
        raise argparse.ArgumentTypeError("must be longer than nothing")
    return found


def connection(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `KubeClient.connect`."""
    return {
        "kubeconfig": args.kubeconfig,
        "context": args.context,
        "timeout": args.request_timeout,
        "user_agent": "mcp-operator-cli",
    }


def run(command: str, work: Coroutine[Any, Any, int]) -> int:
    """Run `work`; its exit status, or 2 after a word about what the cluster said. Ctrl-C: 130, as shells have it."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        return 130
    except Forbidden as error:
        print(f"mcp-operator {command}: not allowed: {error}", file=sys.stderr)
    except (ApiError, ConfigError) as error:
        print(f"mcp-operator {command}: {error}", file=sys.stderr)
    return TROUBLE
