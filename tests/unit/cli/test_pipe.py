"""What is printed into a pipe that nobody reads to its end."""

import signal
import subprocess
import sys


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "mcp_operator", "crds"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE
