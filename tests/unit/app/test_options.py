"""Flags, environment variables, defaults; what is refused and how."""

import pytest

from mcp_operator.app.options import Options, parse


def test_defaults() -> None:
    options = parse([])
    assert (options.namespaces, options.lease_namespace, options.lease_name) == ((), None, "mcp-operator")
    assert (options.port, options.workers, options.resync_seconds) == (8081, 16, 600.0)
    assert options.hosting.image_pull_policy == "IfNotPresent"
    assert options.identity
    assert parse([]).identity != options.identity, "two processes on one host are told apart"


def test_flags() -> None:
    flags = (
        "--namespaces a,,b,a --proxy-image p:1 --runner-image r:1 --image-pull-policy Always --image-pull-secrets x,y "
    )
    flags += "--lease-namespace system --lease-name lead --identity me --host 127.0.0.1 --port 0 --workers 2 "
    flags += "--lease-seconds 20 --watch-patience-seconds 30 "
    flags += "--probe-concurrency 3 --resync-seconds 4 --log-level debug --log-format text"
    options = parse(flags.split())
    assert options == Options(
        hosting=options.hosting,
        namespaces=("a", "b"),
        lease_namespace="system",
        lease_name="lead",
        lease_seconds=20.0,
        identity="me",
        host="127.0.0.1",
        port=0,
        workers=2,
        probe_concurrency=3,
        resync_seconds=4.0,
        watch_patience_seconds=30.0,
        log_level="debug",
        log_format="text",
    )
    hosting = options.hosting
    assert (hosting.proxy_image, hosting.runner_image, hosting.image_pull_secrets) == ("p:1", "r:1", ("x", "y"))


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_OPERATOR_PROXY_IMAGE", "p:2")
    monkeypatch.setenv("MCP_OPERATOR_WORKERS", "5")
    assert parse([]).hosting.proxy_image == "p:2"
    assert (parse([]).workers, parse(["--workers", "6"]).workers) == (5, 6)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workers", "0"], "--workers is a whole number of at least 1, not '0'"),
        (["--namespaces", "team-*"], "--namespaces lists names of namespaces, and 'team-*' is none"),
        (["--port", "-1"], "--port is a whole number of at least 0"),
        (["--port", "http"], "not 'http'"),
        (["--resync-seconds", "1.5"], "--resync-seconds is a whole number"),
        (["--log-level", "loud"], "invalid choice: 'loud'"),
        (["--image-pull-policy", "Sometimes"], "invalid choice"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_what_is_refused(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(flags)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MCP_OPERATOR_PORT", "tcp://10.0.0.1:8081", "--port"),
        ("MCP_OPERATOR_IMAGE_PULL_POLICY", "Sometimes", "--image-pull-policy"),
        ("MCP_OPERATOR_LOG_LEVEL", "loud", "--log-level"),
    ],
)
def test_what_is_refused_in_the_environment(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """argparse checks the type of a default, and not whether it is one of the choices."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        parse([])
    assert words in capsys.readouterr().err
