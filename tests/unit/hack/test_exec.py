"""`hack/cluster exec` ends as its command does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HACK = Path(__file__).resolve().parents[3] / "hack"

_PROGRAM = """
import sys
from localcluster import cli, operations
operations.execute = lambda paths, command: int(sys.argv[1])
sys.exit(cli.main(["exec", "--", "true"]))
"""


@pytest.mark.parametrize("status", [0, 3, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL])
def test_the_exit_status_is_that_of_the_command(status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(int(status))],
        env={**os.environ, "PYTHONPATH": str(HACK)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, "")
