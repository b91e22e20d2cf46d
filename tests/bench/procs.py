"""Processes of a benchmark: started with their output in a file, waited for, measured, and ended whatever happens."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

STOP_SECONDS: Final = 15.0
READY_SECONDS: Final = 40.0
TESTS: Final = Path(__file__).parents[1]


class NotReady(Exception):
    """A process ended, or did not answer in time; the message holds the end of its log."""


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Process:
    """A running program and all that it has started."""

    def __init__(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.started = time.perf_counter()
        self.ready_after = 0.0
        """Seconds from the start until it answered first."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                argv,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=None if env is None else dict(env),
                start_new_session=True,
            )

    def pids(self) -> list[int]:
        """Of it and its descendants."""
        found = [self._popen.pid]
        with contextlib.suppress(psutil.NoSuchProcess):  # one of them has just ended
            found += [child.pid for child in psutil.Process(self._popen.pid).children(recursive=True)]
        return found

    def rss(self) -> int:
        """Resident memory of all of them, in bytes."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += psutil.Process(pid).memory_info().rss
        return total

    def wait_until(self, answers: Callable[[], bool], seconds: float = READY_SECONDS) -> float:
        """Seconds from the start until `answers` is true. Raises NotReady."""
        while not answers():
            if self._popen.poll() is not None:
                raise NotReady(f"it ended with code {self._popen.returncode}: {self.tail()}")
            if time.perf_counter() - self.started > seconds:
                raise NotReady(f"it did not answer within {seconds:g} s: {self.tail()}")
            time.sleep(0.01)
        took = time.perf_counter() - self.started
        self.ready_after = self.ready_after or took
        return took

    def tail(self) -> str:
        return self.log.read_bytes()[-400:].decode(errors="replace").strip()

    def stop(self) -> None:
        """SIGTERM to its process group, after `STOP_SECONDS` SIGKILL."""
        for sig, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, sig)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(seconds)
                break


@contextlib.contextmanager
def running(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    process = Process(argv, log, env)
    try:
        yield process
    finally:
        process.stop()


def module_env(**more: str) -> dict[str, str]:
    """The environment of our own modules in a child."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *_product_paths()]), **more}


def _product_paths() -> list[str]:
    return [str(TESTS.parent / "operator"), str(TESTS.parent / "proxy_image")]


def get(url: str, headers: Mapping[str, str] | None = None, seconds: float = 2.0) -> tuple[int, bytes]:
    """Status and body; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=dict(headers or {})), timeout=seconds
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


@contextlib.contextmanager
def backend(
    log: Path, *, era: str, server: str = "starlette", tools: int = 1, sse: bool = False
) -> Iterator[tuple[str, Process]]:
    """A `bench.backend`; yields its base URL and its process."""
    port = free_port()
    argv = [sys.executable, "-m", "bench.backend", "--port", str(port), "--era", era, "--server", server]
    argv += ["--tools", str(tools), *(["--sse"] if sse else [])]
    with running(argv, log, module_env()) as process:
        base = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: get(f"{base}/counts")[0] == 200)
        yield base, process


def counts(base: str, *, reset: bool = False) -> dict[str, int]:
    """What the backend has counted, by method."""
    status, body = get(f"{base}/counts{'?reset' if reset else ''}")
    if status != 200:
        raise NotReady(f"the backend answers {status}")
    found: dict[str, int] = json.loads(body)
    return found
