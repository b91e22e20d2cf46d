from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.events import EventRecorder
from support.apiserver import ApiServer
from support.bench import Bench
from support.kubeconfig import kubeconfig


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine has a part in these tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiServer())
        kube = await stack.enter_async_context(KubeClient.connect(kubeconfig(tmp_path / "config", api.url)))
        events = await stack.enter_async_context(EventRecorder(kube, "mcp-operator"))
        bench = Bench(api, kube, events)
        yield bench
        await bench.aclose()
