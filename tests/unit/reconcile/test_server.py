"""An McpServer, from its manifest to children, probe and status.

remote: no child, probed with its headers, status · hosted: children in order, then nothing more to write
a child deleted, edited, pruned · foreign objects of a child's name, of our label, of a former namesake, left behind
refused: Invalid, a quota, a namespace that ends · paused · a missing Secret and its creation · restarts
deletion · a body that cannot be read · an operator that starts anew
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.engine.keys import Key
from mcp_operator.kube.errors import Forbidden, Unavailable
from mcp_operator.reconcile.children import RETRY_SECONDS
from mcp_operator.reconcile.swaps import NUDGE_SECONDS
from mcp_operator_proxy.report import ErrorReport
from support import resources
from support.apiserver import AWAY, INVALID, QUOTA, TERMINATING, Body
from support.bench import FACTS, Bench

URL = "http://far.example.com/mcp"
NEAR = "http://near-server.team-a.svc:8080/mcp"
REFUSED = ErrorReport(error_class="ConnectionRefused", message="nobody listens")
SERVER = Key("McpServer", "team-a", "near")


HEALTH = {"interval": "1m", "timeout": "3s", "failureThreshold": 2}


def _near(image: str) -> Body:
    return resources.container("near", image, health=HEALTH)


def _secret(name: str, **data: str) -> Body:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _header(secret: str) -> list[Body]:
    return [{"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": secret, "key": "header"}}}]


async def _healthy(bench: Bench, body: Body | None = None) -> None:
    """A container server that runs and answers."""
    bench.apply(body or _near("image:1"))
    await bench.drain()
    bench.run_pods("near-server")
    bench.probes.say(NEAR, FACTS)
    await bench.until(lambda: bench.condition("McpServer", "near", "Ready") == ("True", "Ready"))


async def test_remote(bench: Bench) -> None:
    bench.apply(resources.remote("far", URL))
    bench.probes.say(URL, FACTS)
    await bench.until(lambda: bench.condition("McpServer", "far", "Ready") == ("True", "Ready"))
    status = bench.status("McpServer", "far")
    assert (status["hosting"], status["url"], status["observedGeneration"]) == ("Remote", URL, 1)
    assert status["serverInfo"] == {"name": "demo", "version": "1"}
    assert status["tools"] == {"count": 2, "names": ["add", "hello"], "digest": "sha256:0"}
    assert set(bench.api.writes) == {"McpServer/far/status"}


async def test_hosted_children_come_in_order_and_once(bench: Bench) -> None:
    bench.apply(_near("image:1"))
    await bench.drain()
    assert bench.api.writes == ["Deployment/near-server", "Service/near-server", "McpServer/near/status"]
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "Deploying")
    assert bench.condition("McpServer", "near", "Reconciling") == ("True", "Deploying")


async def test_an_unchanged_world_costs_no_request(bench: Bench) -> None:
    await _healthy(bench)
    asked = len(bench.api.asked)
    await bench.reconcile("McpServer", "near")
    bench.prober.trigger(SERVER)
    await bench.reconcile("McpServer", "near")
    assert [one for one in bench.api.asked[asked:] if "/events" not in one.path] == []


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
async def test_a_deleted_child_comes_back(bench: Bench, kind: str) -> None:
    await _healthy(bench)
    uid = bench.api.get(kind, "near-server")["metadata"]["uid"]
    bench.api.kubectl_delete(kind, "near-server")
    await bench.drain()
    assert bench.api.get(kind, "near-server")["metadata"]["uid"] != uid


async def test_an_edited_child_is_mended_and_additions_stay(bench: Bench) -> None:
    await _healthy(bench)

    def meddle(body: Body) -> None:
        body["spec"]["replicas"] = 3
        body["metadata"]["labels"]["mine"] = "yes"
        body["metadata"]["labels"].pop(meta.LABEL_NAME)

    bench.api.edit("Deployment", "near-server", meddle)
    await bench.drain()
    after = bench.api.get("Deployment", "near-server")
    assert after["spec"]["replicas"] == 1
    assert after["metadata"]["labels"]["mine"] == "yes"
    assert after["metadata"]["labels"][meta.LABEL_NAME] == "mcp-server"


async def test_what_the_api_server_says_in_another_way_is_asked_for_once(bench: Bench) -> None:
    """A `false` that is the default does not come back: that looks like drift for ever, and is none."""
    await _healthy(bench)
    body = _near("image:1")
    body["spec"]["podTemplate"] = {"spec": {"hostNetwork": False}}
    bench.apply(body)
    await bench.drain()
    await bench.reconcile("McpServer", "near")
    asked = len(bench.api.asked)
    await bench.reconcile("McpServer", "near")
    bench.api.edit("Deployment", "near-server", lambda live: live.setdefault("status", {}).update(replicas=7))
    await bench.reconcile("McpServer", "near")
    assert [request for request in bench.api.asked[asked:] if request.path.endswith("near-server")] == []
    bench.api.edit("Deployment", "near-server", lambda live: live["spec"]["template"]["spec"].update(hostNetwork=True))
    await bench.drain()
    assert "hostNetwork" not in bench.api.get("Deployment", "near-server")["spec"]["template"]["spec"]


async def test_a_field_no_longer_set_is_removed(bench: Bench) -> None:
    await _healthy(bench)
    body = _near("image:1")
    body["spec"]["container"]["args"] = ["--fast"]
    bench.apply(body)
    await bench.drain()
    container = bench.api.get("Deployment", "near-server")["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["--fast"]
    del body["spec"]["container"]["args"]
    bench.apply(body)
    await bench.drain()
    assert "args" not in bench.api.get("Deployment", "near-server")["spec"]["template"]["spec"]["containers"][0]


async def test_children_that_are_no_longer_wanted_are_pruned_and_no_others(bench: Bench) -> None:
    await _healthy(bench)
    ours = bench.api.get("Service", "near-server")["metadata"]
    other = {**ours["ownerReferences"][0], "uid": "another", "controller": True}
    bench.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "others", "labels": ours["labels"], "ownerReferences": [other]},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "unlabelled", "ownerReferences": ours["ownerReferences"]},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orphan", "labels": ours["labels"]}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "not-controlled",
                "labels": ours["labels"],
                "ownerReferences": [{**ours["ownerReferences"][0], "controller": False}],
            },
        },
    )
    bench.api.edit("McpServer", "near", lambda b: b.update(spec=resources.remote("near", URL)["spec"]))
    await bench.drain()
    assert bench.api.names("Deployment") == bench.api.names("Service") == set()
    assert bench.api.names("ConfigMap") == {"others", "unlabelled", "orphan", "not-controlled"}
    deletes = [asked.written for asked in bench.api.asked if asked.method == "DELETE"]
    assert sorted(deletes) == ["Deployment/near-server", "Service/near-server"]
    assert all(asked.body["preconditions"]["uid"] for asked in bench.api.asked if asked.method == "DELETE")
    assert bench.status("McpServer", "near")["hosting"] == "Remote"


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
async def test_a_foreign_object_is_not_taken_over(bench: Bench, kind: str) -> None:
    """A user's own object has the name of a child: nothing is written until it is gone."""
    foreign: Body = {"apiVersion": "apps/v1" if kind == "Deployment" else "v1", "kind": kind}
    foreign |= {"metadata": {"name": "near-server"}, "spec": {"template": {"spec": {"containers": []}}}}
    bench.apply(foreign, _near("image:1"))
    before = bench.api.get(kind, "near-server")
    results = await bench.drain()
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "ChildNameTaken")
    assert bench.condition("McpServer", "near", "Stalled") == ("True", "ChildNameTaken")
    assert f"{kind} team-a/near-server exists already" in bench.message("McpServer", "near")
    assert bench.api.writes == ["McpServer/near/status"]
    assert bench.api.get(kind, "near-server") == before
    assert results[SERVER].requeue_after == RETRY_SECONDS

    bench.api.kubectl_delete(kind, "near-server")
    await bench.reconcile("McpServer", "near")
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "Deploying")
    assert bench.api.names("Deployment") == bench.api.names("Service") == {"near-server"}


async def test_an_object_of_another_owner_is_not_taken_over(bench: Bench) -> None:
    owner = {"apiVersion": "example.com/v1", "kind": "App", "name": "near", "uid": "u", "controller": True}
    labels = {meta.LABEL_MANAGED_BY: meta.MANAGED_BY}
    bench.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "near-server", "labels": labels, "ownerReferences": [owner]},
        },
        _near("image:1"),
    )
    await bench.drain()
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "ChildNameTaken")
    assert bench.api.get("Service", "near-server")["metadata"]["ownerReferences"] == [owner]


async def test_children_of_a_deleted_namesake_are_waited_for(bench: Bench) -> None:
    """The garbage collector takes a moment: the children of the old one are not those of the new one."""
    await _healthy(bench)
    references = bench.api.get("Service", "near-server")["metadata"]["ownerReferences"]
    old = {**references[0], "uid": "the-old-one"}
    bench.api.edit("Service", "near-server", lambda b: b["metadata"].update(ownerReferences=[old]))
    await bench.reconcile("McpServer", "near")
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "Deploying")
    assert "still being removed" in bench.message("McpServer", "near")
    await bench.drain()
    bench.api.kubectl_delete("Service", "near-server")
    assert SERVER in bench.waiting, "its deletion is the word to go on"
    await bench.drain()
    assert bench.api.get("Service", "near-server")["metadata"]["ownerReferences"] == references


async def test_what_was_left_behind_on_purpose_is_taken_back(bench: Bench) -> None:
    """`kubectl delete --cascade=orphan`, and the server created again: its pods go on."""
    await _healthy(bench)
    for kind in ("Deployment", "Service"):
        bench.api.edit(kind, "near-server", lambda b: b["metadata"].pop("ownerReferences"))
    uid = bench.api.get("Deployment", "near-server")["metadata"]["uid"]
    bench.api.kubectl_delete("McpServer", "near")
    bench.apply(_near("image:1"))
    await bench.drain()
    found = bench.api.get("Deployment", "near-server")["metadata"]
    assert found["uid"] == uid
    assert found["ownerReferences"][0]["uid"] == bench.api.get("McpServer", "near")["metadata"]["uid"]


async def test_a_successor_of_a_child_is_not_written_over(bench: Bench) -> None:
    """Between the look and the write somebody put an own object there: the write names the uid that it means."""
    await _healthy(bench)
    bench.api.edit("Deployment", "near-server", lambda b: b["spec"].update(replicas=3))
    bench.waiting.clear()
    bench.api.objects["/apis/apps/v1/namespaces/team-a/deployments/near-server"]["metadata"]["uid"] = "another"
    with pytest.raises(Exception, match="uid"):
        await bench.reconcile("McpServer", "near")
    assert bench.api.get("Deployment", "near-server")["spec"]["replicas"] == 3


async def test_a_child_that_is_being_deleted_is_waited_for(bench: Bench) -> None:
    """A finalizer holds it: it is not written again and again, and comes back when it is gone."""
    await _healthy(bench)
    bench.api.edit("Service", "near-server", lambda b: b["metadata"].update(finalizers=["example.com/hold"]))
    await bench.drain()
    bench.api.kubectl_delete("Service", "near-server")
    asked = len(bench.api.writes)
    await bench.drain()
    assert bench.api.writes[asked:] == []
    uid = bench.api.get("Service", "near-server")["metadata"]["uid"]
    bench.api.edit("Service", "near-server", lambda b: b["metadata"].pop("finalizers"))
    bench.api.kubectl_delete("Service", "near-server")
    await bench.drain()
    assert bench.api.get("Service", "near-server")["metadata"]["uid"] != uid


async def test_invalid_is_a_condition_and_waits_for_an_edit(bench: Bench) -> None:
    bench.api.refuse("PATCH", "/services/", INVALID)
    bench.apply(_near("image:1"))
    results = await bench.drain()
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "ApplyRefused")
    assert bench.condition("McpServer", "near", "Stalled") == ("True", "ApplyRefused")
    assert "spec.port: Invalid value" in bench.message("McpServer", "near")
    assert results[SERVER].requeue_after is None
    bench.api.relent()
    bench.apply(_near("image:2"))
    await bench.drain()
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "Deploying")


async def test_a_quota_is_told_and_tried_again(bench: Bench) -> None:
    bench.api.refuse("PATCH", "/deployments/", QUOTA)
    bench.apply(_near("image:1"))
    results = await bench.drain()
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "ApplyRefused")
    assert "exceeded quota" in bench.message("McpServer", "near")
    assert results[SERVER].requeue_after == RETRY_SECONDS


async def test_a_namespace_that_ends_is_left_in_peace(bench: Bench) -> None:
    bench.api.refuse("PATCH", "/deployments/", TERMINATING)
    bench.apply(_near("image:1"))
    results = await bench.drain()
    assert results[SERVER].requeue_after is None
    assert "conditions" not in bench.status("McpServer", "near")


async def test_what_may_pass_is_raised_for_the_backoff(bench: Bench) -> None:
    bench.api.refuse("PATCH", "/deployments/", AWAY)
    bench.apply(_near("image:1"))
    with pytest.raises(Unavailable):
        await bench.drain()
    bench.api.relent()
    bench.api.refuse("PATCH", "/mcpservers/", QUOTA)
    with pytest.raises(Forbidden):
        await bench.reconcile("McpServer", "near")


async def test_paused(bench: Bench) -> None:
    await _healthy(bench)
    bench.api.edit("McpServer", "near", lambda b: b["metadata"].update(annotations={meta.ANNOTATION_PAUSED: "true"}))
    bench.api.edit("Deployment", "near-server", lambda b: b["spec"].update(replicas=0))
    bench.probes.say(NEAR, REFUSED)
    bench.prober.trigger(SERVER)
    await bench.until(lambda: bench.condition("McpServer", "near", "Programmed") == ("Unknown", "Paused"))
    assert bench.api.get("Deployment", "near-server")["spec"]["replicas"] == 0
    bench.api.edit("McpServer", "near", lambda b: b["metadata"].update(annotations={meta.ANNOTATION_PAUSED: "false"}))
    await bench.drain()
    assert bench.api.get("Deployment", "near-server")["spec"]["replicas"] == 1


async def test_a_missing_secret_is_told_and_heals_when_it_comes(bench: Bench) -> None:
    bench.apply(resources.remote("far", URL, headers=_header("token")))
    bench.probes.say(URL, FACTS)
    await bench.drain()
    assert bench.condition("McpServer", "far", "ResolvedRefs") == ("False", "RefNotFound")
    assert "Secret team-a/token is not found" in bench.message("McpServer", "far")
    assert bench.probes.asked == []
    bench.apply(_secret("token", other="x"))
    await bench.drain()
    assert "has no key header" in bench.message("McpServer", "far")
    bench.apply(_secret("token", header="Bearer s3cr3t"))
    await bench.until(lambda: bench.condition("McpServer", "far", "Ready") == ("True", "Ready"))
    assert bench.probes.asked[-1].headers == {"Authorization": "Bearer s3cr3t"}
    bench.apply(_secret("token", header="Bearer n3wer"))
    await bench.until(lambda: bench.probes.asked[-1].headers == {"Authorization": "Bearer n3wer"})
    bench.api.kubectl_delete("Secret", "token")
    await bench.drain()
    assert bench.condition("McpServer", "far", "ResolvedRefs") == ("False", "RefNotFound")
    assert "s3cr3t" not in str(bench.api.get("McpServer", "far")) + str(bench.api.events)


async def test_the_store_holds_no_foreign_secret(bench: Bench) -> None:
    body = _secret("token", header="Bearer s3cr3t")
    body["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "s3cr3t"}
    bench.apply(body)
    assert "s3cr3t" not in str(bench.store.list("Secret"))


async def test_events_are_for_transitions(bench: Bench) -> None:
    far = Key("McpServer", "team-a", "far")
    bench.apply(resources.remote("far", URL), _near("image:1"))
    bench.probes.say(URL, FACTS)
    await bench.until(lambda: bench.condition("McpServer", "far", "Ready")[0] == "True")
    await bench.probe(far, FACTS, times=3)
    await bench.probe(far, replace(FACTS, tools=("other",)))
    assert bench.status("McpServer", "far")["tools"]["names"] == ["other"]
    await bench.probe(far, REFUSED, times=4)
    await bench.probe(far, FACTS)
    await bench.until(lambda: sum(event["count"] for event in bench.api.events) == 4)
    told = {(e["involvedObject"]["name"], e["type"], e["reason"], e["count"]) for e in bench.api.events}
    warning, fine = ("far", "Warning", "ConnectionRefused", 1), ("far", "Normal", "Ready", 2)
    assert told == {("near", "Normal", "Deploying", 1), warning, fine}


class TestRestarts:
    @staticmethod
    async def _healthy_for_long(bench: Bench, *, up_for: float = 3600, body: Body | None = None) -> None:
        await _healthy(bench, body)
        since = (datetime.now(UTC) - timedelta(seconds=up_for)).isoformat()
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
        bench.api.edit("Pod", "near-server-0", lambda b: b["status"].update(conditions=[ready]))
        await bench.drain()

    async def _dead(self, bench: Bench, *, up_for: float = 3600) -> None:
        """It ran and answered, then its probes failed; its pods have been up all that time."""
        await self._healthy_for_long(bench, up_for=up_for)
        await bench.probe(SERVER, REFUSED, times=2)
        assert bench.condition("McpServer", "near", "Healthy") == ("False", "ConnectionRefused")

    @staticmethod
    def _ordered(bench: Bench) -> Any:
        template = bench.api.get("Deployment", "near-server")["spec"]["template"]["metadata"]
        return template.get("annotations", {}).get(meta.ANNOTATION_RESTARTED_AT)

    async def test_what_fails_its_probes_is_restarted_once(self, bench: Bench) -> None:
        await self._dead(bench)
        await bench.until(lambda: bench.status("McpServer", "near")["restarts"] == 1)
        ordered = self._ordered(bench)
        assert datetime.fromisoformat(ordered) == datetime.fromisoformat(
            bench.status("McpServer", "near")["restartedAt"]
        )
        bench.run_pods("near-server")
        results = await bench.drain()
        assert 0 < (results[SERVER].requeue_after or 0) <= 10
        assert self._ordered(bench) == ordered
        await bench.until(lambda: "Restarting" in {event["reason"] for event in bench.api.events})

    async def test_pods_that_have_just_come_up_have_time_to_answer(self, bench: Bench) -> None:
        await self._dead(bench, up_for=0)
        results = await bench.drain() or {SERVER: await bench.reconcile("McpServer", "near")}
        assert self._ordered(bench) is None
        assert 60 < (results[SERVER].requeue_after or 0) <= 120

    async def test_a_restart_whose_status_was_not_written_is_not_ordered_again(self, bench: Bench) -> None:
        await self._healthy_for_long(bench)
        await bench.probe(SERVER, REFUSED)
        bench.api.refuse("PATCH", "/mcpservers/", AWAY)
        with pytest.raises(Unavailable):
            await bench.probe(SERVER, REFUSED)
        ordered = self._ordered(bench)
        assert ordered is not None
        with pytest.raises(Unavailable):
            await bench.reconcile("McpServer", "near")
        assert self._ordered(bench) == ordered
        bench.api.relent()
        await bench.reconcile("McpServer", "near")
        assert self._ordered(bench) == ordered
        assert bench.status("McpServer", "near")["restarts"] == 1

    async def test_nothing_is_restarted_while_paused(self, bench: Bench) -> None:
        await self._healthy_for_long(bench)
        pause = {meta.ANNOTATION_PAUSED: "true"}
        bench.api.edit("McpServer", "near", lambda b: b["metadata"].update(annotations=pause))
        await bench.probe(SERVER, REFUSED, times=3)
        assert bench.condition("McpServer", "near", "Healthy") == ("False", "ConnectionRefused")
        assert bench.status("McpServer", "near")["restarts"] == 0

    async def test_an_edit_starts_the_count_anew(self, bench: Bench) -> None:
        await self._dead(bench)
        await bench.until(lambda: bench.status("McpServer", "near")["restarts"] == 1)
        ordered = self._ordered(bench)
        bench.apply(_near("image:2"))
        await bench.drain()
        assert bench.status("McpServer", "near")["restarts"] == 0
        assert self._ordered(bench) == ordered, "the pods are rolled by the edit alone"

    async def test_an_edit_is_rolled_out_before_anything_is_restarted(self, bench: Bench) -> None:
        """The failed probes were those of the version before it."""
        never = resources.container("near", "image:1", health={**HEALTH, "maxRestarts": 0})
        await self._healthy_for_long(bench, body=never)
        await bench.probe(SERVER, REFUSED, times=2)
        bench.apply(_near("image:2"))
        await bench.drain()
        assert self._ordered(bench) is None
        assert bench.status("McpServer", "near")["restarts"] == 0


async def test_an_evicted_pod_is_history(bench: Bench) -> None:
    bench.apply(_near("image:1"))
    await bench.drain()
    bench.run_pods("near-server", ready=False)
    killed = {"name": "server", "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}
    status = {"phase": "Failed", "reason": "Evicted", "containerStatuses": [killed]}
    bench.api.edit("Pod", "near-server-0", lambda b: b.update(status=status))
    await bench.drain()
    assert bench.condition("McpServer", "near", "Programmed") == ("False", "Deploying")


async def test_deletion_forgets(bench: Bench) -> None:
    await _healthy(bench)
    bench.api.kubectl_delete("McpServer", "near")
    await bench.drain()
    assert bench.prober.health(SERVER) is None
    assert not bench.api.names("Deployment")
    assert bench.waiting == {}


async def test_while_it_is_being_deleted_nothing_is_made(bench: Bench) -> None:
    await _healthy(bench)
    bench.api.edit("McpServer", "near", lambda b: b["metadata"].update(finalizers=["example.com/hold"]))
    await bench.drain()
    bench.api.kubectl_delete("McpServer", "near")
    bench.api.kubectl_delete("Deployment", "near-server")
    writes = len(bench.api.writes)
    await bench.drain()
    assert bench.api.writes[writes:] == []
    assert bench.prober.health(SERVER) is None


async def test_a_body_that_cannot_be_read_is_told(bench: Bench) -> None:
    """A CRD of another version let it through. The time of the condition moves with its status alone."""
    bench.apply(_near("image:1"))
    bench.api.edit("McpServer", "near", lambda b: b["spec"]["container"].update(port="http"))
    await bench.drain()
    assert bench.condition("McpServer", "near", "Accepted") == ("False", "Invalid")
    assert "spec.container.port" in bench.message("McpServer", "near")
    writes = len(bench.api.writes)
    await bench.reconcile("McpServer", "near")
    assert bench.api.writes[writes:] == []

    def age(body: Body) -> None:
        for condition in body["status"]["conditions"]:
            condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"

    bench.api.edit("McpServer", "near", age)
    bench.api.edit("McpServer", "near", lambda b: b["spec"]["container"].update(path=7))
    await bench.drain()
    listed = bench.status("McpServer", "near")["conditions"]
    assert "spec.container.path" in bench.message("McpServer", "near")
    assert {c["lastTransitionTime"] for c in listed} == {"2026-01-01T00:00:00Z"}


async def test_an_operator_that_starts_anew_changes_nothing(bench: Bench) -> None:
    """What is known of a healthy server stands until there is news; the first probe is none when it finds the same."""
    await _healthy(bench)
    writes = len(bench.api.writes)
    bench.probes.answers.clear()
    await bench.restart()
    await bench.drain()
    assert bench.api.writes[writes:] == []
    bench.probes.say(NEAR, FACTS)
    await bench.until(lambda: (health := bench.prober.health(SERVER)) and health.healthy)
    await bench.drain()
    assert bench.api.writes[writes:] == []


def _reading(**fields: Any) -> Body:
    body = _near("image:1")
    body["spec"]["container"].update(fields)
    return body


def _environment_of(bench: Bench) -> str | None:
    template: Body = bench.api.get("Deployment", "near-server")["spec"]["template"]["metadata"]
    found: str | None = template.get("annotations", {}).get(meta.ANNOTATION_ENVIRONMENT)
    return found


async def test_another_value_in_the_environment_rolls_the_pods(bench: Bench) -> None:
    bench.apply(_secret("s", a="1"))
    await _healthy(bench, _reading(envFrom=[{"secretRef": {"name": "s"}}]))
    before = _environment_of(bench)
    assert before
    bench.api.edit("Secret", "s", lambda b: b["metadata"].update(labels={"team": "core"}))
    await bench.drain()
    assert _environment_of(bench) == before, "nothing that a process sees has changed"
    bench.apply(_secret("s", a="2"))
    await bench.drain()
    assert _environment_of(bench) not in {before, None}


async def test_pods_that_run_are_not_given_up_for_a_missing_secret(bench: Bench) -> None:
    bench.apply(_secret("s", a="1"))
    await _healthy(bench, _reading(envFrom=[{"secretRef": {"name": "s"}}]))
    before = _environment_of(bench)
    bench.api.kubectl_delete("Secret", "s")
    await bench.drain()
    assert bench.condition("McpServer", "near", "ResolvedRefs") == ("False", "RefNotFound")
    assert _environment_of(bench) == before
    bench.apply(_secret("s", a="1"))
    await bench.until(lambda: bench.condition("McpServer", "near", "Ready") == ("True", "Ready"))
    assert _environment_of(bench) == before


async def test_files_are_renewed_in_running_pods_and_no_pod_is_rolled(bench: Bench) -> None:
    """Each pod is annotated twice: the kubelet may take the first call before its watch has the new content."""

    async def annotated() -> str:
        await bench.drain()
        (name,) = bench.api.names("Pod")
        found: str = bench.api.get("Pod", name)["metadata"]["annotations"][meta.ANNOTATION_FILES]
        return found

    source = {"secretKeyRef": {"name": "s", "key": "a"}}
    bench.apply(_secret("s", a="1"))
    await _healthy(bench, _reading(files=[{"path": "/etc/near/a", "valueFrom": source}]))
    template = bench.api.get("Deployment", "near-server")["spec"]["template"]
    first = await annotated()
    bench.clock += NUDGE_SECONDS
    await bench.reconcile("McpServer", "near")
    assert await annotated() == f"{first}+1"
    bench.apply(_secret("s", a="2"))
    second = await annotated()
    assert second != first
    results = await bench.reconcile("McpServer", "near")
    assert results.requeue_after == NUDGE_SECONDS
    bench.clock += NUDGE_SECONDS
    await bench.reconcile("McpServer", "near")
    assert await annotated() == f"{second}+1"
    assert bench.api.get("Deployment", "near-server")["spec"]["template"] == template
    await bench.restart()
    await bench.drain()
    bench.clock += NUDGE_SECONDS
    asked = len(bench.api.asked)
    await bench.reconcile("McpServer", "near")
    assert not [one for one in bench.api.asked[asked:] if one.method != "GET"]


async def test_a_pod_template_that_takes_away_is_a_condition_and_changes_nothing(bench: Bench) -> None:
    await _healthy(bench)
    deployment = bench.api.get("Deployment", "near-server")
    template = {"spec": {"containers": [{"name": "server", "$patch": "delete"}]}}
    bench.api.edit("McpServer", "near", lambda b: b["spec"].update(podTemplate=template))
    await bench.drain()
    assert bench.condition("McpServer", "near", "Accepted") == ("False", "InvalidValue")
    assert "the container server can't be removed" in bench.message("McpServer", "near")
    assert bench.api.get("Deployment", "near-server") == deployment


async def test_a_missing_pull_secret_is_told(bench: Bench) -> None:
    body = _near("image:1")
    body["spec"]["imagePullSecrets"] = [{"name": "login"}]
    bench.apply(body)
    await bench.drain()
    assert bench.condition("McpServer", "near", "ResolvedRefs") == ("False", "RefNotFound")
    assert "Secret team-a/login of imagePullSecrets is not found" in bench.message("McpServer", "near")
    pod = bench.api.get("Deployment", "near-server")["spec"]["template"]["spec"]
    assert {"name": "login"} in pod["imagePullSecrets"]
    bench.apply(_secret("login", **{".dockerconfigjson": "{}"}))
    await bench.drain()
    assert bench.condition("McpServer", "near", "ResolvedRefs") == ("True", "Resolved")


async def test_the_key_for_logs_is_made_once_and_given_to_who_shows_them(bench: Bench) -> None:
    labels = {"team": "core"}
    bench.apply(
        resources.proxy("plain", selector=labels), resources.proxy("seen", selector=labels, inspector={"enabled": True})
    )
    bench.apply(resources.stdio("near", "notes", labels=labels, health=HEALTH))
    await bench.drain()
    assert bench.api.writes.count("Secret/near-server-identity") == 1
    key = bench.api.get("Secret", "near-server-identity")["data"]["key"]
    assert _keys(bench, "seen") == [key]
    assert _keys(bench, "plain") == []
    assert _environment_of(bench) is None, "another key rolls no pods"
    asked = len(bench.api.writes)
    for kind, name in (("McpServer", "near"), ("McpProxy", "seen"), ("McpProxy", "plain")):
        await bench.reconcile(kind, name)
    await bench.drain()
    assert bench.api.writes[asked:] == []
    bench.api.kubectl_delete("Secret", "near-server-identity")
    await bench.drain()
    renewed = bench.api.get("Secret", "near-server-identity")["data"]["key"]
    assert renewed != key
    await bench.until(lambda: renewed in _keys(bench, "seen"))
    assert bench.api.writes[asked:].count("Deployment/near-server") == 0


def _keys(bench: Bench, proxy: str) -> list[str]:
    held = bench.api.get("Secret", f"{proxy}-proxy-secrets")["data"]
    return [value for name, value in held.items() if ".identity." in name]


async def test_somebody_elses_secret_keeps_no_shared_server_from_running(bench: Bench) -> None:
    bench.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "near-server-identity"}, "data": {}})
    bench.apply(resources.stdio("near", "notes", health=HEALTH))
    await bench.drain()
    assert "Secret/near-server-identity" not in bench.api.writes
    assert "Deployment/near-server" in bench.api.writes
    assert bench.api.get("Secret", "near-server-identity")["data"] == {}


async def test_the_key_of_a_server_with_users_is_made_once(bench: Bench) -> None:
    bench.apply(resources.stdio("near", "notes", isolation="user", health=HEALTH))
    await bench.drain()
    writes = ["Secret/near-server-identity", "Deployment/near-server", "Service/near-server", "McpServer/near/status"]
    assert bench.api.writes == writes
    assert bench.condition("McpServer", "near", "Accepted") == ("True", "Accepted")
    assert _environment_of(bench)
    asked = len(bench.api.writes)
    await bench.reconcile("McpServer", "near")
    await bench.drain()
    assert bench.api.writes[asked:] == []
    key = bench.api.get("Secret", "near-server-identity")["data"]
    bench.api.kubectl_delete("Secret", "near-server-identity")
    environment = _environment_of(bench)
    await bench.drain()
    assert bench.api.get("Secret", "near-server-identity")["data"] != key
    assert _environment_of(bench) != environment, "the bridge has to learn the new one"
