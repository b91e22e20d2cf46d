"""One proxy's resources compiled to its `ProxyConfig` and the secret files beside it."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, ValidationError

from mcp_operator.api.common import seconds
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer, describe
from mcp_operator.api.server import ServerSpec
from mcp_operator.compile.access import with_canaries
from mcp_operator.compile.claims import Claim
from mcp_operator.compile.credentials import unfit
from mcp_operator.compile.gateway import Place, gateway, is_of_rest, outward, unshared
from mcp_operator.compile.lookup import DataObjects
from mcp_operator.compile.pins import pinned
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.references import Resolved, resolve
from mcp_operator.compile.selection import Entry, Selection, attached_routes, select
from mcp_operator.compile.servers import category, logs_elsewhere, unsupported
from mcp_operator.compile.tls import certificate
from mcp_operator_proxy import config

UrlOf = Callable[[McpServer], str | None]
"""Where a proxy reaches a server; None while that is not known."""

REVISION_LENGTH = 12
SESSION_KEY_FILE = "session-key"
"""Secret file with the key of session ids. It is made once and never renewed, so it carries no version in its name."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a proxy shall serve, and what was left out of it and why.

    `secrets` maps file names to values. `left_out` maps ids of servers to the reason; `route_problems` has an entry
    for every route that is attached; `route_paths` and `route_servers` say what each route brought, `route_left_out`
    what of it was left out, and `route_generations` which version of each was looked at. `claims` are the conflicts.
    """

    config: config.ProxyConfig
    secrets: Mapping[str, bytes] = field(repr=False)
    left_out: Mapping[str, Problem]
    route_problems: Mapping[str, tuple[Problem, ...]]
    route_generations: Mapping[str, int]
    route_paths: Mapping[str, str]
    route_servers: Mapping[str, tuple[str, ...]]
    route_left_out: Mapping[str, Mapping[str, Problem]]
    proxy_problems: tuple[Problem, ...]
    claims: tuple[Claim, ...] = ()
    held: Problem | None = None
    """Why nothing of this is to be given to the proxy, if so: it keeps the configuration that it has."""
    kept: Problem | None = None
    """What of this is as the proxy has it already, and why, if so."""
    places: tuple[Place, ...] = ()
    """Where its services take the proxy beside its servers; no host: anywhere."""
    unshared: tuple[str, ...] = ()
    """What several processes of the proxy would have to share, and do not."""

    def source(self, path: str, server: str) -> str | None:
        """Id of the route that brings the server to the path; None: the proxy's own selector."""
        routes = (route for route, served in self.route_paths.items() if served == path)
        return next((route for route in routes if server in self.route_servers[route]), None)


def compile_proxy(
    proxy: McpProxy,
    *,
    routes: Iterable[McpRoute],
    servers: Iterable[McpServer],
    objects: DataObjects,
    url_of: UrlOf,
    session_key: bytes | None = None,
    namespace_labels: Mapping[str, str] | None = None,
    operator_key: bytes | None = None,
    logs_elsewhere: Callable[[McpServer], str] = logs_elsewhere,
    inspected: bool = False,
) -> Compiled:
    """Compile what `proxy` serves: routes of its own namespace, and servers of it or of others that allow it.

    `namespace_labels` are those of that namespace, which consents may ask for; None where they can't be read.

    `session_key` signs session ids, so that all replicas know them; None where there is one process, which makes its own.
    `operator_key` is the operator's own API key, for a proxy that authenticates its callers. `logs_elsewhere` says where the
    standard error of a server is read beside the proxy. `inspected`: it will have an inspector whatever its spec says.

    A server that is refused, refers to something missing or has no URL yet is left out, alone.
    """
    routes = list(routes)
    selection = select(proxy, routes, servers, namespace_labels=namespace_labels)
    around = gateway(proxy, objects, operator_key)
    entries = list(_beside_services(proxy, around.settings, selection))
    chosen: dict[str, config.Server] = {}
    secrets: dict[str, bytes] = {} if session_key is None else {SESSION_KEY_FILE: session_key}
    shown = certificate(proxy, objects)
    secrets.update(shown.secrets)
    secrets.update(around.secrets)
    known = {provider.name for provider in around.settings["providers"]}
    left_out: dict[str, Problem] = {}
    for server in {entry.server.id: entry.server for entry in entries}.values():
        resolved = resolve(server, objects)
        outcome = unfit(server, proxy, known) or _server(server, url_of(server), resolved)
        if isinstance(outcome, Problem):
            left_out[server.id] = outcome
        else:
            chosen[server.id] = outcome
            secrets.update(resolved.secrets)
            if (inspected or shows_logs(proxy)) and not server.spec.remote:
                logs, keys = _logs(resolved, logs_elsewhere(server))
                chosen[server.id] = outcome.model_copy(update={"logs": logs})
                secrets.update(keys)
    settings = dict(around.settings)
    if "auth" in settings:
        settings["auth"] = with_canaries(settings["auth"], _canaries(entries, chosen))
    body = config.ProxyConfig(
        revision="0",
        servers=tuple(chosen[key] for key in sorted(chosen)),
        routes=_routes(proxy, entries, chosen, _found(proxy, attached_routes(proxy, routes))),
        sessions=_sessions(proxy, session_key),
        tls=shown.tls,
        access_log=proxy.spec.access_log,
        allowed_hosts=_allowed_hosts(proxy),
        allowed_origins=_allowed_origins(proxy, has_page="inspector" in around.settings),
        public_url=None if proxy.spec.public_url is None else AnyHttpUrl(proxy.spec.public_url),
        **settings,
    )
    attached = [route for route in routes if route.id in selection.route_problems]
    brought = _ids_by_source(entries)
    return Compiled(
        config=body.model_copy(update={"revision": revision(body)}),
        secrets=secrets,
        left_out=left_out,
        route_problems={key: tuple(problems) for key, problems in selection.route_problems.items()},
        route_generations={route.id: route.metadata.generation for route in attached},
        route_paths={route.id: route.spec.path or proxy.spec.path for route in attached},
        route_servers={route.id: tuple(id_ for id_ in brought[route.id] if id_ in chosen) for route in attached},
        route_left_out={
            route.id: {id_: left_out[id_] for id_ in brought[route.id] if id_ in left_out} for route in attached
        },
        proxy_problems=(*shown.problems, *around.problems, *selection.proxy_problems),
        claims=tuple(selection.claims),
        held=around.held,
        places=tuple(sorted({*around.places, *outward(body)})),
        unshared=unshared(body, is_file=around.is_file),
    )


def _ids_by_source(entries: Iterable[Entry]) -> defaultdict[str | None, list[str]]:
    """Ids of the servers that each route brings, in the order of their claim; those of the proxy's selector under None."""
    brought: defaultdict[str | None, list[str]] = defaultdict(list)
    for entry in entries:
        brought[entry.source].append(entry.server.id)
    return brought


def revision(body: config.ProxyConfig) -> str:
    """Name of a config's content: the start of its sha256, its own revision left aside."""
    return hashlib.sha256(to_json(body.model_copy(update={"revision": "0"})).encode()).hexdigest()[:REVISION_LENGTH]


def to_json(body: config.ProxyConfig) -> str:
    """`config.json`: keys sorted, defaults left out, so that equal configs are equal bytes."""
    dumped = body.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"version": body.version}
    return json.dumps(dumped, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _server(server: McpServer, url: str | None, resolved: Resolved) -> config.Server | Problem:
    """The server as the proxy will read it, or why it is left out: what the proxy refuses, it refuses with all the rest."""
    if problem := unsupported(server):
        return problem
    if resolved.problems:
        return resolved.problems[0]
    if server.spec.isolation == "user" and resolved.identity is None:
        return Problem("ServerInvalid", f"McpServer {server.id} has no key yet with which callers are vouched for")
    if url is None:
        return Problem("ServerInvalid", f"McpServer {server.id} has no address yet")
    spec = server.spec
    endpoint = spec.remote or spec.container
    try:
        return config.Server.model_validate(
            {
                "id": server.id,
                "url": str(AnyHttpUrl(url)),
                "transport": endpoint.transport if endpoint else "streamable-http",
                "headers": resolved.headers,
                "identity": resolved.identity,
                "ca_bundle": resolved.ca_bundle,
                "http2": spec.remote is not None and spec.remote.http2,
                "credential": resolved.credential,
                "credential_sealed": spec.stdio is not None and resolved.credential is not None,
                "per_user": spec.per_user,
                "category": category(server),
                **_treatment(spec),
                **pinned(server),
            }
        )
    except ValidationError as error:
        return Problem("InvalidValue", f"McpServer {server.id} can't be served: {describe(error)}")


def shows_logs(proxy: McpProxy) -> bool:
    """Whether operators of the gateway read there what servers wrote: only then it has the keys for that."""
    return proxy.spec.inspector.enabled or proxy.spec.rest is not None


def _logs(resolved: Resolved, elsewhere: str) -> tuple[config.ServerLogs, Mapping[str, bytes]]:
    """How the proxy comes by a server's logs, and the secret file that it needs for it."""
    if resolved.logs_key is None:
        return config.ServerLogs(elsewhere=elsewhere), {}
    ref, key = resolved.logs_key
    return config.ServerLogs(key=ref, elsewhere=elsewhere), {ref.file: key}


def _treatment(spec: ServerSpec) -> dict[str, object]:
    """How the proxy treats the server and its calls: times, limits, and what holds for single tools."""
    return {
        "connect_timeout_seconds": seconds(spec.timeouts.connect),
        "call_timeout_seconds": seconds(spec.timeouts.call),
        "refresh_seconds": seconds(spec.health.interval),
        "retry": config.Retry(attempts=spec.retry.attempts, backoff_seconds=seconds(spec.retry.backoff)),
        "max_concurrency": spec.limits.concurrent_calls,
        "circuit_breaker": config.CircuitBreaker(
            failures=spec.circuit_breaker.failures, open_seconds=seconds(spec.circuit_breaker.open_for)
        ),
        "tools": tuple(
            config.ToolSettings(
                name=tool.name,
                call_timeout_seconds=seconds(tool.timeout) if tool.timeout else None,
                idempotent=tool.idempotent,
                cache_seconds=seconds(tool.cache_for) if tool.cache_for else None,
                category=tool.category,
            )
            for tool in spec.tools
        ),
    }


def _sessions(proxy: McpProxy, session_key: bytes | None) -> config.Sessions:
    return config.Sessions(
        idle_seconds=seconds(proxy.spec.sessions.idle_timeout),
        max_sessions=proxy.spec.sessions.max,
        signing_keys=() if session_key is None else (config.SecretRef(file=SESSION_KEY_FILE),),
    )


def _allowed_hosts(proxy: McpProxy) -> tuple[str, ...]:
    """Hosts that are answered; by what names the proxy is exposed need not be said twice."""
    spec = proxy.spec
    if not spec.allowed_hosts:
        return ()
    own = [spec.ingress.host] if spec.ingress and spec.ingress.host else []
    own += spec.http_route.hostnames if spec.http_route else ()
    return tuple(dict.fromkeys((*spec.allowed_hosts, *own)))


def _allowed_origins(proxy: McpProxy, *, has_page: bool) -> tuple[str, ...]:
    """With the addresses of its own that the proxy is exposed by, where its page calls tools: a foreign page has none of them."""
    spec = proxy.spec
    if not has_page:
        return spec.allowed_origins
    hosts = [spec.ingress.host] if spec.ingress and spec.ingress.host else []
    hosts += spec.http_route.hostnames if spec.http_route else ()
    own = [f"{scheme}://{host}" for host in hosts if "*" not in host for scheme in ("https", "http")]
    if spec.public_url is not None:
        url = urlsplit(str(spec.public_url))
        own.append(f"{url.scheme}://{url.netloc}")
    return tuple(dict.fromkeys((*spec.allowed_origins, *own)))


def _beside_services(proxy: McpProxy, settings: Mapping[str, Any], selection: Selection) -> Iterator[Entry]:
    """Entries that do not stand where the REST interface or the inspector does. What does is a problem of its route."""
    rest: config.Rest | None = settings.get("rest")
    for (source, path), entries in groupby(selection.entries, key=lambda entry: (entry.source, entry.path)):
        if rest is not None and is_of_rest(path, rest.prefix):
            why = f"path {path} is one of the REST interface of McpProxy {proxy.id}; take another, or give its spec.rest a prefix"
        elif "inspector" in settings and config.within(path, config.UI_PATH):
            why = (
                f"path {path} is the inspector's of McpProxy {proxy.id}, as all beneath {config.UI_PATH}; take another"
            )
        else:
            yield from entries
            continue
        assert source is not None
        if (problem := Problem("InvalidValue", why)) not in selection.route_problems[source]:
            selection.route_problems[source].append(problem)


def _canaries(entries: Iterable[Entry], chosen: Mapping[str, config.Server]) -> set[str]:
    """Tools that the operator calls, as `NAMESPACE/SERVER/NAME`."""
    servers = [entry.server for entry in entries if entry.server.id in chosen]
    return {f"{server.id}/{server.spec.canary.tool}" for server in servers if server.spec.canary}


def _found(proxy: McpProxy, routes: Iterable[McpRoute]) -> frozenset[str]:
    """Paths whose tools are found rather than listed."""
    own = [proxy.spec.path] if proxy.spec.find_tools else []
    return frozenset([*own, *(route.spec.path or proxy.spec.path for route in routes if route.spec.find_tools)])


def _routes(
    proxy: McpProxy, entries: Iterable[Entry], chosen: Mapping[str, config.Server], found: frozenset[str]
) -> tuple[config.Route, ...]:
    """One route a path, the proxy's own path always among them. It is named after the first that claimed the path."""
    own = f"McpProxy/{proxy.id}"
    names, served = {proxy.spec.path: own}, defaultdict(list)
    for entry in entries:
        names.setdefault(entry.path, f"McpRoute/{entry.source}" if entry.source else own)
        if entry.server.id in chosen:
            served[entry.path].append(_route_server(entry))
    return tuple(
        config.Route(
            name=names[path],
            path=path,
            naming=proxy.spec.naming.template,
            name_budget=_name_budget(proxy),
            page_size=proxy.spec.page_size,
            servers=tuple(served[path]),
            find_tools=path in found,
        )
        for path in sorted(names)
    )


def _name_budget(proxy: McpProxy) -> config.NameBudget:
    naming = proxy.spec.naming
    return config.NameBudget(
        max_length=naming.max_length, too_long="shorten" if naming.too_long == "Shorten" else "refuse"
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
