"""One Lease of the API server, as the engine's leader election wants it."""

from collections.abc import Mapping
from typing import Any

from mcp_operator.kube.client import KubeClient, Object
from mcp_operator.kube.errors import Conflict, NotFound
from mcp_operator.kube.paths import built_in


class KubeLease:
    """Satisfies `engine.lease.LeaseStore`: a write that came too late answers None."""

    def __init__(self, client: KubeClient, namespace: str, name: str) -> None:
        self._client = client
        self._resource = built_in("Lease")
        self._namespace = namespace
        self._name = name

    async def get(self) -> Object | None:
        return await self._client.get(self._resource.path(self._namespace, self._name))

    async def create(self, spec: Mapping[str, Any]) -> Object | None:
        lease = {
            "apiVersion": self._resource.api_version,
            "kind": self._resource.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": dict(spec),
        }
        try:
            return await self._client.create(self._resource.path(self._namespace), lease)
        except Conflict:
            return None

    async def replace(self, lease: Mapping[str, Any]) -> Object | None:
        """Replace it as it was read: its `metadata.resourceVersion` is what makes a conflict."""
        try:
            return await self._client.replace(self._resource.path(self._namespace, self._name), dict(lease))
        except (Conflict, NotFound):
            return None
