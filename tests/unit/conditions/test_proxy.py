"""The status of an McpProxy: from every observation to its conditions.

a table: each reason of Programmed, in the order in which they count · left out servers · health · what is counted
swap seconds · an unchanged observation · a restart of the operator
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_operator.api.proxy import ProxyStatus
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.proxy import ProxyObservation, Replica, proxy_status
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.server import Health
from mcp_operator.conditions.verdict import Refusal
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PROXY = models.proxy(resources.proxy(selector={}, replicas=2), generation=5)


def compiled(*names: str, left_out: bool = False, proxy: McpProxy = PROXY) -> Compiled:
    servers = [models.server(resources.remote(name, f"https://{name}/mcp")) for name in names]
    if left_out:
        source = {"secretKeyRef": {"name": "token", "key": "header"}}
        header = [{"name": "Authorization", "valueFrom": source}]
        servers.append(models.server(resources.remote("guarded", "https://guarded/mcp", headers=header)))
    return compile_proxy(proxy, routes=[], servers=servers, objects={}, url_of=cluster_url)


TWO = compiled("one", "two")
REVISION = TWO.config.revision
URL = "http://tools-proxy.team-a.svc/mcp"
BOTH = {"team-a/one": "", "team-a/two": ""}
RUNS = [Replica(pod, revision=REVISION, servers=BOTH, tools=4) for pod in ("a", "b")]
UNHEARD = [Replica(pod, answered=False) for pod in ("a", "b")]
GOOD = Health(healthy=True)
UP = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
PULL = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
STUCK = {
    "metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "status": {"containerStatuses": [{"name": "proxy", "image": "proxy:2", "state": PULL}]},
}


def deployment(**status: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "proxy", "image": "proxy:2"}]}}
    return {"metadata": {"generation": 1}, "spec": {"replicas": 2, "template": template}, "status": {**UP, **status}}


def pod(name: str, image: str, *, ready: bool = False) -> dict[str, Any]:
    containers = [{"name": "mesh", "image": "mesh:1"}, {"name": "proxy", "image": image}]
    status = {"conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    metadata = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"containers": containers}, "status": status}


def seen(**more: Any) -> ProxyObservation:
    given = {
        "compiled": TWO,
        "url": URL,
        "deployment": deployment(),
        "replicas": RUNS,
        "health": GOOD,
        "swap_seconds": 0.3,
    }
    return ProxyObservation(**{**given, **more})


def told(status: ProxyStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def message(status: ProxyStatus, kind: str) -> str:
    return next(condition.message for condition in status.conditions if condition.type == kind)


def after(proxy: McpProxy, status: ProxyStatus, **metadata: Any) -> McpProxy:
    parsed = ProxyStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))
    return proxy.model_copy(update={"status": parsed, "metadata": proxy.metadata.model_copy(update=metadata)})


OLD = Replica("a", revision="before", servers=BOTH)
PROGRAMMED: Sequence[tuple[str, ProxyObservation, tuple[str, str], str]] = [
    ("all run it", seen(), ("True", "Programmed"), f"2 replicas run revision {REVISION}, 0.3 s after it was written"),
    ("nobody knows how long", seen(swap_seconds=None), ("True", "Programmed"), f"2 replicas run revision {REVISION}"),
    ("one lags", seen(replicas=[OLD, RUNS[1]]), ("False", "Swapping"), f"1 of 2 replicas run revision {REVISION}"),
    ("one is missing", seen(replicas=RUNS[:1]), ("False", "Swapping"), "1 of 2 replicas"),
    ("one too many, and old", seen(replicas=[*RUNS, replace(OLD, pod="c")]), ("False", "Swapping"), "2 of 2"),
    ("no pods yet", seen(replicas=[]), ("False", "Swapping"), "0 of 2"),
    ("rejected", seen(replicas=[replace(OLD, rejected="servers[0]: bad"), RUNS[1]]), ("False", "ConfigRejected"),
     "pod a refused its configuration and keeps before: servers[0]: bad"),
    ("rejected by a fresh pod", seen(replicas=[Replica("a", rejected="bad")]), ("False", "ConfigRejected"), "no configuration at all"),
    ("rejected by a pod of the version before",
     seen(deployment=deployment(updatedReplicas=1), pods=[pod("a", "proxy:1")], replicas=[replace(OLD, rejected="new: bad"), RUNS[1]]),
     ("False", "Deploying"), "pod a is of another version, can't read its configuration (new: bad) and keeps before until it is replaced"),
    ("rejected by a pod of the version before, and the new image can't be had",
     seen(deployment=deployment(updatedReplicas=1), pods=[pod("a", "proxy:1"), STUCK], replicas=[replace(OLD, rejected="bad")]),
     ("False", "ImagePullFailed"), "keeps before until it is replaced; pod c: image proxy:2 can't be pulled"),
    ("rejected by a pod of this version",
     seen(deployment=deployment(updatedReplicas=1), pods=[pod("a", "proxy:2")], replicas=[replace(OLD, rejected="bad"), RUNS[1]]),
     ("False", "ConfigRejected"), "pod a refused its configuration"),
    ("rejected while paused", seen(paused=True, replicas=[replace(OLD, rejected="bad")]), ("False", "ConfigRejected"), "bad"),
    ("paused", seen(paused=True), ("Unknown", "Paused"), "mcp-operator.dev/paused"),
    ("refused", seen(refused=Refusal(Reason.APPLY_REFUSED, "too large")), ("False", "ApplyRefused"), "too large"),
    ("name taken", seen(refused=Refusal(Reason.CHILD_NAME_TAKEN, "taken")), ("False", "ChildNameTaken"), "taken"),
    ("unreachable", seen(replicas=[RUNS[0], Replica("b", unreachable="no answer")]), ("False", "ReplicaUnreachable"),
     "pod b does not say which revision it runs: no answer"),
    ("rolling out, and a pod does not answer yet", seen(deployment=deployment(replicas=3), pods=[pod("c", "proxy:2")],
     replicas=[*RUNS, Replica("c", unreachable="nothing listens")]), ("False", "Deploying"), "waiting for 2 pods"),
    ("rolling out, and a pod that was up does not answer", seen(deployment=deployment(replicas=3), pods=[pod("b", "proxy:2", ready=True)],
     replicas=[RUNS[0], Replica("b", unreachable="no answer")]), ("False", "ReplicaUnreachable"), "pod b does not say"),
    ("the first pods are starting", seen(deployment=deployment(availableReplicas=0), pods=[pod("a", "proxy:2")],
     replicas=[Replica("a", answered=False)]), ("False", "Deploying"), "waiting for 2 pods"),
    ("rolling out", seen(deployment=deployment(replicas=3)), ("False", "Deploying"), "waiting for 2 pods"),
    ("a rollout that is stuck", seen(deployment=deployment(replicas=3), pods=[STUCK]), ("False", "ImagePullFailed"), "proxy:2"),
    ("pods that cannot start", seen(deployment=deployment(availableReplicas=0), pods=[STUCK], replicas=[]),
     ("False", "ImagePullFailed"), "proxy:2"),
    ("no Deployment, as on one machine", seen(deployment=None), ("True", "Programmed"), REVISION),
    ("no Deployment, and trouble", seen(deployment=None, pods=[STUCK], replicas=[]), ("False", "ImagePullFailed"), "proxy:2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("observed", "expected", "words"), [case[1:] for case in PROGRAMMED], ids=[case[0] for case in PROGRAMMED]
)
def test_programmed(observed: ProxyObservation, expected: tuple[str, str], words: str) -> None:
    status = proxy_status(PROXY, observed, NOW)
    assert told(status)["Programmed"] == expected
    assert words in message(status, "Programmed")
    assert status.observed_generation == 5
    assert (status.programmed_revision == REVISION) == (expected[0] == "True")


@pytest.mark.parametrize("observed", [case[1] for case in PROGRAMMED], ids=[case[0] for case in PROGRAMMED])
def test_an_unchanged_observation_gives_an_equal_status(observed: ProxyObservation) -> None:
    first = after(PROXY, proxy_status(PROXY, observed, NOW))
    assert proxy_status(first, observed, LATER) == first.status


def test_refused_pods_are_told() -> None:
    refusal = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x-1" is forbidden: exceeded quota'}
    observed = seen(deployment=deployment(availableReplicas=0, conditions=[refusal]), replicas=[])
    status = proxy_status(PROXY, observed, NOW)
    assert told(status)["Programmed"] == ("False", "ApplyRefused")
    assert "exceeded quota" in message(status, "Programmed")


def test_no_replicas() -> None:
    none = models.proxy(resources.proxy(selector={}, replicas=0))
    status = proxy_status(none, seen(replicas=[]), NOW)
    assert told(status)["Programmed"] == ("False", "NoReplicas")
    assert not {"Reconciling", "Stalled"} & told(status).keys()


def test_what_is_counted() -> None:
    servers = [{"team-a/one": "", "team-a/two": ""}, {"team-a/one": "", "team-a/two": "Timeout"}]
    replicas = [replace(replica, servers=known) for replica, known in zip(RUNS, servers, strict=True)]
    status = proxy_status(PROXY, seen(replicas=replicas), NOW)
    shown = status.model_dump(mode="json", by_alias=True, exclude={"conditions"})
    assert shown == {
        "observedGeneration": 5,
        "url": URL,
        "clusterUrl": "",
        "selector": "",
        "paths": ["/mcp"],
        "serverCount": 2,
        "readyServers": 1,
        "toolCount": 4,
        "revision": REVISION,
        "programmedRevision": REVISION,
        "swapSeconds": 0.3,
        "replicas": 2,
        "programmedReplicas": 2,
        "replicaSummary": "2/2",
    }
    assert told(status)["Healthy"] == ("True", "Answering")
    assert message(status, "Healthy") == "the proxy answers; 1 of 2 servers not: team-a/two (Timeout)"


@pytest.mark.parametrize(
    ("servers", "ready"),
    [(None, 0), ({}, 0), ({"team-a/one": None, "team-a/two": ""}, 1), ({"team-a/gone": "", **BOTH}, 2)],
)
def test_ready_servers_are_those_that_have_answered(servers: dict[str, str | None] | None, ready: int) -> None:
    status = proxy_status(PROXY, seen(replicas=[replace(replica, servers=servers) for replica in RUNS]), NOW)
    assert status.ready_servers == ready
    waiting = f"the proxy answers; {2 - ready} of 2 servers not heard of yet"
    assert message(status, "Healthy") == (waiting if ready < 2 else "the proxy and its 2 servers answer")


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (None, ("Unknown", "NotProbed")),
        (Health(), ("Unknown", "NotProbed")),
        (Health(healthy=False, error_class="ConnectionRefused", error="x"), ("False", "ConnectionRefused")),
        (GOOD, ("True", "Answering")),
    ],
)
def test_healthy(health: Health | None, expected: tuple[str, str]) -> None:
    assert told(proxy_status(PROXY, seen(health=health), NOW))["Healthy"] == expected


def test_servers_that_are_left_out_are_told() -> None:
    outcome = compiled("one", left_out=True)
    runs = [replace(replica, revision=outcome.config.revision) for replica in RUNS]
    status = proxy_status(PROXY, seen(compiled=outcome, replicas=runs), NOW)
    assert told(status)["ResolvedRefs"] == ("False", "RefNotFound")
    assert message(status, "ResolvedRefs").endswith("(left out: team-a/guarded)")
    assert told(status)["Programmed"] == ("True", "Programmed")


def test_paths_have_a_limit() -> None:
    """The schema of the status has one, and a proxy with more paths works all the same."""
    routes = [models.route(resources.route(f"r{n}", {"name": "one"}, path=f"/r{n}")) for n in range(300)]
    server = models.server(resources.remote("one", "https://one/mcp"))
    outcome = compile_proxy(PROXY, routes=routes, servers=[server], objects={}, url_of=cluster_url)
    assert len(outcome.config.routes) == 301
    assert len(proxy_status(PROXY, seen(compiled=outcome), NOW).paths) == 256


class TestSwapSeconds:
    def test_they_are_those_of_the_revision(self) -> None:
        first = after(PROXY, proxy_status(PROXY, seen(), NOW))
        other = compiled("one")
        runs = [replace(replica, revision=other.config.revision) for replica in RUNS]
        swapping = after(first, proxy_status(first, seen(compiled=other), NOW))
        assert (swapping.status.swap_seconds, swapping.status.programmed_revision) == (0.3, REVISION)
        done = proxy_status(swapping, seen(compiled=other, replicas=runs, swap_seconds=1.23456), NOW)
        assert (done.swap_seconds, done.programmed_revision) == (1.235, other.config.revision)

    def test_a_pod_that_joins_later_does_not_change_them(self) -> None:
        first = after(PROXY, proxy_status(PROXY, seen(), NOW))
        assert proxy_status(first, seen(swap_seconds=9.9), NOW).swap_seconds == 0.3

    def test_unknown_ones_stay_unknown(self) -> None:
        first = after(PROXY, proxy_status(PROXY, seen(swap_seconds=None), NOW))
        assert first.status.swap_seconds is None
        assert proxy_status(first, seen(swap_seconds=9.9), NOW).swap_seconds is None


class TestRestartOfTheOperator:
    @pytest.mark.parametrize(
        "known",
        [
            seen(),
            seen(replicas=[replace(RUNS[0], servers={"team-a/one": "Timeout"}), RUNS[1]]),
            seen(replicas=[OLD, RUNS[1]]),
            seen(health=Health(healthy=False, error_class="Timeout", error="x")),
        ],
    )
    @pytest.mark.parametrize("health", [None, Health()])
    def test_it_is_no_news(self, known: ProxyObservation, health: Health | None) -> None:
        before = after(PROXY, proxy_status(PROXY, known, NOW))
        fresh = replace(known, replicas=UNHEARD, health=health, swap_seconds=None)
        assert proxy_status(before, fresh, LATER) == before.status

    def test_the_probe_may_come_before_the_replicas_answer(self) -> None:
        known = seen(replicas=[replace(replica, servers={"team-a/one": "Timeout"}) for replica in RUNS])
        before = after(PROXY, proxy_status(PROXY, known, NOW))
        assert proxy_status(before, replace(known, replicas=UNHEARD), LATER) == before.status

    @pytest.mark.parametrize("change", ["generation", "revision", "pods"])
    def test_what_has_changed_meanwhile_counts(self, change: str) -> None:
        before = after(PROXY, proxy_status(PROXY, seen(), NOW), generation=6 if change == "generation" else 5)
        fresh = seen(
            compiled=compiled("one") if change == "revision" else TWO,
            replicas=[] if change == "pods" else UNHEARD,
        )
        assert told(proxy_status(before, fresh, LATER))["Programmed"] == ("False", "Swapping")
