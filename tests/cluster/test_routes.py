"""Routes across namespaces and conflicts, as an operator process decides them on a real API server.

No pod runs (`replicas: 0`): what is looked at is the configuration that was written, and the conditions.

consent: given by name, by labels of the namespace; taken away; in an operator of some namespaces alone
a conflict: told on both sides; turned round by a priority; ended by a deletion
an unchanged world: a new process writes nothing; what the API server says in words of its own is not asked for again and again
"""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import resources
from support.beside import ONCE, Operator, operating, until

from .conftest import Kubectl

Body = dict[str, Any]
WATCHED = "mcpservers,mcpproxies,mcproutes,deployments,services,configmaps,secrets,serviceaccounts"
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Pair:
    """The namespace of a team that has a proxy, and that of the platform whose servers it wants."""

    team: Kubectl
    platform: Kubectl

    def server(self, name: str, *, consent: Body | None = None, labels: Body | None = None) -> None:
        spec = {"allowedRoutes": {"namespaces": consent}} if consent else {}
        body = resources.remote(name, "http://127.0.0.1:9/mcp", labels=labels, **spec)
        self.platform("apply", "-f", "-", body={**body, "spec": {**body["spec"], "health": ONCE}})

    def team_server(self, name: str) -> None:
        body = resources.remote(name, "http://127.0.0.1:9/mcp")
        self.team("apply", "-f", "-", body={**body, "spec": {**body["spec"], "health": ONCE}})

    def route(self, name: str, *servers: Body, **spec: Any) -> None:
        self.team("apply", "-f", "-", body=resources.route(name, *servers, **spec))

    def served(self) -> list[str]:
        """Ids of the servers in the proxy's configuration."""
        found = self.team.attempt("get", "configmap", "tools-proxy-config", "-o", "json")
        if found.returncode != 0:
            return ["none yet"]
        config = json.loads(json.loads(found.stdout)["data"]["config.json"])
        return [server["id"] for server in config.get("servers", [])]

    def condition(self, kind: str, name: str, of: str, *, platform: bool = False) -> tuple[str, str]:
        """Status and reason of a condition of the newest generation."""
        body = (self.platform if platform else self.team).json("get", kind, name)
        for found in body.get("status", {}).get("conditions", []):
            if found["type"] == of and found.get("observedGeneration") == body["metadata"]["generation"]:
                return found["status"], found["reason"]
        return "", ""

    def versions(self) -> dict[str, tuple[str, Any]]:
        """resourceVersion and status of all that the operator may write; the latter only tells what a failure is about."""
        items = [item for side in (self.team, self.platform) for item in side.json("get", WATCHED)["items"]]
        return {
            f"{item['kind']}/{item['metadata']['namespace']}/{item['metadata']['name']}": (
                item["metadata"]["resourceVersion"],
                item.get("status"),
            )
            for item in items
        }


@pytest.fixture
def pair(cluster: Kubectl) -> Iterator[Pair]:
    token = secrets.token_hex(4)
    team, platform = f"team-{token}", f"platform-{token}"
    for name in (team, platform):
        cluster("create", "namespace", name)
    found = Pair(Kubectl(team), Kubectl(platform))
    found.team("apply", "-f", "-", body=resources.proxy(replicas=0))
    yield found
    cluster("delete", "namespace", team, platform, "--wait=false")


def resolved(pair: Pair, route: str = "extra") -> tuple[str, str]:
    return pair.condition("mcpr", route, "ResolvedRefs")


REFUSED, FINE = ("False", "RefNotPermitted"), ("True", "Resolved")


def test_consent_is_given_and_taken_away(pair: Pair, tmp_path: Path) -> None:
    platform = pair.platform.namespace
    pair.server("far")
    pair.route("extra", {"name": "far", "namespace": platform})
    with operating(tmp_path / "log"):
        until(lambda: resolved(pair) == REFUSED)
        until(lambda: pair.served() == [])
        pair.server("far", consent={"from": "All"})
        until(lambda: resolved(pair) == FINE)
        until(lambda: pair.served() == [f"{platform}/far"])
        pair.server("far", consent={"from": "Same"})
        until(lambda: resolved(pair) == REFUSED)
        until(lambda: pair.served() == [])


def test_consent_by_labels_of_the_namespace_and_a_selector_across(pair: Pair, tmp_path: Path) -> None:
    platform, team = pair.platform.namespace, pair.team.namespace
    trusted = {"from": "Selector", "selector": {"matchLabels": {"trust": "high"}}}
    pair.server("one", consent=trusted, labels={"tier": "gold"})
    pair.server("two", consent={"from": "All"}, labels={"tier": "silver"})
    pair.route("extra", {"selector": {"matchLabels": {"tier": "gold"}}, "namespace": platform})
    with operating(tmp_path / "log"):
        until(lambda: resolved(pair) == REFUSED)
        pair.team("label", "namespace", team, "trust=high")
        until(lambda: pair.served() == [f"{platform}/one"])
        until(lambda: resolved(pair) == FINE)
        pair.platform("label", "mcps", "two", "tier=gold", "--overwrite")
        until(lambda: pair.served() == [f"{platform}/one", f"{platform}/two"])
        pair.team("label", "namespace", team, "trust-")
        until(lambda: pair.served() == [f"{platform}/two"])
        pair.platform("label", "mcps", "two", "tier=bronze", "--overwrite")
        until(lambda: resolved(pair) == REFUSED)


def test_an_operator_of_some_namespaces_knows_them_by_name_alone(pair: Pair, tmp_path: Path) -> None:
    platform, team = pair.platform.namespace, pair.team.namespace
    by_name = {"kubernetes.io/metadata.name": team}
    pair.server("named", consent={"from": "Selector", "selector": {"matchLabels": by_name}})
    pair.server("labelled", consent={"from": "Selector", "selector": {"matchLabels": {"trust": "high"}}})
    pair.team("label", "namespace", team, "trust=high")
    pair.route("extra", {"name": "named", "namespace": platform}, {"name": "labelled", "namespace": platform})
    with operating(tmp_path / "log", "--namespaces", f"{team},{platform}"):
        until(lambda: pair.served() == [f"{platform}/named"])
        until(lambda: resolved(pair) == REFUSED)
        until(lambda: pair.condition("mcps", "labelled", "Accepted", platform=True) == ("False", "UnsupportedValue"))
        until(lambda: pair.condition("mcps", "named", "Accepted", platform=True) == ("True", "Accepted"))


def test_a_conflict_is_told_on_both_sides_and_ends_with_one_of_them(pair: Pair, tmp_path: Path) -> None:
    team = pair.team.namespace
    for name in ("one", "two"):
        pair.team_server(name)
    pair.route("a-first", {"name": "one", "prefix": "x"})
    pair.route("b-second", {"name": "two", "prefix": "x"}, priority=-1)
    told = ("True", "PrefixConflict")
    with operating(tmp_path / "log"):
        until(lambda: pair.condition("mcpr", "b-second", "Accepted") == ("False", "PrefixConflict"))
        until(lambda: pair.condition("mcpr", "a-first", "Conflicted") == told)
        assert pair.condition("mcpr", "a-first", "Accepted") == ("True", "Accepted")
        for name in ("one", "two"):
            until(lambda name=name: pair.condition("mcps", name, "Conflicted") == told)
        until(lambda: pair.served() == [f"{team}/one"])

        pair.route("b-second", {"name": "two", "prefix": "x"}, priority=1)
        until(lambda: pair.condition("mcpr", "a-first", "Accepted") == ("False", "PrefixConflict"))
        until(lambda: pair.condition("mcpr", "b-second", "Conflicted") == told)
        until(lambda: pair.condition("mcpr", "a-first", "Conflicted") == ("", ""))
        until(lambda: pair.served() == [f"{team}/two"])

        pair.team("delete", "mcpr", "b-second")
        until(lambda: pair.condition("mcpr", "a-first", "Accepted") == ("True", "Accepted"))
        until(lambda: pair.served() == [f"{team}/one"])
        for name in ("one", "two"):
            until(lambda name=name: pair.condition("mcps", name, "Conflicted") == ("", ""))


def test_an_unchanged_world_is_not_written_to(pair: Pair, tmp_path: Path) -> None:
    platform = pair.platform.namespace
    pair.server("far", consent={"from": "All"})
    pair.team_server("near")
    pair.route("a-first", {"name": "far", "namespace": platform, "prefix": "x"})
    pair.route("b-second", {"name": "near", "prefix": "x"}, priority=-1)
    with operating(tmp_path / "log") as operator:
        until(lambda: pair.condition("mcps", "near", "Conflicted") == ("True", "PrefixConflict"))
        until(lambda: pair.condition("mcps", "far", "Conflicted", platform=True) == ("True", "PrefixConflict"))
        probed = ((pair.team, "mcps/near"), (pair.platform, "mcps/far"), (pair.team, "mcpp/tools"))
        for kubectl, name in probed:
            kubectl("wait", name, "--for=condition=Healthy=False", "--timeout=60s")
        until(lambda: _rolled_out(pair.team, "tools-proxy"))
        until(operator.idle)
    before = pair.versions()
    with operating(tmp_path / "log") as operator:
        until(lambda: operator.metric("mcp_operator_probes_total", 'kind="McpServer"') >= 2)
        until(operator.idle)
        assert pair.versions() == before
        pair.route("b-second", {"name": "near", "prefix": "y"}, priority=-1)
        until(lambda: pair.condition("mcps", "near", "Conflicted") == ("", ""))
        assert pair.versions() != before


def _rolled_out(kubectl: Kubectl, deployment: str) -> bool:
    """Whether its controller has no more to write to it."""
    body = kubectl.json("get", "deployment", deployment)
    status = body.get("status", {})
    reasons = {condition["reason"] for condition in status.get("conditions", [])}
    return status.get("observedGeneration") == body["metadata"]["generation"] and "NewReplicaSetAvailable" in reasons


def test_words_of_the_api_server_and_additions_of_others_cost_nothing(pair: Pair, tmp_path: Path) -> None:
    """A `false` that is a default, a quantity in another form, an element in a list with keys: no pass sends them anew."""
    body = resources.container("near", "example.invalid/none:1")
    volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi"}}]
    body["spec"] |= {"health": ONCE, "podTemplate": {"spec": {"hostNetwork": False, "volumes": volumes}}}
    pair.team("apply", "-f", "-", body=body)
    spread = {
        "topologyKey": "theirs",
        "whenUnsatisfiable": "ScheduleAnyway",
        "maxSkew": 1,
        "labelSelector": {"matchLabels": {"a": "b"}},
    }
    added = [{"op": "add", "path": "/spec/template/spec/topologySpreadConstraints/-", "value": spread}]
    nudges = []
    with operating(tmp_path / "log") as operator:
        pair.team("wait", "mcps", "near", "--for=condition=Programmed=False", "--timeout=60s")
        pair.team.eventually("get", "deployment", "tools-proxy")
        pair.team("patch", "deployment", "tools-proxy", "--type=json", "-p", json.dumps(added))
        until(operator.idle)
        for number in range(6):
            passes, patches = operator.metric("controller_reconcile_total"), _patches(operator)
            pair.team("annotate", "mcps/near", "mcpp/tools", f"nudge={number}", "--overwrite")
            until(lambda passes=passes: operator.metric("controller_reconcile_total") >= passes + 2)
            until(operator.idle)
            nudges.append(_patches(operator) - patches)
    assert 0 in nudges, nudges
    kept = pair.team.json("get", "deployment", "tools-proxy")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [item["topologyKey"] for item in kept][-1] == "theirs"


def _patches(operator: Operator) -> float:
    return operator.metric("mcp_operator_api_requests_total", 'method="PATCH"')
