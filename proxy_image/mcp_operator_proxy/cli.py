"""`mcp-operator-proxy`: serve a configuration folder, check one, or bridge a stdio server to HTTP."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_operator_proxy import __version__

if TYPE_CHECKING:
    from mcp_operator_proxy.sessions.peers import PeerName
    from mcp_operator_proxy.swap.given import Given
    from mcp_operator_proxy.workers.place import Options

DEFAULT_CONFIG_DIR = "/etc/mcp-proxy"


def _parser() -> argparse.ArgumentParser:
    env = os.environ
    parser = argparse.ArgumentParser(prog="mcp-operator-proxy", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    folder: dict[str, Any] = {
        "type": Path,
        "default": Path(env.get("MCP_PROXY_CONFIG_DIR", DEFAULT_CONFIG_DIR)),
        "help": f"folder with config.json and secrets/ (MCP_PROXY_CONFIG_DIR, {DEFAULT_CONFIG_DIR})",
    }
    serve = commands.add_parser("serve", help="serve MCP, following the configuration folder while running")
    serve.add_argument("--config-dir", **folder)
    serve.add_argument("--host", default=env.get("HOST", "0.0.0.0"), help="address to listen on (HOST)")  # noqa: S104
    serve.add_argument("--port", type=_port, default=env.get("PORT", "8080"), help="port, 0 for any free one (PORT)")
    serve.add_argument(
        "--workers", type=_workers, default=env.get("WORKERS", "1"), help="processes, one for a core (WORKERS)"
    )
    serve.add_argument(
        "--internal-host",
        default=env.get("MCP_PROXY_INTERNAL_HOST") or None,
        help="address of this machine at which other replicas hand sessions over (MCP_PROXY_INTERNAL_HOST)",
    )
    serve.add_argument(
        "--internal-port",
        type=_port,
        default=env.get("MCP_PROXY_INTERNAL_PORT", "8081"),
        help="port there of the first worker, the others follow (MCP_PROXY_INTERNAL_PORT)",
    )
    serve.add_argument(
        "--peers",
        type=_peers,
        default=env.get("MCP_PROXY_PEERS", ""),
        help="name:port, several by commas: DNS names of all replicas and their internal port (MCP_PROXY_PEERS)",
    )
    serve.add_argument(
        "--tls",
        action="store_true",
        default=env.get("MCP_PROXY_TLS", "").lower() in {"1", "true"},
        help="serve TLS, with the certificate that the configuration names; a new one is in use at once (MCP_PROXY_TLS)",
    )
    serve.add_argument(
        "--leave-seconds",
        type=_seconds,
        default=env.get("MCP_PROXY_LEAVE_SECONDS", "0"),
        help="after SIGTERM, for clients to leave before connections are closed (MCP_PROXY_LEAVE_SECONDS, 0)",
    )
    serve.add_argument(
        "--egress",
        default=env.get("MCP_PROXY_EGRESS", "off"),
        metavar="off|enforce",
        help="whether servers may only be at public addresses and Services of the cluster (MCP_PROXY_EGRESS, off)",
    )
    serve.add_argument(
        "--egress-allow",
        default=env.get("MCP_PROXY_EGRESS_ALLOW", ""),
        help="what enforced egress allows beside them: loopback, networks such as 10.0.0.0/8, by commas (MCP_PROXY_EGRESS_ALLOW)",
    )
    serve.add_argument(
        "--cluster-domain",
        default=env.get("MCP_PROXY_CLUSTER_DOMAIN", "cluster.local"),
        help="of the names of Services (MCP_PROXY_CLUSTER_DOMAIN)",
    )
    serve.add_argument(
        "--namespace",
        default=env.get("MCP_PROXY_NAMESPACE", ""),
        help="where names of one label are Services, with enforced egress (MCP_PROXY_NAMESPACE, none)",
    )
    serve.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=env.get("LOG_LEVEL", "info").lower(),
        help="(LOG_LEVEL)",
    )
    serve.add_argument(
        "--log-format", choices=("json", "text"), default=env.get("LOG_FORMAT", "json"), help="(LOG_FORMAT)"
    )
    check = commands.add_parser("check", help="validate a configuration folder and say what is wrong with it")
    check.add_argument("--config-dir", **folder)
    commands.add_parser(
        "proxy", help="any MCP server, or many, as one on stdin and stdout or on a port", add_help=False
    )
    commands.add_parser("bridge", help="serve a stdio MCP server over HTTP", add_help=False)
    return parser


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535 is needed")
    return port


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: 0 to 3600")
    return seconds


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: 1 to 64")
    return int(text)


def _peers(text: str) -> "tuple[PeerName, ...]":
    from mcp_operator_proxy.sessions.peers import PeerName  # noqa: PLC0415

    try:
        return PeerName.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _serve(args: argparse.Namespace) -> int:
    gc.disable()  # while a hundred thousand objects are made that all stay: a fifth of the start
    from mcp_operator_proxy import logs  # noqa: PLC0415
    from mcp_operator_proxy.egress import Egress  # noqa: PLC0415
    from mcp_operator_proxy.envsettings import BadSetting  # noqa: PLC0415
    from mcp_operator_proxy.swap.given import Given  # noqa: PLC0415
    from mcp_operator_proxy.workers.place import Options  # noqa: PLC0415

    logs.configure(args.log_level, args.log_format)
    try:
        egress = Egress.parse(args.egress, args.egress_allow, args.cluster_domain, args.namespace)
    except ValueError as error:
        print(f"mcp-operator-proxy: {error}", file=sys.stderr)
        return 2
    given = Given(dict(os.environ))
    try:
        given.check()
    except BadSetting as error:
        print(f"mcp-operator-proxy: {error}", file=sys.stderr)
        return 2
    options = Options(
        args.host,
        args.port,
        args.workers,
        args.internal_host,
        args.internal_port,
        args.peers,
        tls=args.tls,
        leave_seconds=args.leave_seconds,
        egress=egress,
    )
    if options.peers and options.internal_host is None:
        print("mcp-operator-proxy: --peers needs --internal-host, at which they reach this one", file=sys.stderr)
        return 2
    try:
        return _run(args.config_dir, options, given)
    except OSError as error:
        print(f"mcp-operator-proxy: {error.strerror or error}", file=sys.stderr)
        return 1


def _run(config_dir: Path, options: "Options", given: "Given") -> int:
    import uvloop  # noqa: PLC0415

    from mcp_operator_proxy import logs  # noqa: PLC0415
    from mcp_operator_proxy.serve import serve, serve_at  # noqa: PLC0415
    from mcp_operator_proxy.workers.place import places  # noqa: PLC0415
    from mcp_operator_proxy.workers.supervise import KILL_AFTER_SECONDS, Supervisor  # noqa: PLC0415

    gc.enable()

    def run(serving: Coroutine[Any, Any, None]) -> int:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serving)
        return 0

    more: dict[str, Any] = {
        "tls": options.tls,
        "leave_seconds": options.leave_seconds,
        "egress": options.egress,
        "given": given,
    }
    leave = options.leave_seconds
    if options.alone:
        return run(serve(config_dir, options.host, options.port, **more))
    with places(options) as all_of_them:
        if len(all_of_them) == 1:
            return run(serve_at(config_dir, all_of_them[0], None, **more))
        gc.collect()
        gc.freeze()  # what is imported stays in the pages that the workers share

        def work(index: int, parent: int) -> int:
            logs.mark(worker=index)
            return run(serve_at(config_dir, all_of_them[index], parent, again=supervisor.again(index), **more))

        supervisor = Supervisor(options.workers, work, kill_after=KILL_AFTER_SECONDS + leave)
        return supervisor.run()


def _check(args: argparse.Namespace) -> int:
    from mcp_operator_proxy.envsettings import BadSetting  # noqa: PLC0415
    from mcp_operator_proxy.swap.given import Given  # noqa: PLC0415
    from mcp_operator_proxy.swap.prepared import prepare  # noqa: PLC0415
    from mcp_operator_proxy.swap.validate import ConfigRejected  # noqa: PLC0415
    from mcp_operator_proxy.tls import Certificates  # noqa: PLC0415

    try:
        given = Given(dict(os.environ))
        given.check()
        config, secrets = given.of(given.read(args.config_dir))
        prepare(config, secrets, Certificates() if config.tls is not None else None)
    except (ConfigRejected, BadSetting) as error:
        print(f"mcp-operator-proxy: {error}", file=sys.stderr)
        return 1
    print(f"revision {config.revision}: {len(config.servers)} servers, {len(config.routes)} routes")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["bridge"]:
        from mcp_operator_proxy.bridge.cli import main as bridge  # noqa: PLC0415

        return int(bridge(arguments[1:]) or 0)
    if arguments[:1] == ["proxy"]:
        from mcp_operator_proxy.library.command import main as proxy  # noqa: PLC0415

        return proxy(arguments[1:], program="mcp-operator-proxy proxy")
    args = _parser().parse_args(arguments)
    return _serve(args) if args.command == "serve" else _check(args)


if __name__ == "__main__":
    sys.exit(main())
