"""The command line: what it understands, and what it says of what it doesn't."""

import argparse

import mcp_types
import mcp_types.version
import pytest

from mcp_operator_proxy.bridge import jsonrpc, versions
from mcp_operator_proxy.bridge.cli import duration, main, parse
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.shared import SharedHub


def test_the_smallest_command_line_has_good_defaults() -> None:
    assert parse(["--", "uvx", "mcp-server-time"]) == Settings(command=("uvx", "mcp-server-time"), name="uvx")


def test_processes_of_their_own_have_a_lower_limit() -> None:
    assert parse(["--", "x"]).max_sessions == 1000
    assert parse(["--isolation", "session", "--", "x"]).max_sessions == 32


def test_options_and_the_commands_own_options_are_told_apart() -> None:
    options = ["--port", "0", "--host", "::1", "--path", "/", "--isolation", "session", "--max-sessions", "3"]
    options += ["--idle-timeout", "5m", "--name", "time"]
    more = ["--preflight", "false", "--max-line-mib", "1", "--allowed-origins", "https://a https://b"]
    settings = parse([*options, *more, "--", "/usr/bin/npx", "-y", "--port", "7", "--", "x"])
    assert settings.command == ("/usr/bin/npx", "-y", "--port", "7", "--", "x")
    assert (settings.port, settings.host, settings.path, settings.isolation) == (0, "::1", "/", "session")
    assert (settings.max_sessions, settings.idle_timeout, settings.name, settings.preflight) == (
        3,
        300.0,
        "time",
        False,
    )
    assert (settings.max_line, settings.allowed_origins) == (2**20, ("https://a", "https://b"))


def test_how_processes_are_looked_after() -> None:
    options = ["--ping", "30s", "--max-restarts", "5", "--cool-down", "5m", "--process-idle", "10m"]
    settings = parse([*options, "--max-processes", "9", "--", "x"])
    assert (settings.ping, settings.max_restarts, settings.cool_down) == (30.0, 5, 300.0)
    assert (settings.process_idle, settings.max_processes) == (600.0, 9)


def test_users_need_a_key_that_processes_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_BRIDGE_IDENTITY_KEY", "k" * 32)
    settings = parse(["--isolation", "user", "--", "x"])
    assert (settings.identity_key, settings.max_processes, settings.max_sessions) == ("k" * 32, 32, 1000)
    assert "kkkk" not in repr(settings)
    assert "MCP_BRIDGE_IDENTITY_KEY" not in SharedHub(settings, Metrics())._spec.environment
    assert parse(["--", "x"]).identity_key is None
    assert (
        settings.credential_env,
        parse(["--isolation", "user", "--credential-env", "A_1", "--", "x"]).credential_env,
    ) == (
        None,
        "A_1",
    )


def test_a_process_in_another_container_has_no_command_here() -> None:
    settings = parse(["--pipes", "/p", "--name", "plain", "--linger", "5s"])
    assert (settings.command, settings.pipes, settings.name, settings.linger) == ((), "/p", "plain", 5.0)


def test_the_environment_stands_in_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_BRIDGE_MAX_SESSIONS", "7")
    monkeypatch.setenv("MCP_BRIDGE_PORT", "9000")
    settings = parse(["--port", "9001", "--", "x"])
    assert (settings.max_sessions, settings.port) == (7, 9001)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "the server's command is missing"),
        (["--port", "80"], "the server's command is missing"),
        (["--"], "the server's command is missing"),
        (["--port", "65536", "--", "x"], "'65536' is no port"),
        (["--port", "-1", "--", "x"], "is no port"),
        (["--max-sessions", "0", "--", "x"], "'0' is no number from 1"),
        (["--idle-timeout", "soon", "--", "x"], "'soon' is no duration"),
        (["--startup-timeout", "0", "--", "x"], "more than 0"),
        (["--isolation", "user", "--", "x"], "over TCP nobody is believed without"),
        (["--isolation", "each", "--", "x"], "'each' is none of shared, session and user"),
        (["--pipes", "/p", "--", "x"], "--pipes leads to a process that somebody else starts"),
        (["--pipes", "/p", "--isolation", "session"], "--pipes leads to a process that somebody else starts"),
        (["--max-processes", "-1", "--", "x"], "'-1' is no number from 1"),
        (["--path", "mcp", "--", "x"], "'mcp' is no path"),
        (["--path", "/status", "--", "x"], "/status is the bridge's own"),
        (["--preflight", "maybe", "--", "x"], "neither true nor false"),
        (["--credential-env", "A-B", "--", "x"], "'A-B' is no name of a variable"),
        (["--credential-env", "A", "--", "x"], "--credential-env needs --isolation user"),
        (["--bogus", "--", "x"], "--bogus"),
    ],
)
def test_what_is_wrong_is_said(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


def test_a_wrong_environment_is_said_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MCP_BRIDGE_PORT", "http")
    with pytest.raises(SystemExit):
        parse(["--", "x"])
    assert "argument --port: 'http' is no port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("1.5", 1.5), ("250ms", 0.25), ("30s", 30.0), ("2m", 120.0), ("1h", 3600.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1 s", "1m30s", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


def test_versions_and_codes_are_those_of_the_protocol() -> None:
    assert versions.HANDSHAKE_VERSIONS == mcp_types.version.HANDSHAKE_PROTOCOL_VERSIONS
    names = ("PARSE_ERROR", "INVALID_REQUEST", "METHOD_NOT_FOUND", "INVALID_PARAMS", "INTERNAL_ERROR")
    for name in (*names, "UNSUPPORTED_PROTOCOL_VERSION"):
        assert getattr(jsonrpc, name) == getattr(mcp_types, name)
