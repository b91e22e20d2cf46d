"""A configuration whose stores can't be had: what is new of it is given to the proxy all the same, above all who may call. Pure.

Stores are kept as the proxy has them, as it would forget its users without. Where it has none of a kind that is wanted
now, what may rest on them is kept, too, and only the part that says who may call, and how often, is as it shall be.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile.gateway import audit, outward, stores_at, unshared
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.proxy import Compiled, revision, to_json
from mcp_operator_proxy import config
from mcp_operator_proxy.secretfiles import secret_files

ACCESS: Final = ("auth", "authorization", "rate_limits", "limits", "allowed_hosts", "allowed_origins")
"""Fields of a `ProxyConfig` that decide who gets in."""


def with_previous(
    proxy: McpProxy, compiled: Compiled, previous: config.ProxyConfig | None, files: Mapping[str, bytes]
) -> Compiled:
    """What the proxy is to be given, with the reason in `kept` instead of `held`.

    `previous` is the configuration that it has and `files` are its secret files. The same as `compiled` where nothing is held,
    and where the proxy has no configuration yet, or not all of its files: then all stays as it is.
    """
    if compiled.held is None or previous is None:
        return compiled
    wanted, had = proxy.spec.stores, previous.stores
    covered = bool(had.redis or not wanted.redis) and bool(had.database or not wanted.database)
    return (_all_but_stores if covered else _access_alone)(proxy, compiled, compiled.held, previous, files)


def _all_but_stores(
    proxy: McpProxy, compiled: Compiled, why: Problem, previous: config.ProxyConfig, files: Mapping[str, bytes]
) -> Compiled:
    told = audit(proxy.spec.audit) if proxy.spec.audit is not None else None
    if told is not None and told.database and previous.stores.database is None:
        told = previous.audit
    body = compiled.config.model_copy(update={"stores": previous.stores, "audit": told})
    return _given(compiled, body, files, Problem(why.reason, f"spec.stores stay as they were: {why.message}"))


def _access_alone(
    _: McpProxy, compiled: Compiled, why: Problem, previous: config.ProxyConfig, files: Mapping[str, bytes]
) -> Compiled:
    body = previous.model_copy(update={name: getattr(compiled.config, name) for name in ACCESS})
    message = f"only who may call, and how often, is as it shall be; all else of the configuration stays: {why.message}"
    kept = Problem(why.reason, message)
    there = {server.id for server in body.servers}
    absent = {server.id: kept for server in compiled.config.servers if server.id not in there}
    served = {route: tuple(id_ for id_ in ids if id_ in there) for route, ids in compiled.route_servers.items()}
    missing = {
        route: {**compiled.route_left_out[route], **{id_: kept for id_ in ids if id_ in absent}}
        for route, ids in compiled.route_servers.items()
    }
    reduced = replace(compiled, left_out={**compiled.left_out, **absent}, route_servers=served, route_left_out=missing)
    return _given(reduced, body, files, kept)


def _given(compiled: Compiled, body: config.ProxyConfig, files: Mapping[str, bytes], why: Problem) -> Compiled:
    """With exactly the secret files that `body` names; as it was where one of them is gone."""
    known = {**files, **compiled.secrets}
    needed = secret_files(to_json(body).encode())
    if not needed <= known.keys():
        return compiled
    secrets = {file: known[file] for file in sorted(needed)}
    places, is_file = stores_at(body.stores, secrets)
    return replace(
        compiled,
        config=body.model_copy(update={"revision": revision(body)}),
        secrets=secrets,
        held=None,
        kept=why,
        places=tuple(sorted({*places, *outward(body), *compiled.places})),
        unshared=unshared(body, is_file=is_file),
    )
