"""`mcp-operator local` as a process of its own, its lines, and manifests for it."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from support.backends import eventually

TINY = Path(__file__).parent / "servers" / "tiny.py"
JSON = dict[str, Any]


def manifest(kind: str, name: str, spec: JSON, labels: JSON | None = None) -> str:
    body = {"apiVersion": "mcp-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "labels": labels or {}}}
    return f"---\n{json.dumps(body | {'spec': spec})}\n"


def tiny(name: str, *tools: str, **spec: Any) -> str:
    """An McpServer with these tools, probed often."""
    stdio = {"command": sys.executable, "args": ["-S", str(TINY), *tools], **spec.pop("stdio", {})}
    return manifest("McpServer", name, {"stdio": stdio, "health": {"interval": "1s"}, **spec})


PROXY = manifest("McpProxy", "tools", {"servers": {"selector": {}}})


class Local:
    """A run of local mode. `lines` are what it printed."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.lines: list[str] = []
        self._reading = [asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)]

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        async for line in stream:
            self.lines.append(line.decode().rstrip("\n"))

    async def said(self, pattern: str, since: int = 0, seconds: float = 90) -> re.Match[str]:
        """The first line that matches, waiting for it."""
        try:
            found = await eventually(lambda: self.heard(pattern, since), seconds)
        except TimeoutError:
            raise AssertionError(f"{pattern!r} was not said:\n" + "\n".join(self.lines[since:])) from None
        assert isinstance(found, re.Match)
        return found

    def heard(self, pattern: str, since: int = 0) -> re.Match[str] | None:
        return next((match for line in self.lines[since:] if (match := re.search(pattern, line))), None)

    async def url(self, name: str = "tools") -> str:
        return (await self.said(rf" {name}: (http://\S+)$"))[1]

    async def status(self) -> JSON:
        """What the proxy says of itself."""
        base = (await self.url()).rpartition("/")[0]
        async with httpx2.AsyncClient(timeout=60) as http:
            body: JSON = (await http.get(f"{base}/status")).json()
        return body

    def write(self, name: str, text: str) -> None:
        """As an editor does: a new file in the place of the old."""
        draft = self.folder / f".{name}.tmp"
        draft.write_text(text)
        draft.replace(self.folder / name)

    def tree(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await self.process.wait()
        await asyncio.gather(*self._reading)
        return code


@asynccontextmanager
async def local(folder: Path, *options: str, **files: str) -> AsyncIterator[Local]:
    """Runs local mode over a folder with these files; in the end it and all its processes are gone."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    command = [sys.executable, "-m", "mcp_operator", "local", "-f", str(folder), "--port", "0", *options]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder.parent)}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True
    )
    running = Local(process, folder)
    try:
        yield running
    finally:
        await running.stop()
