"""`ToolProxy`: the proxy as a Python object. docs/library.md shows it at work."""

import asyncio
import contextlib
import difflib
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self, Unpack
from urllib.parse import urlsplit

from mcp_types import Tool
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.types import ASGIApp

from mcp_operator_proxy.access import AccessLog
from mcp_operator_proxy.app import App
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.stdio import StdioHost
from mcp_operator_proxy.bridge.stderr import LogLine
from mcp_operator_proxy.library import arguments, mounting
from mcp_operator_proxy.library.calls import Caller
from mcp_operator_proxy.library.checking import check_server
from mcp_operator_proxy.library.compile import LOCAL, LOCAL_ID, Compiled, Options, compile_document, server_id
from mcp_operator_proxy.library.document import PLAIN, Document, ServerSpec, slug
from mcp_operator_proxy.library.errors import ConfigError, NotRunning, Problem, UnknownServer, UnknownTool
from mcp_operator_proxy.library.files import ca_bundles, changes, read
from mcp_operator_proxy.library.handlers import HandlerOptions, Handlers
from mcp_operator_proxy.library.inspect import reload_report, server_status, stats
from mcp_operator_proxy.library.local import LocalServer
from mcp_operator_proxy.library.localtools import WithLocalTools
from mcp_operator_proxy.library.lookup import all_answered, shown_as
from mcp_operator_proxy.library.parse import parse
from mcp_operator_proxy.library.processes import RESTART_SECONDS, host_of, restart
from mcp_operator_proxy.library.redact import redacted
from mcp_operator_proxy.library.results import (
    ConnectionTest,
    ReloadReport,
    ServerStatus,
    Stats,
    ToolCallResult,
)
from mcp_operator_proxy.library.switches import Switches
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.swap.validate import ConfigRejected, resolve
from mcp_operator_proxy.table import RouteTable
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)
DEFAULT_NAME: Final = "mcp-operator-proxy"
WARM_SECONDS: Final = 1.0
LISTED_SECONDS: Final = 10.0


class ToolProxy(WithLocalTools):
    """One MCP endpoint over many MCP servers and tools of this process, changed while it runs.

    Made from a URL, a config or a file; running between `async with`, or within the lifespan of an application that it
    is mounted into. Everything that changes what it serves tells connected clients by `list_changed`.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        name: str = DEFAULT_NAME,
        path: str = "/mcp",
        api_key: str | Mapping[str, str] | None = None,
        allowed_origins: Sequence[str] = (),
        access_log: Callable[[bytes], None] | None = None,
        warm_seconds: float = WARM_SECONDS,
        environ: Mapping[str, str] | None = None,
        source: str = "config",
        **handlers: Unpack[HandlerOptions],
    ) -> None:
        """`config` is that of desktop clients (`mcpServers`), or `servers` with `proxy`; None serves local tools alone.

        `api_key` is needed of every client over HTTP; several are given by the name of whom they authenticate.
        `access_log` takes JSON lines, one for each request over HTTP; it may block, as a thread calls it.
        `warm_seconds` is how long starting and reloading wait for new servers at most. `environ` is what `${VAR}` is taken from.
        `handlers` answer what servers ask in the middle of a `call_tool`: see `HandlerOptions`.

        Raises:
            ConfigError: with all problems of the config, or of another argument.
        """
        self._handlers = Handlers(**handlers)
        self.name = name
        self.path = path
        self._environ = os.environ if environ is None else environ
        self._raw: Mapping[str, Any] = {"servers": {}} if config is None else config
        self._source = source
        self._document = parse(self._raw, self._environ, source)
        arguments.authenticator(api_key)  # says what is wrong with a key
        origins = arguments.origins(allowed_origins, "allowed_origins")
        keys = {"api-key": api_key} if isinstance(api_key, str) else dict(api_key or {})
        self._options = Options(arguments.endpoint(path), keys, origins, access_log is not None)
        self._bundles = ca_bundles(self._document, source)
        self._switches = Switches(self._document.proxy.enabled)
        self._local = LocalServer()
        self._salt = secrets.token_bytes(16)
        self._lock = asyncio.Lock()
        access = AccessLog(access_log) if access_log is not None else None
        self._proxy = Proxy(warm_seconds=warm_seconds, name=name, access=access)
        self._names = {LOCAL_ID: LOCAL}
        self._caller: Caller | None = None
        self._following: asyncio.Task[None] | None = None
        self._file: Path | None = None
        self._watched = False
        self._entered = 0
        self._started = self._closed = False
        self.problem: ConfigError | None = None
        """Why the newest content of a followed file is not in use."""

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        server: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: str = "auto",
        timeout_seconds: float = 30.0,
        naming: str = PLAIN,
        **options: Any,
    ) -> Self:
        """A proxy for one server, whose tools keep their names unless `naming` says otherwise.

        `server` is its name here (its host's, by default), `transport` is `auto`, `http` or `sse`. The other `options`
        are those of the class. Raises ConfigError.
        """
        with contextlib.suppress(ValueError):
            server = server or slug(urlsplit(url).hostname or "")
        spec = {"url": url, "headers": dict(headers or {}), "transport": transport, "timeoutSeconds": timeout_seconds}
        config = {"servers": {server or "server": spec}, "proxy": {"naming": naming}}
        return cls(config, **options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **options: Any) -> Self:
        """A proxy for a config in memory. Raises ConfigError."""
        return cls(config, **options)

    @classmethod
    def from_file(cls, file: str | Path, /, *, watch: bool = True, **options: Any) -> Self:
        """A proxy for a JSON or YAML file, which is followed while the proxy runs. Raises ConfigError.

        An edit that is wrong is logged and stands in `problem`; what was in use stays.
        """
        path = Path(file)
        made = cls(read(path), source=str(path), **options)
        made._file, made._watched = path, watch
        return made

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        self._entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        if not self._entered:
            await self.close()

    async def start(self) -> None:
        """Begin to serve; done by `async with` and by the lifespan of an application."""
        if self._closed:
            raise NotRunning("the proxy has been closed; make another one")
        if self._started:
            return
        self._started = True
        try:
            await self._proxy.__aenter__()
            async with self._lock:
                await self._apply(self._document)
        except BaseException:
            await self.close()
            raise
        if self._file is not None and self._watched:
            self._following = asyncio.get_running_loop().create_task(self._follow(self._file), name="config file")

    async def close(self) -> None:
        """End all sessions, connections and processes."""
        if self._closed or not self._started:
            self._closed = True
            return
        self._closed = True
        if self._following is not None:
            await cancel([self._following])
        if self._caller is not None:
            await self._caller.close()
        await self._proxy.close()
        await self._local.stop()

    def _running(self) -> None:
        if not self._started or self._closed:
            raise NotRunning("the proxy does not run: use it inside `async with`, or of an application's lifespan")

    # HTTP

    def app(self, *, cors_origins: Sequence[str] = (), api_key: str | Mapping[str, str] | None = None) -> ASGIApp:
        """The proxy as an ASGI application, with the endpoint at `path` and its SSE front beside it.

        Mount it anywhere, or serve it: its lifespan starts and closes the proxy. Browsers may call it from
        `cors_origins`; `api_key` is needed here beside what the class was given. Raises ConfigError.
        """
        keys = arguments.authenticator(api_key)
        cors_origins = arguments.origins(cors_origins, "cors_origins")
        return mounting.embedded(App(self._proxy), self._held, keys=keys, cors_origins=cors_origins)

    def mount(
        self,
        app: Starlette,
        path: str,
        *,
        cors_origins: Sequence[str] = (),
        api_key: str | Mapping[str, str] | None = None,
    ) -> None:
        """Mount into a FastAPI or Starlette application: at `/tools` the endpoint is `/tools/mcp`.

        The proxy starts and ends with the application's lifespan. Raises ConfigError.
        """
        mounting.mount(app, path, self.app(cors_origins=cors_origins, api_key=api_key), self._held)

    def _held(self) -> "ToolProxy":
        return self

    @property
    def proxy(self) -> Proxy:
        """What runs beneath: for the fronts of this package."""
        return self._proxy

    # Local tools

    def _local_changed(self) -> None:
        backend = self._local_backend()
        if backend is not None:
            backend.nudge()

    def _local_backend(self) -> Backend | None:
        state = self._proxy.state
        return state.backends.get(LOCAL_ID) if state is not None else None

    async def refresh(self) -> None:
        """Wait until the lists show the local tools as they are now."""
        self._running()
        if self._local_backend() is None:
            if not self._local.names:
                return
            async with self._lock:
                await self._apply(self._document)
        backend = self._local_backend()
        wanted = await self._local.descriptions()
        async with asyncio.timeout(LISTED_SECONDS):
            while backend is not None and not _lists(backend, wanted):
                backend.nudge()
                await asyncio.sleep(0.01)

    # Changes

    async def reload(self, config: Mapping[str, Any] | str | Path | None = None) -> ReloadReport:
        """Take another config into use: a mapping, a file, or with None the file that the proxy was made from.

        All of it is checked first. Only servers that were added, removed or changed are touched; calls in flight end
        on the server that they began on.

        Raises:
            ConfigError: with all problems; what was in use stays.
        """
        self._running()
        content, source = await self._content(config)
        document = parse(content, self._environ, source)
        bundles = await asyncio.to_thread(ca_bundles, document, source)
        async with self._lock:
            served, before = self._fingerprints(self._document), (self._bundles, self._switches)
            self._bundles, self._switches = bundles, self._switches.after(self._document, document)
            try:
                await self._apply(document, source)
            except BaseException:
                self._bundles, self._switches = before
                raise
            self._raw, self._document, self._source, self.problem = content, document, source, None
            status = self._proxy.status()
            return reload_report(
                served, self._fingerprints(document), status.conflicts, self._names, status.revision or ""
            )

    async def _content(self, config: Mapping[str, Any] | str | Path | None) -> tuple[Mapping[str, Any], str]:
        """What to reload, and the name of where it came from."""
        if isinstance(config, Mapping):
            return config, "config"
        path = self._file if config is None else Path(config)
        if path is None:
            raise ConfigError([Problem("", "there is no file to read again; give reload a config")], self._source)
        return await asyncio.to_thread(read, path), str(path)

    async def add_server(self, name: str, spec: Mapping[str, Any]) -> ReloadReport:
        """Add a server to the config in use, or replace the one of that name. Raises ConfigError."""
        return await self._reload_servers({**self._raw_servers(), name: spec})

    async def remove_server(self, name: str) -> ReloadReport:
        """Take a server out of the config in use. Raises UnknownServer."""
        self._spec(name)
        return await self._reload_servers({k: v for k, v in self._raw_servers().items() if k != name})

    def _raw_servers(self) -> Mapping[str, Any]:
        servers: Mapping[str, Any] = self._raw.get("mcpServers", self._raw.get("servers", {}))
        return servers

    async def _reload_servers(self, servers: Mapping[str, Any]) -> ReloadReport:
        return await self.reload({**self._raw, "mcpServers" if "mcpServers" in self._raw else "servers": servers})

    async def enable(self, server: str | None = None) -> None:
        """Switch proxying on, all of it or of one server. Raises UnknownServer."""
        await self._switch(server, on=True)

    async def disable(self, server: str | None = None) -> None:
        """Switch proxying off, all of it or of one server: its tools go, its connections and processes end."""
        await self._switch(server, on=False)

    async def _switch(self, server: str | None, *, on: bool) -> None:
        self._running()
        async with self._lock:
            if server is not None:
                self._spec(server)
            before, self._switches = self._switches, self._switches.switched(server, on=on)
            try:
                await self._apply(self._document)
            except BaseException:
                self._switches = before
                raise

    @property
    def enabled(self) -> bool:
        """Whether servers are proxied at all."""
        return self._switches.proxying

    async def _apply(self, document: Document, source: str | None = None) -> None:
        try:
            compiled = await self._compile(document)
            await self._proxy.apply(compiled.config, compiled.secrets)
        except ConfigRejected as error:
            raise ConfigError([Problem("", str(error))], source or self._source) from None
        except ValidationError as error:  # its own text holds what was written
            problems = [Problem("", detail["msg"]) for detail in error.errors(include_url=False, include_input=False)]
            raise ConfigError(problems, source or self._source) from None

    async def _compile(self, document: Document) -> Compiled:
        local = await self._local.start() if self._local.names or self._local.started else None
        for name in document.servers:
            self._names[server_id(document.namespace, name)] = name
        return compile_document(
            document,
            self._options,
            served=self._switches.served(document),
            local=local,
            ca_bundles=self._bundles,
            salt=self._salt,
        )

    def _fingerprints(self, document: Document) -> dict[str, object]:
        """All that decides how a server is reached and shown, of each one that is served."""
        return {
            name: (spec, document.naming, document.namespace, self._bundles.get(spec.ca_file or ""))
            for name, spec in document.servers.items()
            if self._switches.is_on(document, name)
        }

    async def _follow(self, path: Path) -> None:
        async for _ in changes(path):
            try:
                report = await self.reload(path)
            except ConfigError as error:
                if self.problem is None or str(self.problem) != str(error):
                    logger.error("the config is not used:\n%s", error)  # noqa: TRY400 - the message is the whole of it
                self.problem = error
            except Exception:
                logger.exception("the config is not used")  # and the next edit is looked at all the same
            else:
                logger.info(
                    "config in use",
                    extra={"added": report.added, "removed": report.removed, "changed": report.changed},
                )

    # Calls

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **handlers: Unpack[HandlerOptions],
    ) -> ToolCallResult:
        """Call a tool by the name that clients see, or by `namespace.server.tool` with the server's own name of it.

        `timeout` in seconds is beside that of the server, and stands still while a handler is at work. `handlers` go
        before those of the class. A tool that is not known is waited for while servers are starting.

        Raises:
            UnknownTool: nothing of that name is shown.
            ToolFailed: the tool ran and failed.
            CallTimeout: no answer in time.
            ServerDown: the server cannot be reached.
            CallRefused: the server answered with a JSON-RPC error, or asks what there is no handler for.
        """
        self._running()
        of_call = Handlers(**handlers)
        await self._settled()
        shown = self._find(name)
        if shown is None and await all_answered(self._proxy, timeout or LISTED_SECONDS):
            shown = self._find(name)
        table = self._table()
        if shown is None:
            close = difflib.get_close_matches(name, table.tools, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UnknownTool(name, f"there is no such tool{hint}{self._not_listed()}")
        if self._caller is None:
            endpoint = self._proxy.endpoints[self.path]
            self._caller = Caller(endpoint.mcp._mcp_server, endpoint.channels, self._handlers)  # noqa: SLF001
        server = self._names.get(table.tools[shown].server, "")
        return await self._caller.call(shown, arguments or {}, server=server, seconds=timeout, handlers=of_call)

    def _not_listed(self) -> str:
        """Of servers that may have the tool, why nobody knows."""
        unknown = [s for s in self.servers() if s.error is not None and not s.initialized]
        return "".join(f"; server {s.name} has not told its tools: {s.error.message}" for s in unknown if s.error)

    def _find(self, name: str) -> str | None:
        return shown_as(self._table(), name, self._document.namespace, self._names)

    async def _settled(self) -> None:
        backend = self._local_backend()
        listed = {str(tool["name"]) for tool in backend.catalogue.tools} if backend is not None else set()
        if listed != self._local.names:
            await self.refresh()

    def _table(self) -> RouteTable:
        state = self._proxy.state
        found = state.table.get(self.path) if state is not None else None
        return found or RouteTable(name="", path=self.path)

    async def list_tools(self) -> list[Tool]:
        """What clients see."""
        self._running()
        await self._settled()
        return [Tool.model_validate(entry.definition) for entry in self._table().tools.values()]

    # Reports

    def servers(self) -> list[ServerStatus]:
        """All servers of the config, in its order."""
        reports = {report.id: report for report in self._proxy.status().servers}
        table, document = self._table(), self._document
        return [
            server_status(
                name,
                spec,
                reports.get(server_id(document.namespace, name)),
                table,
                enabled=self._switches.is_on(document, name),
            )
            for name, spec in document.servers.items()
        ]

    def status(self, server: str) -> ServerStatus:
        """One server. Raises UnknownServer."""
        self._spec(server)
        return next(status for status in self.servers() if status.name == server)

    def _spec(self, server: str) -> ServerSpec:
        spec = self._document.servers.get(server)
        if spec is None:
            known = ", ".join(self._document.servers) or "none"
            raise UnknownServer(f"there is no server {server}; known: {known}")
        return spec

    def stats(self) -> Stats:
        """Calls, errors and times of each server and tool, by whatever way the calls came."""
        self._proxy.usage.settle()
        return stats(self._proxy.usage.tools, self._names)

    def config(self) -> dict[str, Any]:
        """The config in use as it was written, without credentials."""
        return redacted(self._raw)

    def logs(self, server: str, lines: int = 100) -> list[LogLine]:
        """The newest lines that a stdio server wrote to standard error, oldest first, without its secrets.

        At most 1,000 lines and 256 KiB are kept, also over restarts. Raises UnknownServer, NoProcess.
        """
        return self._host(server).logs(lines)

    async def restart(self, server: str, *, timeout: float = RESTART_SECONDS) -> ServerStatus:  # noqa: ASYNC109
        """End the processes of a stdio server, whose calls in flight fail, and start anew; it lifts a crash loop.

        Returns when the new process serves or has failed to start, at most after `timeout` seconds; the answer's
        `process` says which. Raises UnknownServer, NoProcess.
        """
        await restart(self._host(server), timeout)
        return self.status(server)

    def _host(self, server: str) -> StdioHost:
        self._running()
        self._spec(server)
        state = self._proxy.state
        backends = state.backends if state is not None else {}
        return host_of(server, backends.get(server_id(self._document.namespace, server)))

    async def test_connection(
        self,
        server: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        attempts: int | None = None,
    ) -> ConnectionTest:
        """Connect to a server anew, also to one that is switched off.

        An attempt takes at most `timeout` seconds (5, or its `connectTimeoutSeconds`); there are up to `attempts` (3, or
        its `retry`), with pauses that double, where a further one may help. Raises UnknownServer.
        """
        self._spec(server)
        one = replace(self._document, servers={server: self._document.servers[server]})
        compiled = compile_document(
            one, self._options, served={server}, local=None, ca_bundles=self._bundles, salt=self._salt
        )
        (resolved,) = resolve(compiled.config, compiled.secrets).values()
        return await check_server(server, resolved, seconds=timeout, attempts=attempts)


def _lists(backend: Backend, wanted: Mapping[str, tuple[str | None, Mapping[str, Any]]]) -> bool:
    listed = {str(t["name"]): (t.get("description"), t.get("inputSchema")) for t in backend.catalogue.tools}
    return listed == dict(wanted)
