"""`mcp-operator-proxy serve` as a process of its own, with its workers and its log.

async with running_program(folder, workers=2) as program:
    program.url
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mcp_operator_proxy.config import ProxyConfig

ROOT = Path(__file__).parents[2]


def write_config(folder: Path, config: ProxyConfig, secrets: dict[str, str] | None = None) -> None:
    """Put a configuration there in one step."""
    for name, value in (secrets or {}).items():
        (folder / name).write_text(value)
    temporary = folder / "config.tmp"
    temporary.write_text(config.model_dump_json(by_alias=True, exclude_defaults=True))
    temporary.rename(folder / "config.json")


class Program:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def serving(self) -> int:
        """How many times a worker has begun to serve."""
        return sum(line["message"] == "serving" for line in self.lines)

    @property
    def base(self) -> str:
        port = next(line["port"] for line in self.lines if line["message"] == "serving")
        return f"http://127.0.0.1:{port}"

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    def workers(self) -> list[int]:
        """Their process ids."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.asynccontextmanager
async def running_program(folder: Path, *arguments: str, workers: int, **env: str) -> AsyncIterator[Program]:
    command = [sys.executable, "-m", "mcp_operator_proxy.cli", "serve", "--config-dir", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--host", "127.0.0.1", "--port", "0", "--workers", str(workers), *arguments),
        env={**os.environ, "PYTHONPATH": str(ROOT / "proxy_image"), **env},
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    program = Program(process)
    reading = asyncio.create_task(program.read())
    try:
        async with asyncio.timeout(60):
            while program.serving() < workers:
                assert process.returncode is None, program.lines
                await asyncio.sleep(0.01)
        yield program
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await reading
