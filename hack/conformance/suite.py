"""Install the suite and run it, with the processes that it is run against."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from conformance.results import ALL, Run, read_run
from localcluster.paths import from_environment

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = ROOT / "tests" / "conformance"
START_SECONDS: Final = 180.0
RUN_SECONDS: Final = 900.0
END_SECONDS: Final = 10.0
REVISION: Final = "conformance"


class Broken(RuntimeError):
    """The suite, or what it is run against, could not be started."""


async def install() -> Path:
    """The folder with the suite's packages, in the cache; named by the lock file, and made once."""
    lock = (HERE / "package-lock.json").read_bytes()
    folder = from_environment(os.environ).cache / "conformance" / hashlib.sha256(lock).hexdigest()[:16]
    if (folder / ".ready").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    print("installing the suite", flush=True)
    npm = await asyncio.create_subprocess_exec(
        *("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--loglevel=error"),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
    )
    if await npm.wait() != 0:
        raise Broken("npm could not install the suite")
    (folder / ".ready").touch()
    return folder


async def run(packages: Path, what: str, *, proxied: bool, keep: Path) -> Run:
    """Run the scenarios of a revision, or all, against a server of their own, through a proxy or not.

    The suite's own words, and the logs of both processes, go to the folder `keep`.
    """
    package = packages / "node_modules" / "@modelcontextprotocol" / "conformance"
    required = package / "requirements" / f"{what}.yaml" if what != ALL else None
    chosen = ("--suite", "all") if what == ALL else ("--requirements", what)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(keep / "server.log"))
        if proxied:
            url = await stack.enter_async_context(proxying(url, keep / "proxy.log"))
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        node = (packages / "node_modules" / ".bin" / "node", package / "dist" / "index.js")
        with (keep / "suite.log").open("wb") as log:
            suite = await asyncio.create_subprocess_exec(
                *(*node, "server", "--url", url, *chosen, "-o", out), cwd=out, stdout=log, stderr=log
            )
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RUN_SECONDS):
                        await suite.wait()
            finally:
                await _end(suite)
        return read_run(what, out, required)


@contextlib.asynccontextmanager
async def serving(log: Path) -> AsyncIterator[str]:
    """The suite's server; its MCP URL."""
    async with _process((HERE / "server.py", "0"), log) as process:
        port = await _said(process, lambda line: int(line) if line.strip().isdigit() else None)
        yield f"http://127.0.0.1:{port}/mcp"


@contextlib.asynccontextmanager
async def proxying(url: str, log: Path) -> AsyncIterator[str]:
    """A proxy in front of `url`, started as in a pod; its MCP URL, once it has listed the server."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config(url)))
        arguments = ("-m", "mcp_operator_proxy.cli", "serve", "--host", "127.0.0.1", "--port", "0")
        async with _process((*arguments, "--config-dir", folder), log) as process:
            port: Any = None
            up = in_use = False
            while not (port and up and in_use):
                line = await _said(process, _json)
                port = line.get("port", port) if line.get("message") == "serving" else port
                up = up or line.get("message") == "server is up"
                in_use = in_use or line.get("revision") == REVISION
            yield f"http://127.0.0.1:{port}/mcp"


def config(url: str) -> dict[str, Any]:
    """One route without a prefix, as the suite's names are fixed."""
    server = "conformance/suite"
    route = {"name": "McpProxy/conformance/suite", "path": "/mcp", "servers": [{"server": server, "prefix": ""}]}
    return {
        "version": "mcp-operator.dev/proxy-config/v1",
        "revision": REVISION,
        "servers": [{"id": server, "url": url}],
        "routes": [route],
    }


def _json(line: str) -> Mapping[str, Any] | None:
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


async def _said(process: "_Process", find: Any) -> Any:
    """The first thing that `find` makes of a line of the process's output."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            line = await process.lines.get()
            if line is None:
                raise Broken(f"{process.name} ended while it started; its log is {process.log}")
            if (found := find(line)) is not None:
                return found


class _Process:
    def __init__(self, name: str, log: Path) -> None:
        self.name, self.log = name, log
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Keep all that is said, so that no pipe fills up."""
        with self.log.open("wb") as log:
            while line := await stream.readline():
                log.write(line)
                self.lines.put_nowait(line.decode(errors="replace"))
        self.lines.put_nowait(None)


@contextlib.asynccontextmanager
async def _process(arguments: tuple[str | Path, ...], log: Path) -> AsyncIterator[_Process]:
    paths = [ROOT / name for name in ("operator", "proxy_image", "hack", "tests")]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1024 * 1024,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    process = _Process(str(arguments[0]), log)
    reading = asyncio.get_running_loop().create_task(process.read(child.stdout))
    try:
        yield process
    finally:
        await _end(child)
        await reading


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
