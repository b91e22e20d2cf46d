"""Metadata and security that every child object shares."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.common import EnvVar, Resources
from mcp_operator.api.pods import EnvFrom, LocalRef
from mcp_operator.api.resources import McpProxy, McpServer

Object = dict[str, Any]

NON_ROOT_ID: Final = 65532
"""User and group of the project's images."""


def labels(owner: McpServer | McpProxy) -> dict[str, str]:
    """Recommended labels (kubernetes.io/docs: Recommended Labels), and ours to select by."""
    server = isinstance(owner, McpServer)
    return {
        meta.LABEL_NAME: "mcp-server" if server else "mcp-proxy",
        meta.LABEL_INSTANCE: owner.metadata.name,
        meta.LABEL_COMPONENT: "server" if server else "proxy",
        meta.LABEL_MANAGED_BY: meta.MANAGED_BY,
        meta.LABEL_SERVER if server else meta.LABEL_PROXY: owner.metadata.name,
    }


def selector(owner: McpServer | McpProxy) -> dict[str, str]:
    """The labels that never change: what a Service and a Deployment select pods by."""
    return {meta.LABEL_SERVER if isinstance(owner, McpServer) else meta.LABEL_PROXY: owner.metadata.name}


def metadata(owner: McpServer | McpProxy, name: str, annotations: Mapping[str, str] | None = None) -> Object:
    """Name, labels and the controller reference by which the garbage collector removes the child with its owner."""
    body: Object = {
        "name": name,
        "namespace": owner.metadata.namespace,
        "labels": labels(owner),
        "ownerReferences": [
            {
                "apiVersion": meta.API_VERSION,
                "kind": owner.kind,
                "name": owner.metadata.name,
                "uid": owner.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    return body | ({"annotations": dict(annotations)} if annotations else {})


def env(variables: tuple[EnvVar, ...]) -> list[Object]:
    """Environment of a container, in the shape of core/v1 EnvVar. An empty value is left out, as the API server does."""
    dumped = [variable.model_dump(mode="json", by_alias=True, exclude_none=True) for variable in variables]
    return [{key: value for key, value in variable.items() if value != ""} for variable in dumped]


def env_from(sources: tuple[EnvFrom, ...]) -> list[Object]:
    """Whole objects as environment, in the shape of core/v1 EnvFromSource."""
    found = []
    for source in sources:
        body = source.model_dump(mode="json", by_alias=True, exclude_none=True)
        for ref in ("configMapRef", "secretRef"):
            if ref in body and not body[ref]["optional"]:
                del body[ref]["optional"]
        found.append(body)
    return found


def pull_secrets(installation: Iterable[str], own: Iterable[LocalRef]) -> list[Object]:
    """The registry credentials of a pod, each once: those of the installation, then the resource's own."""
    names = dict.fromkeys([*installation, *(ref.name for ref in own)])
    return [{"name": name} for name in names]


def resources(wanted: Resources) -> Object:
    """Resources of a container; empty parts are left out."""
    dumped = wanted.model_dump(mode="json", by_alias=True)
    return {key: {name: str(amount) for name, amount in value.items()} for key, value in dumped.items() if value}


def confined() -> Object:
    """Container securityContext that any image can run under (Pod Security Standards: baseline and more)."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted() -> Object:
    """Container securityContext of the project's own images: the restricted standard and a read-only root."""
    return confined() | {
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": NON_ROOT_ID,
        "runAsGroup": NON_ROOT_ID,
    }
