"""What a person who waits sees: one line a step, and a sign of life in long ones."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from localcluster.errors import ClusterError

HEARTBEAT_SECONDS = 15.0
ATTEMPTS_TO_FETCH = 3
"""Of a command that takes from a network: registries and mirrors fail now and then."""
FIRST_PAUSE_SECONDS = 5.0
"""Before the second attempt; before each later one it is twice as long."""
TAIL_LINES = 30


def say(message: str) -> None:
    """Write one line to standard error, so that standard output stays for results."""
    print(message, file=sys.stderr, flush=True)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, or a remark when there is none."""
    if not log.is_file():
        return f"({log} does not exist)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def run_long(
    title: str,
    argv: Sequence[str],
    *,
    log: Path,
    expected_seconds: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    report: Callable[[str], None] = say,
    attempts: int = 1,
    pause: float = FIRST_PAUSE_SECONDS,
) -> float:
    """Run a command that takes long, with its output in `log` and heartbeats on standard error.

    One that fails is run again, `attempts` times in all, after a pause of `pause` seconds, of twice as many, and so on.
    Returns the seconds taken. Raises `ClusterError` with the end of the log when the command fails.
    """
    once = partial(
        _run_once,
        title,
        argv,
        log=log,
        expected_seconds=expected_seconds,
        cwd=cwd,
        environment=environment,
        report=report,
    )
    for _ in range(attempts - 1):
        try:
            return once()
        except ClusterError as error:
            report(f"{error}\n{title}: again in {pause:g} s")
        time.sleep(pause)
        pause *= 2
    return once()


def _run_once(
    title: str,
    argv: Sequence[str],
    *,
    log: Path,
    expected_seconds: float,
    cwd: Path | None,
    environment: Mapping[str, str] | None,
    report: Callable[[str], None],
) -> float:
    log.parent.mkdir(parents=True, exist_ok=True)
    report(f"{title}: started, takes about {expected_seconds:.0f} s on two idle cores (log: {log})")
    started = time.monotonic()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        while True:
            try:
                status = process.wait(HEARTBEAT_SECONDS)
                break
            except subprocess.TimeoutExpired:
                report(f"{title}: {time.monotonic() - started:.0f} s of about {expected_seconds:.0f} s")
            except BaseException:
                process.terminate()
                raise
    seconds = time.monotonic() - started
    if status != 0:
        raise ClusterError(f"{title} failed with exit status {status} after {seconds:.0f} s:\n{tail(log)}")
    report(f"{title}: done in {seconds:.0f} s")
    return seconds


def run(argv: Sequence[str], *, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a short command and return its standard output; `ClusterError` quotes what a failing one said."""
    try:
        result = subprocess.run(argv, input=stdin, env=environment, text=True, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ClusterError(f"the command {argv[0]!r} is not installed") from error
    if result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip())[-2000:]
        raise ClusterError(f"{' '.join(argv[:4])} … failed with exit status {result.returncode}: {said}")
    return result.stdout
