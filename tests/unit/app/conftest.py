import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.api import meta
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.operator import Operator
from mcp_operator.app.options import parse
from mcp_operator.kube.client import KubeClient
from mcp_operator.probe.facts import ProbeResult
from mcp_operator.probe.mcp import probe
from mcp_operator.probe.target import Target
from mcp_operator.watch import LABELLED, WATCHED
from support.apiserver import ApiServer, Body
from support.kubeconfig import kubeconfig

Start = Callable[..., AbstractAsyncContextManager[Operator]]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine has a part in these tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def kube(api: ApiServer, tmp_path: Path) -> AsyncIterator[KubeClient]:
    async with KubeClient.connect(kubeconfig(tmp_path / "config", api.url)) as client:
        yield client


@pytest.fixture
def metrics() -> OperatorMetrics:
    return OperatorMetrics(CollectorRegistry())


async def _local_only(target: Target) -> ProbeResult:
    """A real probe of this machine's servers; those of the cluster that is not there are never heard of."""
    if "//127.0.0.1:" not in target.url:
        await asyncio.Event().wait()
    return await probe(target)


@pytest.fixture
def start(api: ApiServer, kube: KubeClient, metrics: OperatorMetrics) -> Start:
    """`async with start("--flag", …) as operator`: at work, with the API server's changes in the place of watch streams."""

    @asynccontextmanager
    async def started(*flags: str) -> AsyncIterator[Operator]:
        async with Operator(
            parse(["--identity", "test", "--egress-allow", "loopback", *flags]), kube, metrics
        ) as operator:
            operator._prober._probe = _local_only

            def observe(event: str, body: Body) -> None:
                labels = body["metadata"].get("labels") or {}
                ours = labels.get(meta.LABEL_MANAGED_BY) == meta.MANAGED_BY
                if body["kind"] in WATCHED and (ours or body["kind"] not in LABELLED):
                    operator.observe(body["kind"], event, body)

            api.changed = observe
            parts = (operator.resync.run(), operator.work(), operator.data_watch.run())
            tasks = [asyncio.create_task(part) for part in parts]
            try:
                yield operator
            finally:
                api.changed = lambda *_: None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    return started
