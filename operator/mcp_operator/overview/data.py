"""An overview as data, for programs: the shape is documented in docs/cli.md. Pure."""

from typing import Any

from mcp_operator.overview.model import Overview, Tree, View

Data = dict[str, Any]


def as_data(overview: Overview) -> Data:
    """`{ready, resources: […], proxies: [{…, paths: [{path, servers: […]}]}], unserved: […], unattached: […]}`."""
    return {
        "ready": overview.all_ready,
        "resources": [_resource(view) for view in overview.views],
        "proxies": [_tree(tree) for tree in overview.trees],
        "unserved": [_named(view) for view in overview.unserved],
        "unattached": [_named(view) for view in overview.unattached],
    }


def _named(view: View) -> Data:
    return {"namespace": view.key.namespace, "name": view.key.name}


def _resource(view: View) -> Data:
    return {
        "kind": view.key.kind,
        **_named(view),
        "state": view.state,
        "reason": view.reason,
        "message": view.message,
        "conditions": [
            c.model_dump(mode="json", by_alias=True, include={"type", "status", "reason", "message"})
            for c in view.conditions
        ],
    }


def _tree(tree: Tree) -> Data:
    return {
        **_named(tree.proxy),
        "state": tree.proxy.state,
        "url": tree.proxy.cells.get("URL", ""),
        "paths": [
            {
                "path": path,
                "servers": [
                    {**_named(s.server), "prefix": s.prefix, "route": s.route, "state": s.server.state} for s in entries
                ],
            }
            for path, entries in tree.paths.items()
        ],
    }
