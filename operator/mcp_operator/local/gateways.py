"""One proxy process for each McpProxy, with its port and its configuration folder."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakSet

import httpx2

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.compile.proxy import to_json
from mcp_operator.engine.keys import Key
from mcp_operator.local.folder import ConfigFolder
from mcp_operator.local.launch import PYTHON, Launch
from mcp_operator.local.process import Standing, Supervised, base_url, free_port
from mcp_operator_proxy.config import UI_PATH, Inspector, ProxyConfig, within
from mcp_operator_proxy.guard import is_loopback
from mcp_operator_proxy.tasks import spawn

MAX_PORT: Final = 65535
LOCAL: Final = ("localhost", "*.localhost", "127.0.0.1", "::1", "*.internal")
"""Names of this machine, the last of them in containers: no page elsewhere can have one."""


@dataclass(slots=True)
class _Gateway:
    port: int
    folder: ConfigFolder
    written: tuple[str, Mapping[str, bytes]] | None = None
    process: Supervised | None = None


class Gateways:
    """The first proxy gets the port `first_port`, the others those after it, and each keeps its own (0: any free ones)."""

    def __init__(
        self,
        *,
        host: str,
        first_port: int,
        folder: Path,
        environment: Mapping[str, str],
        http: httpx2.AsyncClient,
        on_change: Callable[[], None],
        log_of: Callable[[str], Path | None],
        inspected: Callable[[str], None] | None = None,
    ) -> None:
        self.host = host
        self._first_port = first_port
        self._folder = folder
        self._environment = environment
        self._http = http
        self._on_change = on_change
        self._log_of = log_of
        self._inspected = inspected
        """Is told where the inspector of each is; None: there is one only where the manifest says so."""
        self.has_inspector = inspected is not None
        self._gateways: dict[Key, _Gateway] = {}
        self._processes: WeakSet[Supervised] = WeakSet()
        self._ending: set[asyncio.Task[None]] = set()

    def ports(self) -> set[int]:
        """The ports that belong to proxies."""
        return {gateway.port for gateway in self._gateways.values()}

    def admit(self, keys: Collection[Key]) -> None:
        """Give a port to every proxy that has none, in order of their names, and end those that are no longer declared."""
        for key in self._gateways.keys() - set(keys):
            self._end(self._gateways.pop(key))
        for key in sorted(keys):
            if key not in self._gateways:
                folder = ConfigFolder(self._folder / f"{key.namespace}.{key.name}.{len(list(self._folder.glob('*')))}")
                self._gateways[key] = _Gateway(self._next_port(), folder)
                if self._inspected is not None:
                    self._inspected(f"{key.name}: the inspector is at {self.base_url(key)}{UI_PATH}")

    def serve(self, key: Key, proxy: McpProxy, compiled: Compiled) -> None:
        """Have `compiled` served, by a process that is there already where there is one."""
        gateway = self._gateways[key]
        config = named(compiled.config if self._inspected is None else inspected(compiled.config), self.host)
        content = to_json(config), dict(compiled.secrets)
        if gateway.written != content:
            gateway.folder.write(*content)
            gateway.written = content
        launch = self._launch(gateway, proxy)
        if gateway.process is not None and gateway.process.launch == launch:
            return
        old, gateway.process = gateway.process, self._process(key, gateway, launch)
        if old is None:
            gateway.process.start()
        else:
            spawn(self._succeed(old, gateway.process), self._ending)

    def pause(self, key: Key) -> None:
        """Serve nothing: `spec.replicas` is 0."""
        gateway = self._gateways[key]
        if gateway.process is not None:
            spawn(gateway.process.stop(), self._ending)
            gateway.process = None

    def base_url(self, key: Key) -> str:
        """`http://HOST:PORT` under which the proxy is, or would be, reached."""
        return base_url(self.host, self._gateways[key].port)

    def standing(self, key: Key) -> Standing | None:
        """How its process stands; None where there is none."""
        process = self._gateways[key].process
        return process.standing if process else None

    def was_ready(self, key: Key) -> bool:
        """Whether its process has listened yet."""
        process = self._gateways[key].process
        return process is not None and process.was_ready

    async def aclose(self) -> None:
        """End every proxy in order."""
        self.admit(())
        while self._ending:
            await asyncio.wait(self._ending)

    def kill(self) -> None:
        """End every proxy now."""
        for process in self._processes:
            process.kill()

    def _next_port(self) -> int:
        if self._first_port == 0:
            return free_port(self.host)
        taken = self.ports()
        return next((port for port in range(self._first_port, MAX_PORT + 1) if port not in taken), free_port(self.host))

    def _launch(self, gateway: _Gateway, proxy: McpProxy) -> Launch:
        return Launch(
            program=(*PYTHON, "-m", "mcp_operator_proxy.cli", "serve"),
            arguments=(
                *("--config-dir", str(gateway.folder.path), "--host", self.host),
                *("--log-level", proxy.spec.log_level, "--log-format", "text"),
            ),
            environment=self._environment,
            path="",
            port=gateway.port,
            ready_path="/healthz",
            port_option="--port",
        )

    def _process(self, key: Key, gateway: _Gateway, launch: Launch) -> Supervised:
        process = Supervised(
            key.name,
            launch,
            gateway.port,
            log=self._log_of(f"proxy.{key.namespace}.{key.name}.log"),
            http=self._http,
            on_change=self._on_change,
            host=self.host,
            own_words=True,
        )
        self._processes.add(process)
        return process

    async def _succeed(self, old: Supervised, new: Supervised) -> None:
        await old.stop()
        new.start()

    def _end(self, gateway: _Gateway) -> None:
        spawn(self._wind_up(gateway), self._ending)

    async def _wind_up(self, gateway: _Gateway) -> None:
        if gateway.process is not None:
            await gateway.process.stop()
        gateway.folder.remove()


def inspected(config: ProxyConfig) -> ProxyConfig:
    """With an inspector, where nothing else has its place. The revision stays, as it names what the manifests say."""
    beneath = [route.path for route in config.routes] + ([config.rest.prefix] if config.rest is not None else [])
    if config.inspector is not None or any(within(path, UI_PATH) for path in beneath):
        return config
    return config.model_copy(update={"inspector": Inspector()})


def named(config: ProxyConfig, host: str) -> ProxyConfig:
    """On loopback: answered under names of this machine alone, unless the manifest says which. A browser reads from other names, too,
    when they are made to lead here (DNS rebinding), and there may be no login."""
    if config.allowed_hosts or not is_loopback(host):
        return config
    public = config.public_url.host if config.public_url is not None else None
    return config.model_copy(update={"allowed_hosts": (*LOCAL, host, *([public] if public else ()))})
