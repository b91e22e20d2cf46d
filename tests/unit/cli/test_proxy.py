"""`mcp-operator proxy` and `mcp-operator-proxy proxy` are one command."""

import pytest

from mcp_operator.cli.main import main as operator
from mcp_operator_proxy.cli import main as proxy


def test_both_programs_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert operator(["proxy", "--port", "0"]) == 2
    assert capsys.readouterr().err == "mcp-operator proxy: give exactly one of URL and --config FILE\n"
    assert proxy(["proxy", "--port", "0"]) == 2
    assert capsys.readouterr().err == "mcp-operator-proxy proxy: give exactly one of URL and --config FILE\n"


def test_the_usage_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert operator(["--help"]) == 0
    assert "proxy " in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        operator(["proxy", "--help"])
    assert caught.value.code == 0
    assert "mcpServers" in capsys.readouterr().out
