"""The command line of `mcp-operator proxy`: any MCP server, or many of them, as one on stdin and stdout or on a port."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mcp_operator_proxy.library.errors import ConfigError, Problem
    from mcp_operator_proxy.library.proxy import ToolProxy

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
DESCRIPTION: Final = (
    "Any MCP server, or many of them, as one: on stdin and stdout (for a desktop client), or on a port."
)
EPILOG: Final = """\
FILE holds the mcpServers of a desktop client, or servers with a proxy namespace; it is followed, and an edit is swapped in
while clients stay connected. ${VAR} in FILE, URL and --header is taken from the environment.
Exit codes: 0 the client left or a signal came, 1 can't serve, 2 wrong arguments or config."""


class Usage(Exception):
    """Wrong arguments, in words for the user."""


def main(arguments: Sequence[str], *, program: str = "mcp-operator proxy") -> int:
    """Run until the client leaves or a signal comes; the exit status."""
    args = _parser(program).parse_args(arguments)
    transport = args.transport or ("stdio" if args.port is None else "http")
    with ExitStack() as stack:
        pipes: Any = None
        if transport == "stdio":
            from mcp_operator_proxy.fronts.takeover import taken_over  # noqa: PLC0415

            pipes = stack.enter_context(taken_over())  # before anything else has a chance to print
        try:
            return _run(args, transport, pipes, program)
        except Usage as error:
            print(f"{program}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:  # before the loop runs, which handles signals
            return 0
        except OSError as error:
            print(f"{program}: {error.strerror or error}", file=sys.stderr)
            return 1


def _run(args: argparse.Namespace, transport: str, pipes: Any, program: str) -> int:
    import uvloop  # noqa: PLC0415

    from mcp_operator_proxy import logs  # noqa: PLC0415
    from mcp_operator_proxy.library.errors import ConfigError  # noqa: PLC0415
    from mcp_operator_proxy.library.run import run_http, run_stdio  # noqa: PLC0415

    try:
        proxy = _made(args, transport, os.environ)
    except ConfigError as error:
        raise Usage(_told(error, args)) from None
    host = args.host or "127.0.0.1"
    logs.configure(args.log_level or ("warning" if transport == "stdio" else "info"), "text")
    if transport != "stdio" and host not in LOOPBACK and args.api_key_env is None:
        print(
            f"{program}: anybody who reaches {host} can call every tool; --api-key-env asks for a key", file=sys.stderr
        )

    def announce(base: str) -> None:
        print(f"{program}: serving {base}{'/sse' if transport == 'sse' else proxy.path}", file=sys.stderr, flush=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if transport == "stdio":
            runner.run(run_stdio(proxy, pipes))
        else:
            runner.run(run_http(proxy, host, 8080 if args.port is None else args.port, announce))
    return 0


def _made(args: argparse.Namespace, transport: str, environ: Mapping[str, str]) -> "ToolProxy":
    """Raises Usage, ConfigError."""
    from mcp_operator_proxy.access import stdout  # noqa: PLC0415
    from mcp_operator_proxy.library.proxy import DEFAULT_NAME, ToolProxy  # noqa: PLC0415

    if (args.url is None) == (args.config is None):
        raise Usage("give exactly one of URL and --config FILE")
    options: dict[str, Any] = {
        "name": args.name or DEFAULT_NAME,
        "path": "/" if transport == "sse" else "/mcp",
        "warm_seconds": args.wait,
        "allowed_origins": args.allowed_origin,
        "access_log": stdout if args.access_log else None,
    }
    if args.access_log and transport == "stdio":
        raise Usage("--access-log is for --transport http and sse: stdout belongs to the client")
    if args.api_key_env is not None:
        if transport == "stdio":
            raise Usage("--api-key-env is for --transport http and sse: whoever starts the command owns its stdin")
        options["api_key"] = _variable(args.api_key_env, "--api-key-env", environ)
    if transport == "stdio" and (given := [name for name in ("host", "port", "allowed_origin") if _given(args, name)]):
        raise Usage(f"--{given[0].replace('_', '-')} is for --transport http and sse")
    if args.config is not None:
        for option in ("header", "header_env", "transport_type", "timeout", "naming"):
            if _given(args, option):
                raise Usage(f"--{option.replace('_', '-')} is for a URL; with --config write it into the file")
        return ToolProxy.from_file(args.config, **options)
    return ToolProxy.from_url(
        args.url,
        headers=_headers(args, environ),
        transport=args.transport_type or "auto",
        timeout_seconds=args.timeout or 30.0,
        naming=args.naming or "{tool}",
        **options,
    )


def _given(args: argparse.Namespace, option: str) -> bool:
    return getattr(args, option) not in (None, [])


_OPTIONS: Final = {"api_key": "--api-key-env", "allowed_origins": "--allowed-origin", "proxy.naming": "--naming"}


def _told(error: "ConfigError", args: argparse.Namespace) -> str:
    """A config's problems, by the arguments that it was made from."""
    if args.config is not None and error.source == str(args.config):
        return f"the config is not used\n{error}"
    return "; ".join(_argument(problem) for problem in error.problems)


def _argument(problem: "Problem") -> str:
    option = _OPTIONS.get(problem.path)
    if match := re.fullmatch(r"servers\.[^.]*\.(url|headers\.(.+))", problem.path):
        option = f"--header {match[2]}" if match[2] else "URL"
    return f"{option}: {problem.message}" if option is not None else str(problem)


def _headers(args: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for text in args.header:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise Usage("--header needs 'NAME: VALUE'")
        headers[name.strip()] = value.strip()
    for text in args.header_env:
        name, equals, variable = text.partition("=")
        if not equals or not name.strip():
            raise Usage("--header-env needs NAME=VARIABLE")
        # A literal value: what a variable holds is not looked at for further references.
        headers[name.strip()] = _variable(variable.strip(), "--header-env", environ).replace("${", "$${")
    return headers


def _variable(name: str, option: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if not value:
        raise Usage(f"{option}: the environment variable {name} is not set")
    return value


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program, description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="of an MCP server: https://example.com/mcp")
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON or YAML file with servers, instead of a URL")
    parser.add_argument("--name", help="what clients see as the server's name")
    front = parser.add_argument_group("towards clients")
    front.add_argument(
        "--transport", choices=("stdio", "http", "sse"), help="default: stdio, or http where --port is given"
    )
    front.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    front.add_argument("--port", type=_port, help="port, 0 for any free one (default: 8080)")
    front.add_argument("--api-key-env", metavar="VARIABLE", help="variable with the key that clients must show")
    front.add_argument(
        "--allowed-origin", action="append", default=[], metavar="ORIGIN", help="of browsers; repeatable"
    )
    front.add_argument("--access-log", action="store_true", help="a JSON line for each request, on stdout")
    back = parser.add_argument_group("towards the server")
    back.add_argument(
        "--transport-type", choices=("auto", "http", "sse"), help="what the URL speaks (default: found out)"
    )
    back.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="repeatable")
    back.add_argument("--header-env", action="append", default=[], metavar="NAME=VARIABLE", help="repeatable")
    back.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="of a call without progress (default: 30)")
    back.add_argument(
        "--naming", metavar="TEMPLATE", help="of tools' names, for example remote_{tool} (default: {tool})"
    )
    back.add_argument(
        "--wait", type=_seconds, default=1.0, metavar="SECONDS", help="for servers to answer at the start (default: 1)"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="on stderr")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535 is needed")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
