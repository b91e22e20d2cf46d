"""The has-synced gate and the periodic comparison, over listers that answer from a dict."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.keys import Key
from mcp_operator.engine.metrics import Metrics
from mcp_operator.engine.resync import Listed, Lister, Resync
from mcp_operator.engine.store import Change, Store
from support.waiting import Eventually

FAST = Backoff(base=0.001, cap=0.005)


class Server:
    """Objects by kind, with a resourceVersion that counts writes, as an API server keeps them."""

    def __init__(self) -> None:
        self.version = 0
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.lists: Counter[str] = Counter()
        self.failing: set[str] = set()

    def put(self, kind: str, name: str) -> dict[str, Any]:
        self.version += 1
        metadata = {"namespace": "ns", "name": name, "uid": name, "resourceVersion": str(self.version)}
        body = {"metadata": metadata, "spec": self.version}
        self.objects.setdefault(kind, {})[name] = body
        return body

    def delete(self, kind: str, name: str) -> None:
        self.version += 1
        del self.objects[kind][name]

    def lister(self, kind: str) -> Lister:
        async def list_all() -> list[Listed]:
            self.lists[kind] += 1
            if kind in self.failing:
                raise ConnectionError("the API server is away")
            return [Listed(list(self.objects.get(kind, {}).values()), str(self.version))]

        return list_all


@asynccontextmanager
async def running(resync: Resync) -> AsyncIterator[None]:
    task = asyncio.create_task(resync.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_gate_opens_when_every_kind_was_listed(eventually: Eventually) -> None:
    server, store = Server(), Store()
    changes: list[Change] = []
    server.put("A", "one")
    server.put("B", "two")
    server.failing.add("B")
    resync = Resync(store, {kind: server.lister(kind) for kind in "AB"}, changes.append, backoff=FAST)
    assert resync.unsynced == {"A", "B"}
    async with running(resync):
        await eventually(lambda: server.lists["B"] > 2 and resync.unsynced == {"B"})
        assert not resync.synced.is_set()
        assert store.get(Key("A", "ns", "one")) is not None
        server.failing.clear()
        await asyncio.wait_for(resync.synced.wait(), 5)
    assert sorted((str(change.key), change.type) for change in changes) == [
        ("A/ns/one", "added"),
        ("B/ns/two", "added"),
    ]
    assert server.lists["A"] == 1, "a kind that was listed does not wait for, nor repeat with, one that fails"


async def test_a_lost_deletion_and_a_lost_change_are_found_later(eventually: Eventually) -> None:
    server, store = Server(), Store()
    changes: list[Change] = []
    for name in ("kept", "deleted", "changed"):
        server.put("A", name)
    resync = Resync(store, {"A": server.lister("A")}, changes.append, interval=0.01)
    async with running(resync):
        await asyncio.wait_for(resync.synced.wait(), 5)
        changes.clear()
        server.delete("A", "deleted")
        server.put("A", "changed")
        await eventually(lambda: len(changes) == 2)
        lists = server.lists["A"]
        await eventually(lambda: server.lists["A"] > lists + 2)
    assert {(change.key.name, change.type) for change in changes} == {("deleted", "removed"), ("changed", "modified")}
    assert len(changes) == 2, "an unchanged world has no differences"


async def test_what_the_watch_told_meanwhile_is_not_undone() -> None:
    server, store = Server(), Store()
    changes: list[Change] = []
    server.put("A", "deleted-meanwhile")
    watched: list[dict[str, Any]] = []

    async def slow_list() -> Sequence[Listed]:
        answer = await server.lister("A")()
        server.delete("A", "deleted-meanwhile")
        store.remove("A", "ns", "deleted-meanwhile", resource_version=str(server.version))
        watched.append(server.put("A", "created-meanwhile"))
        store.observe("A", watched[-1])
        return answer

    resync = Resync(store, {"A": slow_list}, changes.append)
    assert await resync.once("A") == 0
    assert changes == []
    assert [body["metadata"]["name"] for body in store.list("A")] == ["created-meanwhile"]


async def test_of_a_namespace_that_an_answer_leaves_out_everything_stays() -> None:
    def body(namespace: str, version: int) -> dict[str, Any]:
        return {"metadata": {"namespace": namespace, "name": "x", "uid": namespace, "resourceVersion": str(version)}}

    answers = [
        [Listed([body("a", 1)], "5", "a"), Listed([body("b", 2)], "5", "b")],
        [Listed([], "6", "a")],
        [Listed([], "7", "a"), Listed([], "7", "b")],
    ]

    async def lister() -> Sequence[Listed]:
        return answers.pop(0)

    store = Store()
    resync = Resync(store, {"A": lister}, lambda _: None)
    left: list[set[str]] = []
    while answers:
        assert await resync.once("A") > 0
        left.append({body["metadata"]["namespace"] for body in store.list("A")})
    assert left == [{"a", "b"}, {"b"}, set()]


async def test_a_failing_callback_keeps_no_other_change_back(caplog: pytest.LogCaptureFixture) -> None:
    server, seen = Server(), []
    for name in "abc":
        server.put("A", name)

    def on_change(change: Change) -> None:
        if change.key.name == "b":
            raise RuntimeError("no mapping")
        seen.append(change.key.name)

    resync = Resync(Store(), {"A": server.lister("A")}, on_change)
    assert await resync.once("A") == 3
    assert seen == ["a", "c"]
    assert "a change of A/ns/b was not handled" in caplog.text


async def test_no_more_lists_run_at_once_than_allowed() -> None:
    running_now, most = 0, 0

    async def lister() -> list[Listed]:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.002)
        running_now -= 1
        return [Listed([], "1")]

    resync = Resync(Store(), {str(number): lister for number in range(8)}, print, concurrency=3)
    async with running(resync):
        await asyncio.wait_for(resync.synced.wait(), 5)
    assert most == 3


async def test_with_no_kind_at_all_the_gate_is_open() -> None:
    assert Resync(Store(), {}, print).synced.is_set()


async def test_failures_and_differences_are_counted(eventually: Eventually, caplog: pytest.LogCaptureFixture) -> None:
    class Recorder(Metrics):
        def __init__(self) -> None:
            self.failed: list[str] = []
            self.differences: list[int] = []

        def resync_failed(self, kind: str) -> None:
            self.failed.append(kind)

        def resynced(self, kind: str, differences: int, seconds: float) -> None:  # noqa: ARG002
            self.differences.append(differences)

    server, metrics = Server(), Recorder()
    server.put("A", "one")
    server.failing.add("A")
    resync = Resync(Store(), {"A": server.lister("A")}, lambda _: None, backoff=FAST, metrics=metrics)
    async with running(resync):
        await eventually(lambda: len(metrics.failed) >= 2)
        server.failing.clear()
        await asyncio.wait_for(resync.synced.wait(), 5)
    assert metrics.differences == [1]
    assert "cannot list A, next try in" in caplog.text
    assert "ConnectionError: the API server is away" in caplog.text


class Throttled(Exception):
    retry_after = 0.05


async def test_a_list_that_is_throttled_waits_as_long_as_it_was_told(eventually: Eventually) -> None:
    asked: list[float] = []

    async def lister() -> list[Listed]:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) < 3:
            raise Throttled
        return [Listed([], "1")]

    resync = Resync(Store(), {"A": lister}, lambda _: None, backoff=FAST)
    async with running(resync):
        await eventually(resync.synced.is_set)
    assert [after - before >= 0.05 for before, after in pairwise(asked)] == [True, True]
