"""References to Secrets and ConfigMaps, followed on an API server in memory.

which streams · content is read once a version · a change, a deletion, a creation: told once, within a moment
what nobody refers to is neither read nor kept · a stream that is cut, a history that is forgotten, a server that is away
many references: one stream for a namespace · a change in the middle of reading
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcp_operator.compile.lookup import DataId
from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.keys import Key
from mcp_operator.kube.client import KubeClient
from mcp_operator.reconcile import datawatch
from mcp_operator.reconcile.datawatch import DataWatch, Scope, scopes
from mcp_operator.reconcile.references import References
from support.apiserver import AWAY, ApiServer, Body
from support.backends import eventually
from support.kubeconfig import kubeconfig

SERVER = Key("McpServer", "team-a", "far")
TOKEN: DataId = ("Secret", "team-a", "token")
CA: DataId = ("ConfigMap", "team-a", "ca")


@pytest.mark.parametrize(
    ("wanted", "clusterwide", "expected"),
    [
        ([], True, set()),
        ([TOKEN, CA], True, {Scope(*TOKEN), Scope(*CA)}),
        ([("Secret", "a", f"s{n}") for n in range(4)] + [CA], True, {Scope("Secret", "a", None), Scope(*CA)}),
        ([("Secret", f"n{n}", "s") for n in range(4)], True, {Scope("Secret", None, None)}),
        ([("Secret", f"n{n}", "s") for n in range(4)], False, {Scope("Secret", f"n{n}", None) for n in range(4)}),
    ],
)
def test_which_streams(wanted: list[DataId], clusterwide: bool, expected: set[Scope]) -> None:
    found = scopes(wanted, clusterwide=clusterwide, most=3)
    assert found == expected
    assert all(sum(scope.covers(reference) for scope in found) == 1 for reference in wanted)


class Rig:
    """References of one server, watched."""

    def __init__(self, api: ApiServer, kube: KubeClient) -> None:
        self.api = api
        self.references = References(kube)
        self.told: list[DataId] = []
        self.watch = DataWatch(
            kube, self.references, self.told.append, clusterwide=True, backoff=Backoff(base=0.02, cap=0.1)
        )

    def write(self, value: str, name: str = "token", kind: str = "Secret") -> None:
        metadata = {"name": name, "annotations": {"note": "x" * 200_000}}  # longer than a chunk of the stream
        data = {"stringData" if kind == "Secret" else "data": {"key": value}}
        self.api.kubectl_apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, **data})

    async def value(self, reference: DataId = TOKEN) -> bytes | None:
        found = (await self.references.contents([reference])).get(reference)
        return found.data["key"] if found is not None else None

    async def is_told(self, *expected: DataId) -> None:
        await eventually(lambda: sorted(self.told) == sorted(expected))
        self.told.clear()

    def read(self, part: str) -> int:
        """How often the object was read whole."""
        return sum(asked.path.endswith(part) for asked in self.api.asked)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with ApiServer() as api, KubeClient.connect(kubeconfig(tmp_path / "config", api.url)) as kube:
        yield Rig(api, kube)


@asynccontextmanager
async def watching(rig: Rig, *references: DataId) -> AsyncIterator[None]:
    """With the streams open, and their first listing behind them."""
    rig.references.note(SERVER, references)
    task = asyncio.create_task(rig.watch.run())
    try:
        await eventually(lambda: rig.api.streams == len(rig.watch.following) > 0)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await eventually(lambda: rig.api.streams == 0)


async def test_a_change_is_told_and_read_once(rig: Rig) -> None:
    rig.write("one")
    async with watching(rig, TOKEN):
        assert [await rig.value() for _ in range(3)] == [b"one"] * 3
        rig.write("two")
        await rig.is_told(TOKEN)
        assert [await rig.value() for _ in range(3)] == [b"two"] * 3
        assert rig.read("/token") == 2


async def test_a_missing_one_is_told_when_it_comes_and_when_it_goes(rig: Rig) -> None:
    async with watching(rig, TOKEN, CA):
        assert await rig.value() is None
        assert await rig.value() is None
        assert rig.read("/token") == 1, "that it is missing is remembered too"
        rig.write("one")
        await rig.is_told(TOKEN)
        assert await rig.value() == b"one"
        rig.api.kubectl_delete("Secret", "token")
        await rig.is_told(TOKEN)
        assert await rig.value() is None
        rig.write("cert", "ca", "ConfigMap")
        assert await rig.value(CA) == b"cert"


async def test_what_nobody_refers_to_is_neither_read_nor_kept(rig: Rig) -> None:
    rig.write("mine")
    rig.write("theirs", "other")
    async with watching(rig, TOKEN):
        await rig.value()
        rig.write("changed", "other")
        rig.write("new", "third")
        rig.write("last")
        await rig.is_told(TOKEN)
        assert rig.read("/other") == 0
        collections = [asked for asked in rig.api.asked if asked.path.endswith("/secrets")]
        assert {asked.query.get("fieldSelector") for asked in collections} == {"metadata.name=token"}
        rig.references.note(SERVER, [])
        await eventually(lambda: rig.watch.following == frozenset())
        assert not rig.references._content


async def test_a_stream_that_is_cut_goes_on_where_it_was(rig: Rig) -> None:
    rig.write("one")
    async with watching(rig, TOKEN):
        await rig.value()
        rig.api.refuse("GET", "/secrets", AWAY)
        rig.api.cut_streams()
        await eventually(lambda: rig.api.streams == 0)
        rig.write("two")
        rig.api.relent()
        await rig.is_told(TOKEN)
        assert sum("watch" not in a.query for a in rig.api.asked if a.path.endswith("/secrets")) == 1, "listed once"


async def test_a_forgotten_history_is_made_up_for_by_a_listing(rig: Rig) -> None:
    rig.write("one")
    async with watching(rig, TOKEN, CA):
        await rig.value()
        await rig.value(CA)
        rig.api.refuse("GET", "/secrets", AWAY)
        rig.api.refuse("GET", "/configmaps", AWAY)
        rig.api.cut_streams()
        await eventually(lambda: rig.api.streams == 0)
        rig.api.kubectl_delete("Secret", "token")
        rig.write("cert", "ca", "ConfigMap")
        rig.api.forget_history()
        rig.api.relent()
        await rig.is_told(TOKEN, CA)


async def test_an_api_server_that_is_away_is_asked_again(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.write("one")
    rig.api.refuse("GET", "/secrets", AWAY, times=3)
    async with watching(rig, TOKEN):
        await rig.value()
        rig.write("two")
        await rig.is_told(TOKEN)
    assert "cannot watch Secret team-a/token, next try in" in caplog.text


async def test_a_stream_outlives_what_nobody_thought_of(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.write("one")
    async with watching(rig, TOKEN):
        await rig.value()
        with monkeypatch.context() as broken:
            broken.setattr(rig.references, "seen", None)
            rig.write("two")
            await eventually(lambda: "the watch of Secret team-a/token failed" in caplog.text)
        await rig.is_told(TOKEN)
        assert await rig.value() == b"two"


async def test_many_references_take_one_stream(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datawatch.scopes, "__kwdefaults__", {"most": 3})
    names = [f"s{number}" for number in range(5)]
    for name in (*names, "other"):
        rig.write("one", name)
    references: list[DataId] = [("Secret", "team-a", name) for name in names]
    async with watching(rig, *references):
        assert rig.watch.following == {Scope("Secret", "team-a", None)}
        await rig.references.contents(references)
        rig.write("two", "other")
        rig.write("two", "s3")
        await rig.is_told(("Secret", "team-a", "s3"))
        rig.references.note(SERVER, references[:2])
        await eventually(lambda: rig.watch.following == {Scope(*reference) for reference in references[:2]})
        await eventually(lambda: rig.api.streams == 2)
        rig.write("three", "s0")
        await rig.is_told(references[0])


async def test_a_change_in_the_middle_of_reading_is_read_again(rig: Rig) -> None:
    rig.write("one")
    rig.references.note(SERVER, [TOKEN])
    reading = asyncio.create_task(rig.value())
    while not rig.references._reading:  # noqa: ASYNC110 - a moment that is over soon
        await asyncio.sleep(0)
    assert rig.references.seen(TOKEN, "999999"), "whoever reads it may be given what was before"
    await reading
    before = rig.read("/token")
    assert await rig.value() == b"one"
    assert rig.read("/token") == before + 1
    assert not rig.references.seen(TOKEN, _version(rig.api.get("Secret", "token")))


def _version(body: Body) -> str:
    return str(body["metadata"]["resourceVersion"])
