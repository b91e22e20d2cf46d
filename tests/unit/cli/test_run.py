"""`mcp-operator run` where it cannot begin: one line that says why, and no traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.kubeconfig import kubeconfig


def _run(folder: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH"}}
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "mcp_operator", "run", *flags]
    env = {**kept, "PYTHONPATH": paths, "HOME": str(folder), **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)


pytestmark = pytest.mark.timeout(240)  # a whole operator is started


def test_no_cluster(tmp_path: Path) -> None:
    done = _run(tmp_path, "--port", "0")
    assert done.returncode == 2
    assert "no cluster to talk to" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        done = _run(tmp_path, "--host", "127.0.0.1", "--port", str(port), KUBECONFIG=config)
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be listened on: Address already in use; see --host and --port" in done.stderr
    assert "Traceback" not in done.stderr
