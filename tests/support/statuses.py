"""Resources in the states that the operator leaves them in: statuses are its own, from `conditions/`.

Each with what GitOps controllers shall make of it: kstatus (Flux, `kubectl wait`-like tools) and Argo CD.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from mcp_operator.api.crd.definitions import PENDING
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer
from mcp_operator.compile import compile_proxy
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.proxy import ProxyObservation, Replica, proxy_status
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.route import Parent, route_status
from mcp_operator.conditions.server import Health, ServerObservation, server_status
from mcp_operator.conditions.verdict import Refusal
from support import models, resources

Body = dict[str, Any]
Kstatus = Literal["Current", "InProgress", "Failed", "Terminating"]
Argo = Literal["Healthy", "Progressing", "Degraded", "Suspended"]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
UP = {
    "metadata": {"generation": 1},
    "spec": {"replicas": 1},
    "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
}
GOOD = Health(healthy=True, server_name="demo", server_version="1", tools=("now",), tools_digest="sha256:0", time=NOW)
BAD = Health(healthy=False, error_class="ConnectionRefused", error="nothing listens there", time=NOW)
REFUSED = Refusal(Reason.APPLY_REFUSED, "exceeded quota: no more of these")
PAUSED = {"annotations": {"mcp-operator.dev/paused": "true"}}


@dataclass(frozen=True)
class Case:
    body: Body
    kstatus: Kstatus
    argo: Argo


def _server(body: Body, seen: ServerObservation, **metadata: Any) -> Body:
    stored = models.stored(body, generation=2, **metadata)
    model = models.server(body, generation=2, **metadata)
    return _with(stored, server_status(model, seen, NOW))


def _with(stored: Body, status: Any) -> Body:
    return {**stored, "status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _servers() -> Mapping[str, Case]:
    hosted, remote = resources.container("near", "image:1"), resources.remote("far", "https://far.example.com/mcp")
    missing = Problem("RefNotFound", "Secret team-a/token is not found; create it with the key header")
    ready = _server(hosted, ServerObservation(deployment=UP, health=GOOD))
    newer = {**ready, "metadata": {**ready["metadata"], "generation": 3}}
    gone = {**ready, "metadata": {**ready["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z"}}
    return {
        "pending": Case(_pending(hosted), "InProgress", "Progressing"),
        "ready": Case(ready, "Current", "Healthy"),
        "outdated": Case(newer, "InProgress", "Progressing"),
        "terminating": Case(gone, "Terminating", "Healthy"),  # Argo CD tells deletion itself, without the script
        "deploying": Case(_server(hosted, ServerObservation()), "InProgress", "Progressing"),
        "not-probed": Case(_server(remote, ServerObservation()), "InProgress", "Progressing"),
        "unhealthy": Case(_server(remote, ServerObservation(health=BAD)), "InProgress", "Degraded"),
        "secret-missing": Case(_server(remote, ServerObservation(unresolved=(missing,))), "InProgress", "Progressing"),
        "refused": Case(_server(hosted, ServerObservation(refused=REFUSED)), "Failed", "Degraded"),
        "paused": Case(
            _server(hosted, ServerObservation(paused=True, deployment=UP, health=GOOD), **PAUSED),
            "InProgress",
            "Suspended",
        ),
    }


def _proxies() -> Mapping[str, Case]:
    body = resources.proxy(selector={})
    server = models.server(resources.remote("far", "https://far.example.com/mcp"))
    header = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "header"}}}
    guarded = models.server(resources.remote("guarded", "https://guarded.example.com/mcp", headers=[header]))

    def made(*servers: McpServer, replica: dict[str, Any] | None = None, **more: Any) -> Body:
        proxy: McpProxy = models.proxy(body, generation=2, **(PAUSED if more.get("paused") else {}))
        compiled = compile_proxy(proxy, routes=[], servers=servers, objects={}, url_of=cluster_url)
        config = compiled.config.model_copy(update={"revision": "0123456789ab"})  # the real one follows every new field
        compiled = replace(compiled, config=config)
        says = {"revision": compiled.config.revision, "servers": {s.id: "" for s in servers}, **(replica or {})}
        given = {
            "compiled": compiled,
            "url": "http://tools-proxy.team-a.svc/mcp",
            "deployment": UP,
            "replicas": [Replica("tools-proxy-a", **says)],
            "health": GOOD,
            **more,
        }
        stored = models.stored(body, generation=2, **(PAUSED if more.get("paused") else {}))
        return _with(stored, proxy_status(proxy, ProxyObservation(**given), NOW))

    rejects = {"revision": None, "rejected": "servers.0.url: no URL"}
    return {
        "pending": Case(_pending(body), "InProgress", "Progressing"),
        "ready": Case(made(server), "Current", "Healthy"),
        "swapping": Case(made(server, replica={"revision": "old"}), "InProgress", "Progressing"),
        "rejected": Case(made(server, replica=rejects), "Failed", "Degraded"),
        "server-left-out": Case(made(server, guarded), "InProgress", "Progressing"),
        "silent": Case(made(server, health=BAD), "InProgress", "Degraded"),
        "paused": Case(made(server, paused=True), "InProgress", "Suspended"),
    }


def _routes() -> Mapping[str, Case]:
    body = resources.route("extra", {"name": "one"})
    model: McpRoute = models.route(body, generation=2)

    def made(parent: Parent | None) -> Body:
        return _with(models.stored(body, generation=2), route_status(model, {"tools": parent}, NOW))

    served = ("team-a/one",)
    return {
        "pending": Case(_pending(body), "InProgress", "Progressing"),
        "ready": Case(made(Parent("/mcp", served)), "Current", "Healthy"),
        "swapping": Case(made(Parent("/mcp", served, waiting="1 of 2 replicas")), "InProgress", "Progressing"),
        "no-proxy": Case(made(None), "InProgress", "Progressing"),
        "no-server": Case(
            made(Parent("/mcp", (), problems=(Problem("ServerNotFound", "McpServer team-a/one is not found"),))),
            "InProgress",
            "Progressing",
        ),
        "conflict": Case(
            made(Parent("/mcp", (), problems=(Problem("PrefixConflict", "prefix 'one' is taken at /mcp"),))),
            "Failed",
            "Degraded",
        ),
    }


def _pending(body: Body) -> Body:
    """As the API server answers to its creation: with the condition that the definition gives."""
    return {**models.stored(body), "status": {"conditions": [PENDING]}}


CASES: Mapping[str, Mapping[str, Case]] = {"McpServer": _servers(), "McpProxy": _proxies(), "McpRoute": _routes()}
"""By kind and name."""
EVERY = [(kind, name) for kind, cases in CASES.items() for name in cases]
