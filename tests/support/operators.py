"""`mcp-operator run` as a process of its own, with its log and its endpoints.

async with running_operator(folder, between.url, token, "--lease-namespace", "mcp-system") as operator:
    operator.lines; await operator.ask("/healthz")
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

import aiohttp
import yaml

from support.controlplane import free_ports

ROOT = Path(__file__).parents[2]
END_SECONDS = 30.0
ANSWER_SECONDS = 30.0
"""A machine that does not get to it is no process that is stuck."""


class RunningOperator:
    """The process. `name` is its identity in the election."""

    def __init__(self, name: str, port: int, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.port = port
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def said(self, part: str) -> list[dict[str, Any]]:
        """Log lines whose message holds `part`."""
        return [line for line in self.lines if part in line["message"]]

    async def ask(self, path: str, seconds: float = ANSWER_SECONDS) -> tuple[int, str]:
        """Status and text of one of its endpoints; 0 where it does not answer in time."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with (
                aiohttp.ClientSession(trust_env=False, timeout=timeout) as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, type(error).__name__

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that carry these labels."""
        _, text = await self.ask("/metrics")
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = (line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] == name)
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in wanted))

    async def is_ready(self) -> bool:
        return (await self.ask("/readyz"))[0] == 200

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            try:
                self.lines.append(json.loads(raw))
            except ValueError:
                self.lines.append({"message": raw.decode(errors="replace"), "level": "error", "logger": "(plain)"})


@contextlib.asynccontextmanager
async def running_operator(
    folder: Path, server: str, token: str, *flags: str, name: str = "one"
) -> AsyncIterator[RunningOperator]:
    """Started; ended by SIGTERM (SIGKILL where that does not help) unless it ended before."""
    kubeconfig = folder / f"{name}.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(server, token)))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mcp_operator", "run", "--host", "127.0.0.1", "--port", str(port)]
    plain = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    paths = os.pathsep.join(str(ROOT / part) for part in ("operator", "proxy_image"))
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--identity", name, "--egress-allow", "loopback", *flags),
        env={**plain, "KUBECONFIG": str(kubeconfig), "HOME": str(folder), "PYTHONPATH": paths},
        stderr=asyncio.subprocess.PIPE,
        limit=2**22,
    )
    operator = RunningOperator(name, port, process)
    reading = asyncio.create_task(operator.read())
    try:
        yield operator
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading
        (folder / f"{name}.log").write_text("\n".join(json.dumps(line) for line in operator.lines))


def _kubeconfig(server: str, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": token}}],
    }
