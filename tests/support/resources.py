"""Manifests of the three kinds, as short as tests need them."""

from typing import Any

Body = dict[str, Any]
API_VERSION = "mcp-operator.dev/v1alpha1"
QUICK = {"interval": "1s", "timeout": "3s", "failureThreshold": 2}
"""Health settings under which a test needs not wait for long."""


def _resource(kind: str, name: str, labels: dict[str, str] | None, spec: Body) -> Body:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def remote(
    name: str, url: str, *, labels: dict[str, str] | None = None, headers: list[Body] | None = None, **spec: Any
) -> Body:
    endpoint: Body = {"url": url} | ({"headers": headers} if headers else {})
    return _resource("McpServer", name, labels, {"remote": endpoint, "health": QUICK, **spec})


def container(
    name: str, image: str, *, labels: dict[str, str] | None = None, env: dict[str, str] | None = None, **spec: Any
) -> Body:
    environment = [{"name": key, "value": value} for key, value in (env or {}).items()]
    body = {"image": image, "imagePullPolicy": "IfNotPresent", "env": environment}
    return _resource("McpServer", name, labels, {"container": body, "health": QUICK, **spec})


def stdio(
    name: str,
    command: str,
    *args: str,
    labels: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
    **spec: Any,
) -> Body:
    environment = [{"name": key, "value": value} for key, value in (env or {}).items()]
    body = {"command": command, "args": list(args), "env": environment}
    return _resource("McpServer", name, labels, {"stdio": body, "health": QUICK, **spec})


def proxy(name: str = "tools", *, selector: dict[str, str] | None = None, **spec: Any) -> Body:
    servers = {} if selector is None else {"servers": {"selector": {"matchLabels": selector}}}
    return _resource("McpProxy", name, None, {**servers, **spec})


def route(name: str, *servers: Body, parent: str = "tools", **spec: Any) -> Body:
    return _resource("McpRoute", name, None, {"parentRefs": [{"name": parent}], "servers": list(servers), **spec})
