"""One proxy's resources compiled to its `ProxyConfig` and the secret files beside it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import AnyHttpUrl

from mcp_operator.api.common import seconds
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.references import DataObjects, Resolved, resolve
from mcp_operator.compile.selection import Entry, Selection, select
from mcp_operator.compile.servers import unsupported
from mcp_operator_proxy import config

UrlOf = Callable[[McpServer], str | None]
"""Where a proxy reaches a server; None while that is not known."""

REVISION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a proxy shall serve, and what was left out of it and why.

    `secrets` maps file names to values. `left_out` maps ids of servers to the reason; `route_problems` has an entry
    for every route that is attached; `route_paths` and `route_servers` say what each route brought, `route_left_out`
    what of it was left out.
    """

    config: config.ProxyConfig
    secrets: Mapping[str, bytes] = field(repr=False)
    left_out: Mapping[str, Problem]
    route_problems: Mapping[str, tuple[Problem, ...]]
    route_paths: Mapping[str, str]
    route_servers: Mapping[str, tuple[str, ...]]
    route_left_out: Mapping[str, Mapping[str, Problem]]
    proxy_problems: tuple[Problem, ...]


def compile_proxy(
    proxy: McpProxy,
    *,
    routes: Iterable[McpRoute],
    servers: Iterable[McpServer],
    objects: DataObjects,
    url_of: UrlOf,
) -> Compiled:
    """Compile what `proxy` serves. Only resources of its own namespace take part.

    A server that is refused, refers to something missing or has no URL yet is left out, alone.
    """
    routes = list(routes)
    selection = select(proxy, routes, servers)
    chosen: dict[str, config.Server] = {}
    secrets: dict[str, bytes] = {}
    left_out: dict[str, Problem] = {}
    for server in {entry.server.id: entry.server for entry in selection.entries}.values():
        resolved = resolve(server, objects)
        url = url_of(server)
        if problem := _why_not(server, resolved, url):
            left_out[server.id] = problem
        elif url is not None:
            chosen[server.id] = _server(server, url, resolved)
            secrets.update(resolved.secrets)
    entries = [entry for entry in selection.entries if entry.server.id in chosen]
    body = config.ProxyConfig(
        revision="0",
        servers=tuple(chosen[key] for key in sorted(chosen)),
        routes=_routes(proxy, selection, entries),
        allowed_hosts=proxy.spec.allowed_hosts,
        allowed_origins=proxy.spec.allowed_origins,
    )
    return Compiled(
        config=body.model_copy(update={"revision": revision(body)}),
        secrets=secrets,
        left_out=left_out,
        route_problems={key: tuple(problems) for key, problems in selection.route_problems.items()},
        route_paths={r.id: r.spec.path or proxy.spec.path for r in routes if r.id in selection.route_problems},
        route_servers={key: tuple(e.server.id for e in entries if e.source == key) for key in selection.route_problems},
        route_left_out={
            key: {
                e.server.id: left_out[e.server.id]
                for e in selection.entries
                if e.source == key and e.server.id in left_out
            }
            for key in selection.route_problems
        },
        proxy_problems=tuple(selection.proxy_problems),
    )


def revision(body: config.ProxyConfig) -> str:
    """Name of a config's content: the start of its sha256, its own revision left aside."""
    return hashlib.sha256(to_json(body.model_copy(update={"revision": "0"})).encode()).hexdigest()[:REVISION_LENGTH]


def to_json(body: config.ProxyConfig) -> str:
    """`config.json`: keys sorted, defaults left out, so that equal configs are equal bytes."""
    dumped = body.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"version": body.version}
    return json.dumps(dumped, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _why_not(server: McpServer, resolved: Resolved, url: str | None) -> Problem | None:
    if problem := unsupported(server):
        return problem
    if resolved.problems:
        return resolved.problems[0]
    if url is None:
        return Problem("ServerInvalid", f"McpServer {server.id} has no address yet")
    return None


def _server(server: McpServer, url: str, resolved: Resolved) -> config.Server:
    spec = server.spec
    endpoint = spec.remote or spec.container
    return config.Server(
        id=server.id,
        url=AnyHttpUrl(url),
        transport=endpoint.transport if endpoint else "streamable-http",
        headers=resolved.headers,
        ca_bundle=resolved.ca_bundle,
        connect_timeout_seconds=seconds(spec.timeouts.connect),
        call_timeout_seconds=seconds(spec.timeouts.call),
        refresh_seconds=seconds(spec.health.interval),
    )


def _routes(proxy: McpProxy, selection: Selection, entries: list[Entry]) -> tuple[config.Route, ...]:
    sources: dict[str, str] = {}
    for entry in selection.entries:
        if entry.source:
            sources.setdefault(entry.path, f"McpRoute/{entry.source}")
    paths = sorted({proxy.spec.path, *(entry.path for entry in selection.entries)})
    return tuple(
        config.Route(
            name=sources.get(path, f"McpProxy/{proxy.id}") if path != proxy.spec.path else f"McpProxy/{proxy.id}",
            path=path,
            naming=proxy.spec.naming.template,
            servers=tuple(_route_server(entry) for entry in entries if entry.path == path),
        )
        for path in paths
    )


def _route_server(entry: Entry) -> config.RouteServer:
    rules = entry.tools
    return config.RouteServer(
        server=entry.server.id,
        prefix=entry.prefix,
        tools=config.ToolFilter(
            include=rules.include,
            exclude=rules.exclude,
            overrides=tuple(
                config.Override(name=o.name, rename=o.rename, description=o.description) for o in rules.overrides
            ),
        ),
    )
