"""The operator itself: drift, restarts in the middle of things, and an unchanged world in which it writes nothing."""

import asyncio
import json
import time
from collections.abc import Callable

from support.kubectl import Namespace, eventually, kubectl
from support.product import BACKEND_IMAGE, RELEASE, SYSTEM, call, tools
from support.resources import container, proxy, remote, route
from support.traffic import Crowd

CORE = {"team": "core"}


def test_drift_comes_back(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Whatever somebody deletes or edits of the operator's comes back; what is theirs stays."""
    namespace.apply(remote("one", backend("one"), labels=CORE), proxy(selector=CORE, replicas=1))
    namespace.wait("mcpp", "tools", "Ready")
    for kind, name in (
        ("service", "tools-proxy"),
        ("configmap", "tools-proxy-config"),
        ("secret", "tools-proxy-secrets"),
    ):
        uid = namespace.get(kind, name)["metadata"]["uid"]
        namespace.run("delete", kind, name, "--wait=false")
        eventually(lambda kind=kind, name=name, uid=uid: namespace.get(kind, name)["metadata"]["uid"] != uid)
    namespace.run("scale", "deployment/tools-proxy", "--replicas=3")
    eventually(lambda: namespace.get("deployment", "tools-proxy")["spec"]["replicas"] == 1)
    namespace.run("label", "deployment", "tools-proxy", "mine=yes")
    namespace.run("annotate", "mcpp", "tools", "nudge=1")
    namespace.wait("mcpp", "tools", "Ready")
    assert namespace.get("deployment", "tools-proxy")["metadata"]["labels"]["mine"] == "yes"
    eventually(lambda: call(namespace.service_url("tools-proxy", "/mcp"), "one_hello") == "one/hello")


def test_restart_of_the_operator_in_the_middle(namespace: Namespace, backend: Callable[..., str]) -> None:
    """The operator is killed between two edits: clients notice nothing, and the edits made meanwhile are carried out."""
    namespace.apply(remote("one", backend("one"), labels=CORE), proxy(selector=CORE))
    url_two = backend("two")
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "one_add" in tools(url))
    system = Namespace(SYSTEM)

    async def scenario() -> Crowd:
        async with Crowd(url, "one_add", {"a": 1, "b": 2}, "3", size=4) as crowd:
            await asyncio.to_thread(namespace.apply, remote("two", url_two, labels=CORE))
            pods = "app.kubernetes.io/name=mcp-operator"
            await asyncio.to_thread(system.run, "delete", "pods", "-l", pods, "--grace-period=0", "--force")
            await asyncio.to_thread(namespace.apply, remote("three", url_two, labels=CORE))
            await asyncio.to_thread(eventually, lambda: {"two_hello", "three_hello"} <= tools(url), timeout=90)
        return crowd

    crowd = asyncio.run(scenario())
    assert crowd.failures == []
    assert min(tally.calls for tally in crowd.tallies) > 3
    system.run("rollout", "status", f"deployment/{RELEASE}", "--timeout=90s")


def test_an_unchanged_world_writes_nothing(namespace: Namespace, backend: Callable[..., str]) -> None:
    """For a minute of idling no resourceVersion of anything moves, although everything is probed all the time."""
    namespace.apply(
        remote("far", backend("far"), labels=CORE),
        remote("dead", f"http://nowhere.{namespace.name}.svc/mcp", labels=CORE),
        container("near", BACKEND_IMAGE, labels=CORE),
        proxy(selector=CORE, replicas=2),
        route("extra", {"name": "far", "prefix": "x"}, path="/x/mcp"),
    )
    namespace.wait("mcps", "near", "Ready")
    namespace.wait("mcps", "dead", "Healthy", "False")
    namespace.wait("mcpp", "tools", "Ready")
    namespace.wait("mcpr", "extra", "Ready")
    eventually(lambda: _settled(namespace), timeout=240)
    before = _versions(namespace)
    # The one place where time itself is the subject: a minute without a write.
    time.sleep(60)
    assert _versions(namespace) == before


def _settled(namespace: Namespace) -> bool:
    """All is well that is to be, and nothing has moved while every server was probed and every replica asked what it sees."""
    before = _versions(namespace)
    time.sleep(12)  # replicas are asked every ten seconds
    ready = [("mcps", "far"), ("mcps", "near"), ("mcpp", "tools"), ("mcpr", "extra")]
    well = all(namespace.condition(kind, name, "Ready")["status"] == "True" for kind, name in ready)
    return well and _versions(namespace) == before


def _versions(namespace: Namespace) -> dict[str, str]:
    kinds = "mcps,mcpp,mcpr,deployments,services,configmaps,secrets,serviceaccounts,pods"
    bodies = json.loads(kubectl("-n", namespace.name, "get", kinds, "-o", "json"))["items"]
    return {f"{body['kind']}/{body['metadata']['name']}": body["metadata"]["resourceVersion"] for body in bodies}
