"""The client that only pretends to write: what it notes, what it lets nobody do."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.api.meta import FIELD_MANAGER
from mcp_operator.kube.paths import built_in
from mcp_operator.planning.dryrun import DryRun
from support.apiserver import ApiServer, Refusal
from support.kubeconfig import kubeconfig

PATH = built_in("Deployment").path("team-a", "web")


def deployment(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "team-a"},
        "spec": {"template": {"spec": {"containers": []}}, **spec},
    }


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def kube(api: ApiServer, tmp_path: Path) -> AsyncIterator[DryRun]:
    async with DryRun.connect(kubeconfig(tmp_path / "config", api.url)) as client:
        yield client


async def test_a_creation_and_a_change(api: ApiServer, kube: DryRun) -> None:
    await kube.apply(PATH, deployment(replicas=1), field_manager=FIELD_MANAGER)
    (change,) = kube.changes.values()
    assert (change.action, api.objects) == ("create", {})
    live = api.kubectl_apply(deployment(replicas=3))
    after = await kube.apply(PATH, deployment(replicas=1), field_manager=FIELD_MANAGER)
    (change,) = kube.changes.values()
    assert change.action == "change"
    assert change.before is not None
    assert (change.before["spec"]["replicas"], change.body["spec"]["replicas"]) == (3, 1)
    assert int(after["metadata"]["resourceVersion"]) > int(live["metadata"]["resourceVersion"]), "it counts as newer"
    assert api.get("Deployment", "web")["spec"]["replicas"] == 3


async def test_what_is_there_only_in_the_plan_can_be_asked_for_again(api: ApiServer, kube: DryRun) -> None:
    """The uid that a dry run answers with is that of nothing; the same again is no write, something else is."""
    first = await kube.apply(PATH, deployment(replicas=1), field_manager=FIELD_MANAGER)
    known = {**deployment(replicas=1), "metadata": {**deployment()["metadata"], "uid": first["metadata"]["uid"]}}
    assert await kube.apply(PATH, known, field_manager=FIELD_MANAGER) == first
    assert kube.writes == 1
    other = await kube.apply(PATH, {**known, "spec": deployment(replicas=2)["spec"]}, field_manager=FIELD_MANAGER)
    assert int(other["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    (change,) = kube.changes.values()
    assert (change.action, change.body["spec"]["replicas"], kube.writes) == ("create", 2, 2)


async def test_a_deletion(api: ApiServer, kube: DryRun) -> None:
    assert not await kube.delete(PATH)
    api.kubectl_apply(deployment(replicas=3))
    assert await kube.delete(PATH, uid="whichever")
    assert [change.action for change in kube.changes.values()] == ["delete"]
    assert api.names("Deployment") == {"web"}


async def test_fields_that_are_handed_over_stay(api: ApiServer, kube: DryRun) -> None:
    api.kubectl_apply(deployment(replicas=3))
    await kube.apply(PATH, {**deployment(), "spec": {"replicas": 3}}, field_manager="somebody")
    assert kube.changes == {}
    after = await kube.apply(PATH, deployment(paused=True), field_manager=FIELD_MANAGER)
    assert (after["spec"]["replicas"], after["spec"]["paused"]) == (3, True)


async def test_a_namespace_that_is_missing_is_noted(api: ApiServer, kube: DryRun) -> None:
    api.refuse("PATCH", PATH, Refusal(404, "NotFound", 'namespaces "team-a" not found'))
    after = await kube.apply(PATH, deployment(), field_manager=FIELD_MANAGER)
    assert after["metadata"].pop("resourceVersion").isdigit()
    assert after == deployment()
    assert kube.unchecked == {"team-a"}


async def test_a_kind_that_is_missing_is_no_missing_namespace(api: ApiServer, kube: DryRun) -> None:
    api.refuse("PATCH", PATH, Refusal(404, "NotFound", "the server could not find the requested resource"))
    await kube.apply(PATH, deployment(), field_manager=FIELD_MANAGER)
    assert kube.unchecked == set()


async def test_objects_that_are_laid_over_are_read(api: ApiServer, kube: DryRun) -> None:
    kube.overlay[PATH] = deployment(replicas=9)
    assert (await kube.get(PATH) or {})["spec"]["replicas"] == 9


async def test_nothing_that_writes_leaves(api: ApiServer, kube: DryRun) -> None:
    for attempt in (
        kube.create(built_in("Deployment").path("team-a"), deployment()),
        kube.replace(PATH, deployment()),
        kube.merge_patch(PATH, {"spec": {}}),
    ):
        with pytest.raises(AssertionError, match="a plan writes nothing"):
            await attempt
    await kube.apply_status(PATH, deployment(), field_manager=FIELD_MANAGER)
    assert [asked.query.get("dryRun") for asked in api.asked if asked.method != "GET"] == ["All"]
