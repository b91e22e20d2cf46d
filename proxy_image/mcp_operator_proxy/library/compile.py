"""From a `Document` to the `ProxyConfig` and the secrets that the proxy runs on. Pure."""

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.library.document import PLAIN, TYPES, Document, ServerSpec, shown, slug

LOCAL: Final = "local"
"""The server of local tools."""
LOCAL_ID: Final = ".library/local"
"""An id that no server of a config can have."""


@dataclass(frozen=True)
class LocalTools:
    """Where the tools of this process are served."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Options:
    """What does not come from the document."""

    path: str = "/mcp"
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    allowed_origins: tuple[str, ...] = ()
    access_log: bool = False


@dataclass(frozen=True)
class Compiled:
    config: ProxyConfig
    secrets: Mapping[str, str] = field(repr=False)


def server_id(namespace: str, name: str) -> str:
    """The id of a server; local tools have one that no config can claim."""
    return f"{slug(namespace) or 'proxy'}/{slug(name)}"


def compile_document(
    document: Document,
    options: Options,
    *,
    served: Collection[str],
    local: LocalTools | None,
    ca_bundles: Mapping[str, str],
    salt: bytes,
) -> Compiled:
    """The config that serves the servers named in `served`, and the local tools.

    `ca_bundles` are the contents of the files that `caFile` names. `salt` keys the revision, which covers the secrets.
    """
    secrets: dict[str, str] = {}
    servers: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    if local is not None:
        headers = _secret_items(local.headers, "header-local", secrets)
        servers.append({"id": LOCAL_ID, "url": local.url, "transport": "streamable-http", "headers": headers})
        entries.append({"server": LOCAL_ID, "prefix": _free_prefix(document), "naming": PLAIN})
    for name in (n for n in document.servers if n in served):
        spec = document.servers[name]
        servers.append(_server(document, name, spec, secrets, ca_bundles))
        entries.append(_entry(document, name, spec))
    content: dict[str, Any] = {
        "servers": servers,
        "routes": [{"name": "ToolProxy", "path": options.path, "nameBudget": None, "servers": entries}],
        "allowedOrigins": list(options.allowed_origins),
        "accessLog": options.access_log,
    }
    if options.api_keys:
        content["auth"] = {"apiKeys": _api_keys(options.api_keys, secrets)}
    revision = hmac.new(salt, json.dumps([content, secrets]).encode(), hashlib.sha256).hexdigest()[:16]
    return Compiled(ProxyConfig.model_validate({"revision": revision, **content}), secrets)


def _free_prefix(document: Document) -> str:
    """For local tools: one that no server has, as it must differ and shows nowhere."""
    taken = {slug(name) for name in document.servers}
    return next(prefix for n in range(len(taken) + 1) if (prefix := f"{LOCAL}-{n}") not in taken)


def _server(
    document: Document, name: str, spec: ServerSpec, secrets: dict[str, str], ca_bundles: Mapping[str, str]
) -> dict[str, Any]:
    own = slug(name)
    common = {
        "id": server_id(document.namespace, name),
        "connectTimeoutSeconds": spec.connect_timeout_seconds,
        "callTimeoutSeconds": spec.timeout_seconds,
        "refreshSeconds": spec.refresh_seconds,
        "maxConcurrency": spec.max_concurrency,
        "retry": spec.retry.model_dump(by_alias=True),
        "circuitBreaker": spec.circuit_breaker.model_dump(by_alias=True),
        "tools": [
            {
                "name": tool,
                "callTimeoutSeconds": override.timeout_seconds,
                "idempotent": override.idempotent,
                "cacheSeconds": override.cache_seconds,
            }
            for tool, override in spec.tools.overrides.items()
        ],
    }
    if spec.command is not None:
        return {**common, "stdio": _stdio(own, spec, secrets)}
    return {
        **common,
        "url": spec.url,
        "transport": TYPES[spec.type or spec.transport or "auto"],
        "headers": _secret_items(spec.headers, f"header-{own}", secrets),
        "http2": spec.http2,
        "caBundle": ca_bundles.get(spec.ca_file) if spec.ca_file is not None else None,
    }


def _stdio(own: str, spec: ServerSpec, secrets: dict[str, str]) -> dict[str, Any]:
    return {
        "command": spec.command,
        "args": spec.args,
        "env": _secret_items(spec.env, f"env-{own}", secrets),
        "cwd": spec.cwd,
        "isolation": spec.isolation,
        "start": spec.start,
        "idleSeconds": spec.idle_seconds,
        "maxProcesses": spec.max_processes,
        "maxRestarts": spec.max_restarts,
        "pingSeconds": spec.ping_seconds,
    }


def _secret_items(values: Mapping[str, str], stem: str, secrets: dict[str, str]) -> list[dict[str, Any]]:
    """Headers and variables: the value stands among the secrets, the config refers to it."""
    items = []
    for index, (name, value) in enumerate(values.items()):
        file = f"{stem}-{index}"
        secrets[file] = value
        items.append({"name": name, "secret": {"file": file}})
    return items


def _entry(document: Document, name: str, spec: ServerSpec) -> dict[str, Any]:
    template = document.naming
    apart = "{server}" in template or "{prefix}" in template
    naming = template.replace("{namespace}", document.namespace).replace("{server}", shown(name))
    return {
        "server": server_id(document.namespace, name),
        "prefix": slug(name) if apart else "",
        "naming": naming,
        "tools": {
            "include": spec.tools.include,
            "exclude": spec.tools.exclude,
            "overrides": [
                {"name": tool, "rename": override.rename, "description": override.description}
                for tool, override in spec.tools.overrides.items()
                if override.rename is not None or override.description is not None
            ],
        },
    }


def _api_keys(keys: Mapping[str, str], secrets: dict[str, str]) -> list[dict[str, Any]]:
    for index, key in enumerate(keys.values()):
        secrets[f"api-key-{index}"] = key
    return [{"name": name, "secret": {"file": f"api-key-{index}"}} for index, name in enumerate(keys)]
