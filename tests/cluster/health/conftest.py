"""A real API server, the operator in this process, real proxies and real MCP servers on loopback."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from localcluster.errors import ClusterError
from mcp_operator.api import meta
from mcp_operator.kube.client import KubeClient
from support.backends import free_port
from support.controlplane import ControlPlane
from support.definitions import wait_established
from support.liveworld import World

HERE = Path(__file__).resolve().parent
CRDS = Path(__file__).resolve().parents[3] / "crds"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of these tests' own, with the definitions of this checkout."""
    try:
        control = ControlPlane(tmp_path_factory.mktemp("plane"))
    except ClusterError as error:
        pytest.skip(f"these tests start an API server of their own ({error}): `make kubernetes-build` builds it")
    with control:
        control.kubectl("apply", "--server-side", "-f", str(CRDS))
        wait_established(control.kubectl, *(kind.crd_name for kind in meta.KINDS))
        yield control


@pytest.fixture
async def world(
    plane: ControlPlane, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A namespace of the test's own. No controller would ever remove it, so it stays."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:50].strip("-")
    plane.kubectl("create", "namespace", name)
    plane.kubectl("-n", name, "create", "serviceaccount", "default")
    hosts: dict[str, str] = {}
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(plane.kubeconfig))
    monkeypatch.setattr(socket, "getaddrinfo", _resolving(hosts, socket.getaddrinfo))
    port = free_port()
    monkeypatch.setattr("mcp_operator.reconcile.proxy.PORT", port)
    async with KubeClient.connect(str(plane.kubeconfig)) as kube:
        found = World(plane, kube, name, port, hosts)
        async with found.stack:
            yield found


def _resolving(hosts: Mapping[str, str], real: Callable[..., Any]) -> Callable[..., Any]:
    """In the place of the cluster's DNS and of its Services' addresses."""

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        return real(hosts.get(text, host), *arguments, **options)

    return resolve
