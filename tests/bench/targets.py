"""What is measured: how each target is started over the same backend, and how it is asked."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.procs import READY_SECONDS, Process, free_port, get, module_env, running
from bench.wire import TOOL, Era

KEY: Final = "bench-key-0123456789abcdef"
FAST_LANE_OFF: Final = {"MCP_PROXY_FAST_LANE": "off"}


@dataclass(frozen=True)
class Endpoint:
    """A started target: where and as what to ask it."""

    url: str
    process: Process
    tool: str = TOOL
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """`start` takes the backend's base URL, the front's era, and a folder for logs and settings; raises NotReady, OSError."""

    name: str
    start: Callable[[str, Era, Path], AbstractContextManager[Endpoint]]
    seconds: float = 2.0
    """How long one measurement runs."""
    concurrencies: tuple[int, ...] = (1, 16, 64)
    warm_up: int = 300


def config(servers: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """A proxy's configuration: each server under its own prefix on `/mcp`, an API key needed."""
    return {
        "revision": "bench",
        "servers": [{"id": f"bench/{name}", "url": url, "refreshSeconds": 3600} for name, url in servers.items()],
        "routes": [
            {
                "name": "McpProxy/bench/bench",
                "path": "/mcp",
                "servers": [{"server": f"bench/{name}", "prefix": name} for name in servers],
            }
        ],
        "auth": {"apiKeys": [{"name": "bench", "secret": {"file": "bench-key"}}]},
        **more,
    }


def write_config(folder: Path, content: Mapping[str, Any]) -> None:
    """Put a configuration into the folder that a proxy follows, in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench-key").write_text(KEY)
    (folder / ".config.json").write_text(json.dumps(content))
    (folder / ".config.json").rename(folder / "config.json")


@contextlib.contextmanager
def proxy(
    folder: Path,
    *args: str,
    name: str = "proxy",
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = ("mcp_operator_proxy.cli",),
    under: Sequence[str] = (),
    tools: int = 1,
    seconds: float = READY_SECONDS,
) -> Iterator[tuple[str, Process]]:
    """Our proxy over the configuration in `folder`; yields its base URL, ready.

    `program` is a module and its first arguments, `under` what the interpreter is run by, `seconds` for it to be ready and to show `tools`.
    """
    port = free_port()
    argv = [*under, sys.executable, "-m", *program, "serve", "--config-dir", str(folder)]
    argv += ["--host", "127.0.0.1", "--port", str(port), *args]
    with running(argv, folder.parent / f"{name}.log", module_env(**(env or {}))) as process:
        base = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: get(f"{base}/readyz", seconds=10)[0] == 200, seconds)
        process.wait_until(lambda: _tools(base) >= tools, seconds)
        yield base, process


def _tools(base: str) -> int:
    routes = json.loads(get(f"{base}/status", seconds=10)[1] or b"{}").get("routes", [])
    return sum(len(route["tools"]) for route in routes)


def _ours(name: str, env: Mapping[str, str]) -> Callable[[str, Era, Path], AbstractContextManager[Endpoint]]:
    @contextlib.contextmanager
    def start(base: str, _: Era, folder: Path) -> Iterator[Endpoint]:
        settings = folder / name / "config"
        write_config(settings, config({"a": f"{base}/a/mcp", "b": f"{base}/b/mcp"}))
        with proxy(settings, env=env) as (url, process):
            yield Endpoint(f"{url}/mcp", process, f"a_{TOOL}", {"authorization": f"Bearer {KEY}"})

    return start


_STOCK: Final = """
import sys
from fastmcp.server import create_proxy
urls = sys.argv[2:]
source = urls[0] if len(urls) == 1 else {"mcpServers": {name: {"url": url} for name, url in zip("ab", urls)}}
create_proxy(source).run(
    transport="http", host="127.0.0.1", port=int(sys.argv[1]), log_level="error", show_banner=False,
)
"""


def _stock(servers: int) -> Callable[[str, Era, Path], AbstractContextManager[Endpoint]]:
    @contextlib.contextmanager
    def start(base: str, _: Era, folder: Path) -> Iterator[Endpoint]:
        port = free_port()
        argv = [sys.executable, "-c", _STOCK, str(port), *(f"{base}/{name}/mcp" for name in "ab"[:servers])]
        with running(argv, folder / f"stock-{servers}.log", dict(os.environ)) as process:
            url = f"http://127.0.0.1:{port}/mcp"
            process.wait_until(lambda: get(url)[0] != 0)
            yield Endpoint(url, process, TOOL if servers == 1 else f"a_{TOOL}")

    return start


FAST: Final = Target("fast lane", _ours("fast", {}))
FULL: Final = Target("full path", _ours("full", FAST_LANE_OFF), seconds=2.5, warm_up=100)
STOCK_1: Final = Target("stock create_proxy, 1 server", _stock(1), seconds=3.0, warm_up=4)
STOCK_2: Final = Target("stock create_proxy, 2 servers", _stock(2), seconds=4.0, warm_up=4)


@contextlib.contextmanager
def started(targets: Sequence[Target], base: str, era: Era, folder: Path) -> Iterator[dict[str, Endpoint | Exception]]:
    """All of them at once; in place of one that does not come up, why."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Endpoint | Exception] = {}
        for target in targets:
            try:
                found[target.name] = stack.enter_context(target.start(base, era, folder))
            except Exception as error:  # noqa: BLE001 - it gets a row with this reason
                found[target.name] = error
        yield found
