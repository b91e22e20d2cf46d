"""Command line of the bridge. Imports nothing heavy: the guard that `main` leaves as the parent stays small."""

import argparse
import os
import re
import sys
from pathlib import PurePath
from typing import Final

from mcp_operator_proxy.bridge import guard
from mcp_operator_proxy.bridge.settings import OWN_PROCESS_SESSIONS, SHARED_SESSIONS, Settings
from mcp_operator_proxy.callers import LEAST_KEY

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_PATHS: Final = frozenset({"/healthz", "/readyz", "/status", "/metrics", "/logs"})
_MIB: Final = 2**20
_LOOK_FIRST: Final = 0.1
_LOOK_MOST: Final = 1.0
"""Seconds. Who starts a process in another container pauses between its starts; here it is only looked for."""

USAGE: Final = "mcp-bridge [OPTIONS] -- COMMAND [ARGS…], or mcp-bridge [OPTIONS] --pipes FOLDER"
EPILOG: Final = """Each option has an environment variable: MCP_BRIDGE_ and its name in capitals, as in MCP_BRIDGE_MAX_SESSIONS.
MCP_BRIDGE_IDENTITY_KEY is the key by which proxies prove that they may read the lines of standard error (/logs).
Durations are seconds, or end in ms, s, m or h. Exit codes: 0 stopped by a signal, 1 the address can't be had, 2 usage."""


def main(argv: list[str]) -> int:
    """Run a bridge until SIGTERM; returns its exit code."""
    settings = parse(argv)
    if settings.identity_key is not None or settings.logs_key is not None:
        guard.hide_environment()
    return guard.run(lambda: _serve(settings))


def parse(argv: list[str]) -> Settings:
    """Settings from the command line and the environment. Exits with code 2 and a message where they are wrong."""
    parser = _parser()
    options, _, command = _split(argv)
    args = parser.parse_args(options)
    key, defaults = os.environ.get("MCP_BRIDGE_IDENTITY_KEY") or None, Settings(command=(), name="")
    if problem := _problem(args, command, key):
        parser.error(problem)
    return Settings(
        command=tuple(command),
        name=args.name or (PurePath(command[0]).name if command else "server"),
        host=args.host,
        port=args.port,
        path=args.path,
        pipes=args.pipes or None,
        isolation=args.isolation,
        identity_key=key if args.isolation == "user" else None,
        logs_key=key if len(key or "") >= LEAST_KEY else None,
        credential_env=args.credential_env or None,
        max_sessions=args.max_sessions or (OWN_PROCESS_SESSIONS if args.isolation == "session" else SHARED_SESSIONS),
        idle_timeout=args.idle_timeout,
        startup_timeout=args.startup_timeout,
        wait_timeout=args.wait_timeout,
        linger=args.linger,
        drain_timeout=args.drain_timeout,
        stop_grace=args.stop_grace,
        ping=args.ping,
        max_restarts=args.max_restarts,
        cool_down=args.cool_down,
        process_idle=args.process_idle,
        backoff_first=_LOOK_FIRST if args.pipes else defaults.backoff_first,
        backoff_max=_LOOK_MOST if args.pipes else defaults.backoff_max,
        max_processes=args.max_processes or (OWN_PROCESS_SESSIONS if args.isolation == "user" else 0),
        own_dirs=args.own_dirs or None,
        own_dirs_stay=bool(args.own_dirs),
        max_line=args.max_line_mib * _MIB,
        max_body=args.max_body_mib * _MIB,
        preflight=args.preflight,
        allowed_origins=tuple(args.allowed_origins.split()),
    )


def _problem(args: argparse.Namespace, command: list[str], key: str | None) -> str | None:
    """What is wrong with options that are right for themselves."""
    if not command and not args.pipes:
        return "the server's command is missing: give it after --"
    if args.pipes and (command or args.isolation != "shared"):
        return "--pipes leads to a process that somebody else starts: one for all, and without a command"
    if args.isolation == "user" and len(key or "") < LEAST_KEY:
        return (
            "isolation user needs MCP_BRIDGE_IDENTITY_KEY, the key with which proxies sign for whom they call"
            f" ({LEAST_KEY} characters or more): over TCP nobody is believed without"
        )
    if args.credential_env and args.isolation != "user":
        return "--credential-env needs --isolation user: a process has the token of one user"
    return f"--path {args.path} is the bridge's own" if args.path in _OWN_PATHS else None


def _serve(settings: Settings) -> int:
    import asyncio  # noqa: PLC0415 - not before the fork
    import logging  # noqa: PLC0415

    import uvloop  # noqa: PLC0415

    from mcp_operator_proxy.bridge import server  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s bridge: %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.run(settings))
    except OSError as error:
        print(f"bridge: cannot listen on {settings.host}:{settings.port}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _split(argv: list[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in argv:
        return argv, "", []
    at = argv.index("--")
    return argv[:at], "--", argv[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-bridge", usage=USAGE, epilog=EPILOG, description="Serve a stdio MCP server over streamable HTTP."
    )
    defaults = Settings(command=(), name="")

    def option(flag: str, default: object, kind: object, text: str, shown: object = None) -> None:
        variable = "MCP_BRIDGE_" + flag.lstrip("-").replace("-", "_").upper()
        value = os.environ.get(variable, default)
        parser.add_argument(flag, default=value, type=kind, help=f"{text} (default: {shown or default})")  # type: ignore[arg-type]

    option("--host", defaults.host, str, "address to listen on")
    option("--port", defaults.port, _port, "port to listen on; 0 takes a free one")
    option("--path", defaults.path, _path, "path of the MCP endpoint")
    option("--pipes", "", str, "folder with the pipes in and out of a server that runs in a container of its own")
    option("--name", "", str, "name of the server in logs and errors: its command's, if none is given")
    kinds = (
        "shared: one process for all; session: one for each session; user: one for each user (MCP_BRIDGE_IDENTITY_KEY)"
    )
    option("--isolation", defaults.isolation, _isolation, kinds)
    option(
        "--credential-env",
        "",
        _variable,
        "isolation user: variable in which each process finds its user's token, which proxies send encrypted",
        shown="none",
    )
    several = f"{SHARED_SESSIONS}, or {OWN_PROCESS_SESSIONS} where each has a process"
    option("--max-sessions", None, _positive, "sessions at a time", shown=several)
    option("--idle-timeout", defaults.idle_timeout, duration, "end a session that is idle for so long; 0: never")
    option("--startup-timeout", defaults.startup_timeout, _timeout, "for the server to answer initialize")
    option("--wait-timeout", defaults.wait_timeout, duration, "for a request to wait for a server that is down")
    option("--linger", defaults.linger, duration, "on SIGTERM, to let clients move to another replica")
    option("--drain-timeout", defaults.drain_timeout, duration, "for calls in flight when the bridge stops")
    option("--stop-grace", defaults.stop_grace, duration, "for the server to end, before SIGTERM and before SIGKILL")
    option(
        "--ping", defaults.ping, duration, "ping so often, and replace what does not answer within as long; 0: never"
    )
    option("--max-restarts", defaults.max_restarts, _positive, "exits soon after the start that are a crash loop")
    option("--cool-down", defaults.cool_down, duration, "pause between starts in a crash loop; 0: at most 30 s")
    option(
        "--process-idle",
        defaults.process_idle,
        duration,
        "end a session's or user's process without a call for so long; 0: never",
    )
    option(
        "--max-processes",
        defaults.max_processes,
        _count,
        "isolation session or user: processes",
        shown="as sessions, or 32",
    )
    option(
        "--own-dirs",
        "",
        str,
        "isolation user: folder in which the users' own folders (MCP_OWN_DIR) stay",
        shown="temporary ones",
    )
    option("--max-line-mib", defaults.max_line // _MIB, _positive, "longest message of the server")
    option("--max-body-mib", defaults.max_body // _MIB, _positive, "longest message of a client")
    option("--allowed-origins", "", str, "origins that browsers may send, separated by spaces")
    option("--preflight", "true", _boolean, "isolation session: start the server once for a try")
    return parser


def duration(text: object) -> float:
    """Seconds of `1.5`, `500ms`, `30s`, `5m` or `1h`."""
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 30s or 5m")
    return float(match[1]) * _UNITS[match[2]]


def _timeout(text: object) -> float:
    if (seconds := duration(text)) <= 0:
        raise argparse.ArgumentTypeError("the time has to be more than 0")
    return seconds


def _port(text: object) -> int:
    if not str(text).isdigit() or int(str(text)) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port (0 to 65535)")
    return int(str(text))


def _positive(text: object) -> int:
    if not str(text).isdigit() or int(str(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(str(text))


def _count(text: object) -> int:
    return 0 if str(text) == "0" else _positive(text)


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no path such as /mcp")
    return text


def _variable(text: str) -> str:
    if text and not _VARIABLE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a variable such as GITHUB_TOKEN")
    return text


def _isolation(text: str) -> str:
    if text not in {"shared", "session", "user"}:
        raise argparse.ArgumentTypeError(f"{text!r} is none of shared, session and user")
    return text


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
