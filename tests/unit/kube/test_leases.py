"""Leader election over HTTP: the Lease as an API server keeps it, with its resourceVersion."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.engine.lease import LeaderElector
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Unavailable
from mcp_operator.kube.leases import KubeLease
from support.waiting import Eventually

from .conftest import Answer, ApiServer, Asked, kubeconfig, refusal

LEASES = "/apis/coordination.k8s.io/v1/namespaces/ops/leases"


class LeaseObject:
    """One Lease behind HTTP."""

    def __init__(self) -> None:
        self.live: dict[str, Any] | None = None
        self.version = 0

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return refusal(404, "NotFound", "no lease") if self.live is None else Answer(body=self.live)
        if asked.method == "POST":
            return refusal(409, "AlreadyExists", "there") if self.live is not None else self._write(asked.body)
        if self.live is None:
            return refusal(404, "NotFound", "no lease")
        if asked.body["metadata"]["resourceVersion"] != self.live["metadata"]["resourceVersion"]:
            return refusal(409, "Conflict", "the object has been modified")
        return self._write(asked.body)

    def _write(self, body: dict[str, Any]) -> Answer:
        self.version += 1
        self.live = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return Answer(body=self.live)


@asynccontextmanager
async def candidate(api: ApiServer, folder: Path, identity: str) -> AsyncIterator[LeaderElector]:
    """A process of its own, as far as the server can tell."""
    async with KubeClient.connect(kubeconfig(folder / identity, api.url)) as kube:
        lease = KubeLease(kube, "ops", "leader")
        yield LeaderElector(lease, identity, duration=60, renew_deadline=50, retry=0.01)


async def test_two_processes_lead_one_after_the_other(api: ApiServer, tmp_path: Path, eventually: Eventually) -> None:
    api.respond = lease = LeaseObject()
    async with candidate(api, tmp_path, "one") as one, candidate(api, tmp_path, "two") as two:
        await asyncio.wait_for(one.acquire(), 30)
        assert (api.last.method, api.last.path) == ("POST", LEASES)
        assert api.last.body["metadata"] == {"namespace": "ops", "name": "leader"}
        assert (api.last.body["apiVersion"], api.last.body["kind"]) == ("coordination.k8s.io/v1", "Lease")
        holding = asyncio.create_task(one.hold())
        standing_by = asyncio.create_task(two.acquire())
        await eventually(lambda: two.leader == "one" and lease.version > 3)
        assert api.asked[-1].path == f"{LEASES}/leader"
        holding.cancel()
        await asyncio.wait([holding])
        await one.release()
        await asyncio.wait_for(standing_by, 30)
        assert lease.live is not None
        assert lease.live["spec"]["holderIdentity"] == "two"
        assert two.is_leader
        assert not one.is_leader


async def test_writes_that_come_too_late_answer_none(api: ApiServer, kube: KubeClient) -> None:
    lease = KubeLease(kube, "ops", "leader")
    api.respond = LeaseObject()
    assert await lease.get() is None
    assert await lease.replace({"metadata": {"name": "leader", "resourceVersion": "1"}, "spec": {}}) is None
    first = await lease.create({"holderIdentity": "one"})
    assert first is not None
    assert await lease.create({"holderIdentity": "two"}) is None
    assert await lease.replace(first) is not None
    assert await lease.replace(first) is None


async def test_a_server_that_fails_is_an_error_and_not_a_conflict(api: ApiServer, kube: KubeClient) -> None:
    api.respond = lambda _: Answer(500, b"")
    lease = KubeLease(kube, "ops", "leader")
    with pytest.raises(Unavailable):
        await lease.get()
    with pytest.raises(Unavailable):
        await lease.create({})
