"""The client over real HTTP: what it sends for each call, and what it makes of each answer."""

import asyncio
import gc
import json
import socket
import time
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.kube import config as kube_config
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Fenced,
    Gone,
    Invalid,
    NotFound,
    Timeout,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from support.waiting import Eventually

from .conftest import Answer, ApiServer, Asked, kubeconfig, refusal

PATH = "/apis/example.com/v1/namespaces/a/things/b"
THINGS = "/apis/example.com/v1/namespaces/a/things"
BODY = {
    "apiVersion": "example.com/v1",
    "kind": "Thing",
    "metadata": {"namespace": "a", "name": "b"},
    "spec": {"x": [1]},
}
Call = Callable[[KubeClient], Coroutine[Any, Any, Any]]

CALLS: dict[str, tuple[Call, str, str, list[tuple[str, str]], str, Any]] = {
    "get": (lambda kube: kube.get(PATH), "GET", PATH, [], "application/json", None),
    "apply": (
        lambda kube: kube.apply(PATH, BODY, field_manager="op"),
        "PATCH", PATH, [("fieldManager", "op"), ("force", "true")], "application/apply-patch+yaml", BODY,
    ),
    "apply without force, as a trial": (
        lambda kube: kube.apply(PATH, BODY, field_manager="a b", force=False, dry_run=True),
        "PATCH", PATH, [("fieldManager", "a b"), ("force", "false"), ("dryRun", "All")], "application/apply-patch+yaml", BODY,
    ),
    "apply status": (
        lambda kube: kube.apply_status(PATH, BODY, field_manager="op-status"),
        "PATCH", f"{PATH}/status", [("fieldManager", "op-status"), ("force", "true")], "application/apply-patch+yaml", BODY,
    ),
    "merge patch": (
        lambda kube: kube.merge_patch(PATH, {"spec": {"x": None}}),
        "PATCH", PATH, [], "application/merge-patch+json", {"spec": {"x": None}},
    ),
    "merge patch by a manager": (
        lambda kube: kube.merge_patch(PATH, {}, field_manager="op"),
        "PATCH", PATH, [("fieldManager", "op")], "application/merge-patch+json", {},
    ),
    "create": (lambda kube: kube.create(THINGS, BODY), "POST", THINGS, [], "application/json", BODY),
    "replace": (lambda kube: kube.replace(PATH, BODY), "PUT", PATH, [], "application/json", BODY),
    "delete": (
        lambda kube: kube.delete(PATH),
        "DELETE", PATH, [], "application/json",
        {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"},
    ),
    "delete that one object": (
        lambda kube: kube.delete(PATH, uid="u", resource_version="7", propagation="Foreground"),
        "DELETE", PATH, [], "application/json",
        {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground",
         "preconditions": {"uid": "u", "resourceVersion": "7"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_what_is_sent(name: str, api: ApiServer, kube: KubeClient) -> None:
    call, method, path, query, content_type, body = CALLS[name]
    await call(kube)
    (asked,) = api.asked
    assert (asked.method, asked.path, asked.query, asked.body) == (method, path, query, body)
    assert asked.headers["Content-Type"] == content_type
    assert asked.headers["Accept"] == "application/json"
    assert asked.headers["Authorization"] == "Bearer a-token"
    assert asked.headers["User-Agent"] == "mcp-operator"


async def test_the_answer_is_the_object_as_it_came(api: ApiServer, kube: KubeClient) -> None:
    live = {**BODY, "metadata": {"name": "b", "resourceVersion": "9"}, "unknown": {"field": None}}
    api.respond = lambda _: Answer(201, live)
    assert await kube.get(PATH) == live
    assert await kube.apply(PATH, BODY, field_manager="op") == live
    assert await kube.create(THINGS, BODY) == live
    assert kube.namespace == "team-a"


async def test_what_does_not_exist_is_none_to_get_and_an_error_to_a_write(api: ApiServer, kube: KubeClient) -> None:
    api.respond = lambda _: refusal(404, "NotFound", 'things "b" not found')
    assert await kube.get(PATH) is None
    for call in (
        kube.apply_status(PATH, BODY, field_manager="op"), kube.merge_patch(PATH, {}), kube.replace(PATH, BODY)
    ):  # fmt: skip
        with pytest.raises(NotFound, match='things "b" not found'):
            await call


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        (Answer(), {}, True),
        (refusal(404, "NotFound", "gone"), {}, False),
        (refusal(409, "Conflict", "Precondition failed: UID"), {"uid": "u"}, False),
        (refusal(409, "Conflict", "Precondition failed: ResourceVersion"), {"resource_version": "1"}, Conflict),
        (refusal(409, "Conflict", "Precondition failed"), {"uid": "u", "resource_version": "1"}, Conflict),
        (refusal(409, "Conflict", "being deleted"), {}, Conflict),
    ],
)
async def test_delete_tells_whether_the_object_was_there(
    answer: Answer, options: dict[str, str], expected: Any, api: ApiServer, kube: KubeClient
) -> None:
    api.respond = lambda _: answer
    if isinstance(expected, bool):
        assert await kube.delete(PATH, **options) is expected
    else:
        with pytest.raises(expected):
            await kube.delete(PATH, **options)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusal(422, "Invalid", "spec.x: Invalid value", causes=[{"field": "spec.x", "message": "Invalid"}]), Invalid),
        (refusal(409, "AlreadyExists", "there"), AlreadyExists),
        (refusal(429, "TooManyRequests", "slow down", retryAfterSeconds=60), TooManyRequests),
        (Answer(503, b"upstream connect error"), Unavailable),
        (Answer(200, b"not JSON"), ApiError),
        (Answer(200, [1]), ApiError),
    ],
)
async def test_refusals_have_their_type(
    answer: Answer, expected: type[ApiError], api: ApiServer, kube: KubeClient
) -> None:
    api.respond = lambda _: answer
    with pytest.raises(expected) as caught:
        await kube.create(THINGS, BODY)
    assert type(caught.value) is expected
    assert len(api.asked) == 1, "nothing is retried here"


SLOW_DOWN = refusal(429, "TooManyRequests", "slow down", retryAfterSeconds=0.05)


@pytest.mark.parametrize(("refused", "passes"), [(1, True), (4, True), (5, False)])
async def test_a_request_that_is_told_to_come_again_soon_does(
    refused: int, passes: bool, api: ApiServer, kube: KubeClient
) -> None:
    at: list[float] = []

    def respond(_: Asked) -> Answer:
        at.append(time.monotonic())
        return SLOW_DOWN if len(at) <= refused else Answer(201, BODY)

    api.respond = respond
    if passes:
        assert await kube.create(THINGS, BODY) == BODY
    else:
        with pytest.raises(TooManyRequests):
            await kube.create(THINGS, BODY)
    assert len(at) == min(refused + 1, 5)
    assert all(after - before >= 0.05 for before, after in pairwise(at))


async def test_who_lost_the_lead_meanwhile_does_not_come_again(api: ApiServer, tmp_path: Path) -> None:
    leads = [True]

    def respond(_: Asked) -> Answer:
        leads[0] = False
        return SLOW_DOWN

    api.respond = respond
    async with KubeClient.connect(kubeconfig(tmp_path / "c", api.url), may_write=lambda: leads[0]) as kube:
        with pytest.raises(Fenced):
            await kube.create(THINGS, BODY)
    assert len(api.asked) == 1


class Collection:
    """A collection that answers in pages, as an API server does; `expires` page tokens may be used before they are Gone."""

    def __init__(self, count: int, *, expires: int | None = None) -> None:
        self.items = [{"metadata": {"name": str(number)}} for number in range(count)]
        self.expires = expires

    def __call__(self, asked: Asked) -> Answer:
        query = dict(asked.query)
        start = int(query.get("continue") or 0)
        if start and self.expires is not None:
            self.expires -= 1
            if self.expires < 0:
                return refusal(410, "Expired", "The provided continue parameter is too old")
        end = start + int(query["limit"]) if "limit" in query else len(self.items)
        metadata = {"resourceVersion": "77"} | ({"continue": str(end)} if end < len(self.items) else {})
        return Answer(body={"kind": "ThingList", "apiVersion": "example.com/v1", "metadata": metadata,
                            "items": self.items[start:end]})  # fmt: skip


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (500, 1), (501, 2), (1700, 4)])
async def test_a_list_is_read_in_pages_and_each_item_says_what_it_is(
    count: int, requests: int, api: ApiServer, kube: KubeClient
) -> None:
    api.respond = Collection(count)
    items, version = await kube.list(THINGS, label_selector="a=b,c in (d)", field_selector="metadata.name!=x")
    assert version == "77"
    assert [item["metadata"]["name"] for item in items] == [str(number) for number in range(count)]
    assert all((item["apiVersion"], item["kind"]) == ("example.com/v1", "Thing") for item in items)
    assert len(api.asked) == requests
    for asked in api.asked:
        query = dict(asked.query)
        assert (asked.method, asked.path) == ("GET", THINGS)
        assert query["labelSelector"] == "a=b,c in (d)"
        assert query["fieldSelector"] == "metadata.name!=x"


async def test_a_list_whose_page_token_expired_is_read_whole(api: ApiServer, kube: KubeClient) -> None:
    api.respond = Collection(1200, expires=1)
    items, _ = await kube.list(THINGS)
    assert [item["metadata"]["name"] for item in items] == [str(number) for number in range(1200)]
    assert api.last.query == []
    api.respond = lambda _: refusal(410, "Expired", "too old")
    with pytest.raises(Gone):
        await kube.list(THINGS)


async def test_no_answer_in_time_is_a_timeout(api: ApiServer, tmp_path: Path) -> None:
    never = asyncio.Event()
    api.respond = lambda _: Answer(delay=never)
    async with KubeClient.connect(kubeconfig(tmp_path / "slow", api.url), timeout=0.05) as kube:
        with pytest.raises(Timeout, match=f"GET {PATH}: no answer from the API server in time"):
            await kube.get(PATH)
    never.set()


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound but not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        async with KubeClient.connect(kubeconfig(tmp_path / "away", f"http://127.0.0.1:{port}")) as kube:
            with pytest.raises(Unavailable, match="Cannot connect to host") as caught:
                await kube.get(PATH)
    assert caught.value.status == 0
    assert "a-token" not in str(caught.value)


async def test_no_more_connections_than_allowed(api: ApiServer, tmp_path: Path, eventually: Eventually) -> None:
    gate = asyncio.Event()
    api.respond = lambda _: Answer(delay=gate)
    async with KubeClient.connect(kubeconfig(tmp_path / "narrow", api.url), pool_size=3) as kube:
        calls = [asyncio.create_task(kube.get(PATH)) for _ in range(9)]
        await eventually(lambda: api.at_once >= 3)
        gate.set()
        await asyncio.gather(*calls)
    assert len(api.asked) == 9
    assert api.most_at_once == 3


async def test_a_refused_token_is_read_anew_once_for_all_that_it_failed(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, loads, load = tmp_path / "config", [], kube_config.load

    async def counted(source: kube_config.Source) -> kube_config.Access:
        loads.append(source)
        return await load(source)

    monkeypatch.setattr(kube_config, "load", counted)
    kubeconfig(config, api.url, token="old")
    accepted = "old"

    def respond(asked: Asked) -> Answer:
        good = asked.headers["Authorization"] == f"Bearer {accepted}"
        return Answer(body={"ok": True}) if good else refusal(401, "Unauthorized", "Unauthorized")

    api.respond = respond
    async with KubeClient.connect(str(config)) as kube:
        assert await kube.get(PATH) == {"ok": True}
        accepted = "new"
        kubeconfig(config, api.url, token="new")
        answers = await asyncio.gather(*(kube.create(THINGS, BODY) for _ in range(5)))
        assert answers == [{"ok": True}] * 5
        assert len(loads) == 2, "at the start, and once for five calls"
        accepted = "newer"
        before = len(api.asked)
        with pytest.raises(Unauthorized, match="does not accept this client's credentials"):
            await kube.get(PATH)
        assert len(api.asked) == before + 2, "tried once more"
        assert len(loads) == 2, "the file is not read again so soon"


async def test_a_kubeconfig_that_broke_meanwhile_is_an_authorization_error(api: ApiServer, tmp_path: Path) -> None:
    config = tmp_path / "config"
    kubeconfig(config, api.url)
    api.respond = lambda _: refusal(401, "Unauthorized", "Unauthorized")
    async with KubeClient.connect(str(config)) as kube:
        config.write_text("{}")
        with pytest.raises(Unauthorized, match="Expected key current-context"):
            await kube.get(PATH)


async def test_closing_leaves_no_socket_open(api: ApiServer, tmp_path: Path) -> None:
    async with KubeClient.connect(kubeconfig(tmp_path / "c", api.url)) as kube:
        await asyncio.gather(*(kube.get(PATH) for _ in range(5)))
    del kube
    gc.collect()  # an unclosed session or transport would warn here, and warnings fail the test


async def test_unicode_and_deep_bodies_arrive_as_they_were(api: ApiServer, kube: KubeClient) -> None:
    body = {**BODY, "spec": {"text": 'ü"\\\n\u2028🦆', "deep": {"a": [{"b": [None, True, 1.5, {}]}]}}}
    assert await kube.apply(PATH, body, field_manager="op") == body
    assert json.loads(json.dumps(api.last.body)) == body


def _event(kind: str, **metadata: str) -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": metadata}}


async def test_changes_are_read_for_a_second_as_metadata(api: ApiServer, kube: KubeClient) -> None:
    events = [_event("ADDED", name="b", resourceVersion="8"), _event("BOOKMARK", resourceVersion="9")]
    api.respond = lambda _: Answer(body=b"".join(json.dumps(event).encode() + b"\n" for event in events))
    assert await kube.changes_since(THINGS, "7", "a=b") == events
    query = dict(api.last.query)
    assert query == {
        "labelSelector": "a=b",
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "1",
    }
    assert "as=PartialObjectMetadata" in api.last.headers["Accept"]
    api.respond = lambda _: Answer(body=b"")
    assert await kube.changes_since(THINGS, "7") == []


@pytest.mark.parametrize(("code", "error"), [(410, Gone), (500, Unavailable), (429, TooManyRequests)])
async def test_an_error_event_among_the_changes(
    api: ApiServer, kube: KubeClient, code: int, error: type[ApiError]
) -> None:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "too old"}
    api.respond = lambda _: Answer(body=json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
    with pytest.raises(error, match="too old"):
        await kube.changes_since(THINGS, "7")


async def test_nothing_is_written_without_leave(api: ApiServer, tmp_path: Path) -> None:
    leave = [True]
    config = kubeconfig(tmp_path / "fenced", api.url)
    async with KubeClient.connect(config, may_write=lambda: leave[0]) as kube:
        await kube.apply(PATH, BODY, field_manager="op")
        leave[0] = False
        for name, (call, method, *_) in CALLS.items():
            sent = len(api.asked)
            if method == "GET":
                await call(kube)
                continue
            with pytest.raises(Fenced, match="not sent"):
                await call(kube)
            assert len(api.asked) == sent, name


async def test_answers_are_told(api: ApiServer, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []

    def answered(method: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        told.append((method, status))

    config = kubeconfig(tmp_path / "told", api.url)
    async with KubeClient.connect(config, answered=answered) as kube:
        await kube.get(PATH)
        api.respond = lambda _: refusal(429, "TooManyRequests", "slow down")
        with pytest.raises(TooManyRequests):
            await kube.get(PATH)
        await api.stop()
        with pytest.raises(Unavailable):
            await kube.apply(PATH, BODY, field_manager="op")
    assert told == [("GET", 200), ("GET", 429), ("PATCH", 0)]
