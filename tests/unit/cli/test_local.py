"""`mcp-operator local`: how it refuses to start, and what it needs to be installed."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_operator.cli.local import main
from mcp_operator.local.state import state_folder


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_a_path_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-f", "/nowhere"]) == 2
    assert "/nowhere: there is no such file or folder" in capsys.readouterr().err


def test_a_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["-f", str(tmp_path), "--port", str(port)]) == 1
    assert f"http://127.0.0.1:{port} can't be served: the port is in use" in capsys.readouterr().err


def test_a_state_folder_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with state_folder(tmp_path / "state"):
        assert main(["-f", str(tmp_path), "--port", "0", "--state-dir", str(tmp_path / "state")]) == 1
    assert "is in use by another mcp-operator local" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--port", "x"], ["--port", "65536"], ["--port", "-1"], []])
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*(["-f", "."] if wrong else []), *wrong])
    assert ended.value.code == 2
    assert "usage: mcp-operator local" in capsys.readouterr().err


def test_it_needs_nothing_of_kubernetes() -> None:
    """So the extra `operator` need not be installed."""
    script = (
        "import sys\n"
        "import mcp_operator.cli.local, mcp_operator.cli.render, mcp_operator.cli.crds, mcp_operator.cli.import_file\n"
        "import mcp_operator.local.live\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'kopf', 'kubernetes', 'aiohttp'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
