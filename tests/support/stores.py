"""Redis and PostgreSQL of Debian's packages, each started by the tests on loopback with a folder of its own.

`hack/stores` installs them (`make` does). Neither keeps its files or leaves a process behind.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.backends import free_port

STARTS_WITHIN = 60.0
SERVERS: set[int] = set()
"""Processes of those that run: they come and go with sessions of tests, and start processes of their own at will."""
_MISSING = "{} is not installed; `make stores` installs Debian's package"


@dataclass(frozen=True)
class Redis:
    url: str
    process: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def running_redis(*args: str, port: int | None = None) -> Iterator[Redis]:
    """A Redis that keeps nothing on disk; `args` are more of its options."""
    program = _program("redis-server")
    with tempfile.TemporaryDirectory(prefix="mcp-redis-") as folder:
        port, log = port or free_port(), Path(folder) / "log"
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""]

        def ready() -> bool:  # by its own word: another test's may answer at a port that it did not get
            return b"Ready to accept connections" in log.read_bytes() and _answers(port)

        with _running([*command, "--appendonly", "no", *args], log, ready) as process:
            yield Redis(f"redis://127.0.0.1:{port}/0", process)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64)[:1] in (b"+", b"-")
    except OSError:
        return False


@dataclass
class Postgres:
    """A PostgreSQL server. `new_database` gives the URL of an empty database."""

    port: int
    _count: int = 0

    def new_database(self) -> str:
        self._count += 1
        name = f"test_{self._count}"
        psql = [_program("psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "mcp", "-d", "postgres", "-qc"]
        subprocess.run([*psql, f"CREATE DATABASE {name}"], check=True, capture_output=True, timeout=60)
        return f"postgresql://mcp@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server that trusts whoever reaches it on loopback, and syncs nothing."""
    initdb = _program("initdb")
    with tempfile.TemporaryDirectory(prefix="mcp-postgres-") as folder:
        user = _owner_of(folder)
        data, port = Path(folder) / "data", free_port()
        init = [initdb, "-D", str(data), "-U", "mcp", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C"]
        subprocess.run(init, check=True, capture_output=True, timeout=120, cwd=folder, **user)
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        command = [_program("postgres"), "-D", str(data), *settings]
        ready = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        with _running(
            command,
            Path(folder) / "log",
            lambda: subprocess.run(ready, check=False, timeout=30).returncode == 0,
            signal.SIGINT,  # "fast shutdown": it waits for no client
            **user,
        ):
            yield Postgres(port)


def _owner_of(folder: str) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as the user of Debian's package."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _running(
    command: Sequence[str], log: Path, ready: Callable[[], bool], end: signal.Signals = signal.SIGTERM, **options: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    SERVERS.add(process.pid)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        SERVERS.discard(process.pid)


def _program(name: str) -> str:
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        raise RuntimeError(_MISSING.format(name))
    return found
