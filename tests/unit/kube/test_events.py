"""Events: what is written, what is counted, what is dropped; never an error to the caller."""

import asyncio
import re
from typing import Any

import pytest

from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.events import EventRecorder
from support.waiting import Eventually

from .conftest import Answer, ApiServer, Asked, refusal

THING = {
    "apiVersion": "example.com/v1",
    "kind": "Thing",
    "metadata": {"namespace": "team", "name": "a", "uid": "u1", "resourceVersion": "5"},
}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "u2"}}
EVENTS = "/api/v1/namespaces/team/events"
FLUSH_SECONDS = 60.0
"""For what waits when a recorder is left: nothing is dropped for the machine's slowness."""


def thing(name: str) -> dict[str, Any]:
    return {**THING, "metadata": {"namespace": "team", "name": name, "uid": f"uid-{name}"}}


async def test_an_event_is_what_kubectl_describe_looks_for(api: ApiServer, kube: KubeClient) -> None:
    async with EventRecorder(kube, "mcp-operator", instance="pod-1", flush_timeout=FLUSH_SECONDS) as events:
        events.warning(THING, "ProbeFailed", "connection refused")
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", EVENTS)
    event = asked.body
    assert re.fullmatch(r"a\.[0-9a-f]+", event["metadata"].pop("name"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["firstTimestamp"])
    assert event.pop("firstTimestamp") == event.pop("lastTimestamp")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "team"},
        "involvedObject": {
            "apiVersion": "example.com/v1", "kind": "Thing", "namespace": "team", "name": "a", "uid": "u1",
        },
        "type": "Warning",
        "reason": "ProbeFailed",
        "message": "connection refused",
        "count": 1,
        "source": {"component": "mcp-operator", "host": "pod-1"},
        "reportingComponent": "mcp-operator",
        "reportingInstance": "pod-1",
    }  # fmt: skip


async def test_an_event_about_a_cluster_scoped_object_is_in_the_default_namespace(
    api: ApiServer, kube: KubeClient
) -> None:
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        events.normal(NODE, "Seen", "hello")
    assert api.last.path == "/api/v1/namespaces/default/events"
    assert api.last.body["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u2"}


async def test_the_same_event_again_is_counted_and_another_is_not(api: ApiServer, kube: KubeClient) -> None:
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        for version in ("5", "6", "7"):
            newer = {**THING, "metadata": {**THING["metadata"], "resourceVersion": version}}  # type: ignore[dict-item]
            events.normal(newer, "Ready", "it runs")
        events.normal(THING, "Ready", "it runs elsewhere")
        events.warning(THING, "Ready", "it runs")
        events.normal(thing("b"), "Ready", "it runs")
    assert [asked.method for asked in api.asked] == ["POST", "PATCH", "PATCH", "POST", "POST", "POST"]
    name = api.asked[0].body["metadata"]["name"]
    assert [asked.path for asked in api.asked[1:3]] == [f"{EVENTS}/{name}"] * 2
    assert [asked.body["count"] for asked in api.asked[1:3]] == [2, 3]
    assert set(api.asked[2].body) == {"count", "lastTimestamp"}


async def test_an_event_that_expired_meanwhile_is_written_anew(api: ApiServer, kube: KubeClient) -> None:
    def respond(asked: Asked) -> Answer:
        return refusal(404, "NotFound", "events expire") if asked.method == "PATCH" else Answer(body=asked.body)

    api.respond = respond
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        events.normal(THING, "Ready", "it runs")
        events.normal(THING, "Ready", "it runs")
    assert [asked.method for asked in api.asked] == ["POST", "PATCH", "POST"]
    assert api.last.body["count"] == 1


async def test_one_object_cannot_flood_the_others(api: ApiServer, kube: KubeClient) -> None:
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        for number in range(100):
            events.warning(THING, "Flapping", f"attempt {number}")
        events.normal(thing("b"), "Ready", "it runs")
        assert events.dropped == 75
    assert len(api.asked) == 26
    assert api.last.body["involvedObject"]["name"] == "b"


async def test_what_does_not_fit_the_queue_is_dropped_and_nobody_waits(api: ApiServer, kube: KubeClient) -> None:
    async with EventRecorder(kube, "op", capacity=10, flush_timeout=FLUSH_SECONDS) as events:
        for number in range(30):
            events.normal(thing(str(number)), "Ready", "it runs")
        assert events.dropped == 20
    assert len(api.asked) == 10


async def test_a_short_outage_is_survived_and_a_refusal_is_dropped(
    api: ApiServer, kube: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [
        refusal(503, "ServiceUnavailable", "away", retryAfterSeconds=0.01),
        Answer(),
        refusal(403, "Forbidden", "no right to create events"),
        Answer(),
    ]
    api.respond = lambda _: answers.pop(0)
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        for name in "abc":
            events.normal(thing(name), "Ready", "it runs")
    assert [asked.body["involvedObject"]["name"] for asked in api.asked] == ["a", "a", "b", "c"]
    assert events.dropped == 1
    assert "event Ready was not recorded: no right to create events" in caplog.text


async def test_nothing_is_said_of_a_namespace_that_ends(
    api: ApiServer, kube: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    ends = {"causes": [{"reason": "NamespaceTerminating"}]}
    api.respond = lambda _: refusal(403, "Forbidden", "it is being terminated", **ends)
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        events.normal(thing("a"), "Ready", "it runs")
    assert events.dropped == 1
    assert caplog.text == ""


async def test_leaving_does_not_wait_for_a_server_that_hangs(
    api: ApiServer, kube: KubeClient, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    never = asyncio.Event()
    api.respond = lambda _: Answer(delay=never)
    async with EventRecorder(kube, "op", flush_timeout=0.05) as events:
        for name in "abc":
            events.normal(thing(name), "Ready", "it runs")
        await eventually(lambda: api.asked)
    never.set()
    assert "2 events were not sent in time" in caplog.text


@pytest.mark.parametrize(
    "about", [{}, {"metadata": {"name": "a"}}, {"apiVersion": "v1", "kind": "Pod", "metadata": None}]
)
async def test_an_event_about_nothing_is_dropped_without_an_error(
    about: dict[str, Any], api: ApiServer, kube: KubeClient
) -> None:
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        events.normal(about, "Ready", "it runs")
        assert events.dropped == 1
    assert api.asked == []


async def test_long_names_and_messages_are_shortened(api: ApiServer, kube: KubeClient) -> None:
    async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
        events.normal(thing("n" * 253), "Ready", "m" * 5000)
    assert len(api.last.body["metadata"]["name"]) == 253
    assert len(api.last.body["message"]) == 1024


async def test_what_has_happened_once_is_the_same_event_for_whoever_records_it(
    api: ApiServer, kube: KubeClient
) -> None:
    for _ in range(2):
        async with EventRecorder(kube, "op", flush_timeout=FLUSH_SECONDS) as events:
            events.once(THING, "Warning", "ServerRestarted", "it ended", "0af7651916cd43dd")
        api.respond = lambda _: refusal(409, "AlreadyExists", "there is one of that name")
    assert [asked.body["metadata"]["name"] for asked in api.asked] == ["a.0af7651916cd43dd"] * 2
    assert events.dropped == 0
