"""The command line: `hack/cluster COMMAND`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from localcluster import binaries, catalogue, kind, lifecycle, operations
from localcluster.errors import ClusterError
from localcluster.ladder import Rung, choose
from localcluster.paths import Paths, from_environment
from localcluster.progress import say


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="hack/cluster", description="A real single-node Kubernetes for tests (docs/local-cluster.md)."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start the cluster, or do nothing when it runs and is well")
    commands.add_parser("down", help="stop the cluster and remove everything but caches")
    execute = commands.add_parser(
        "exec", help="run a command where the cluster can be reached, kubectl and helm on PATH"
    )
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    commands.add_parser("env", help="print shell lines that put kubectl and helm on PATH")
    load = commands.add_parser("load", help="give image archives to the node")
    load.add_argument("archives", nargs="+", type=Path, metavar="IMAGE.tar")
    commands.add_parser("status", help="say how the cluster is; exit status 0 when it is well")
    logs = commands.add_parser("logs", help="print the log of a program of the node")
    logs.add_argument("component")
    logs.add_argument("--follow", "-f", action="store_true")
    commands.add_parser("paths", help="print where everything is, as JSON")
    build = commands.add_parser("build", help="build the Kubernetes programs into the cache")
    build.add_argument("--with-kind", action="store_true")
    names = [module.folder for module in catalogue.ALL]
    build.add_argument("--only", nargs="+", default=[], choices=names, metavar="MODULE", help=", ".join(names))
    commands.add_parser("kind-check", help="exit status 0 when Docker runs, so that kind can")
    kind_up = commands.add_parser("kind-up", help="create a kind cluster where Docker runs")
    kind_up.add_argument("archives", nargs="*", type=Path, metavar="IMAGE.tar")
    commands.add_parser("kind-down", help="delete the kind cluster")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that the user can act on are one message and exit status 1."""
    options = parser().parse_args(arguments)
    try:
        return _dispatch(options, from_environment(os.environ))
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _dispatch(options: argparse.Namespace, paths: Paths) -> int:
    match options.command:
        case "up":
            _up(paths)
        case "down":
            _down(paths)
        case "exec":
            return _exec(paths, options.words)
        case "load":
            operations.load(paths, options.archives)
        case "status":
            lines, healthy = operations.status(paths)
            print("\n".join(lines))
            return 0 if healthy else 1
        case "logs":
            return operations.logs(paths, options.component, options.follow)
        case "build":
            _build(paths, options.only, options.with_kind)
        case "env" | "paths":
            print(
                operations.describe(paths)
                if options.command == "paths"
                else "\n".join(operations.environment_lines(paths))
            )
        case _:
            _kind(options, paths)
    return 0


def _build(paths: Paths, only: Sequence[str], with_kind: bool) -> None:
    if not only:
        binaries.build_all(paths.cache)
    for module in catalogue.ALL:
        if module.folder in only or (with_kind and module is catalogue.KIND):
            binaries.build([module], paths.cache)
            if module.definitions:
                binaries.definitions(module, paths.cache)


def _kind(options: argparse.Namespace, paths: Paths) -> None:
    match options.command:
        case "kind-check":
            kind.require_engine()
        case "kind-up":
            kind.up(paths, options.archives)
        case "kind-down":
            kind.down(paths)


def _up(paths: Paths) -> None:
    rung = choose(os.environ, paths)
    if rung is Rung.EXTERNAL:
        say(f"using {rung.value}: {os.environ['KUBECONFIG']}")
        return
    if rung is Rung.INSIDE:
        say("inside the local cluster already")
        return
    seconds = lifecycle.up(paths)
    say(
        "the local cluster is running and well"
        if seconds is None
        else f"the local cluster is ready after {seconds:.1f} s"
    )
    say("use it with: hack/cluster exec -- kubectl get pods --all-namespaces")


def _down(paths: Paths) -> None:
    rung = choose(os.environ, paths)
    if rung is not Rung.LOCAL:
        raise ClusterError(f"this would not stop the local cluster: the environment means {rung.value}")
    say("the local cluster is stopped and removed" if lifecycle.down(paths) else "there is no local cluster")


def _exec(paths: Paths, words: Sequence[str]) -> int:
    command = words[1:] if words[:1] == ["--"] else words
    if not command:
        raise ClusterError("usage: hack/cluster exec -- COMMAND [ARGUMENT…]")
    status = operations.execute(paths, command)
    if status < 0:
        _end_by(-status)
    return status


def _end_by(number: int) -> None:
    """Let the caller see by which signal the command ended. The one that nobody can handle needs no handler taken away."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main())
