"""The health of an McpServer as its clients meet it: merged replicas, canary calls, restarts that are reset.

a replica that does not reach it · the operator alone that does not: nothing is restarted · an operator that starts anew
canary: called by the exposed name through every proxy that shows it, once it does; verdicts, Events, edits, removal
restarts: the limit, its Event, a reset by annotation · an unchanged world
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.engine.keys import Key
from mcp_operator_proxy.report import Conflict, ErrorReport, RouteReport, ServerReport
from support import resources
from support.apiserver import TERMINATING, Body
from support.bench import FACTS, Bench

CORE = {"team": "core"}
URL = "http://far.example.com/mcp"
NEAR = "http://near-server.team-a.svc:8080/mcp"
THROUGH = "http://tools-proxy.team-a.svc/mcp"
FAR, TOOLS, SERVER = (
    Key(kind, "team-a", name) for kind, name in (("McpServer", "far"), ("McpProxy", "tools"), ("McpServer", "near"))
)
REFUSED = ErrorReport(error_class="ConnectionRefused", message="nobody listens")
CANARY = {"tool": "add", "arguments": {"a": 1, "b": 2}, "expect": {"contains": "3"}}


def _far(**more: Any) -> Body:
    health = {"interval": "1m", "timeout": "3s", "failureThreshold": 1, **more.pop("health", {})}
    return resources.remote("far", URL, labels=CORE, health=health, **more)


def _sees(
    bench: Bench, pod: str, error: ErrorReport | None = None, *tools: str, server: str = "far", **more: Any
) -> None:
    """The replica runs its revision, and says of `server` that it reaches it, or why not."""
    seen = ServerReport(id=f"team-a/{server}", state="error" if error else "ready", error=error)
    routes = (RouteReport(name="McpProxy/team-a/tools", path="/mcp", tools=tools),)
    bench.swapped("tools", pod, servers=(seen,), routes=routes, **more)


async def _served(bench: Bench, body: Body, *, replicas: int = 2) -> list[str]:
    """A server that answers, behind a proxy whose replicas run; their pods."""
    bench.apply(body, resources.proxy(selector=CORE, replicas=replicas))
    bench.probes.say(URL, FACTS)
    bench.probes.say(THROUGH, FACTS)
    await bench.drain()
    pods = bench.run_pods("tools-proxy")
    await bench.drain()
    return pods


async def _comes(bench: Bench, of: str, status: str, reason: str, server: str = "far") -> None:
    await bench.until(lambda: bench.condition("McpServer", server, of) == (status, reason))


class TestReplicas:
    async def test_one_does_not_reach_it(self, bench: Bench) -> None:
        one, two = await _served(bench, _far())
        _sees(bench, one)
        _sees(bench, two)
        await _comes(bench, "Ready", "True", "Ready")
        _sees(bench, two, REFUSED)
        await _comes(bench, "Ready", "False", "PartlyReachable")
        assert bench.message("McpServer", "far") == (
            f"the operator reaches it, but not 1 of 2 replicas of McpProxy team-a/tools: {two} "
            "(ConnectionRefused: nobody listens)"
        )
        _sees(bench, two)
        await _comes(bench, "Ready", "True", "Ready")

    async def test_one_was_told_to_stop_it(self, bench: Bench) -> None:
        """By somebody, over REST: nothing is wrong, nobody looks again, and it is told."""
        one, two = await _served(bench, _far())
        _sees(bench, one)
        _sees(bench, two)
        await _comes(bench, "Healthy", "True", "Answering")
        stopped = ServerReport(id="team-a/far", state="pending", stopped=True)
        bench.swapped("tools", two, servers=(stopped,))
        await _comes(bench, "Healthy", "True", "Stopped")
        assert bench.condition("McpServer", "far", "Ready") == ("True", "Ready")
        assert f"it was stopped over REST at McpProxy team-a/tools ({two})" in bench.message("McpServer", "far")
        assert bench.condition("McpProxy", "tools", "Ready") == ("True", "Ready")
        _sees(bench, two)
        await _comes(bench, "Healthy", "True", "Answering")

    async def test_a_server_that_dies_and_a_replica_is_the_first_to_notice(self, bench: Bench) -> None:
        """The operator looks for itself before it says anything, and is not told to reach what it does not."""
        one, two = await _served(bench, _far(health={"failureThreshold": 3}))
        _sees(bench, one)
        _sees(bench, two)
        await _comes(bench, "Ready", "True", "Ready")
        bench.probes.say(URL, REFUSED)
        _sees(bench, two, REFUSED)
        said: set[tuple[str, str]] = set()

        def dead() -> bool:
            said.add(bench.condition("McpServer", "far", "Healthy"))
            return ("False", "ConnectionRefused") in said

        await bench.until(dead)
        assert said <= {("True", "Answering"), ("False", "ConnectionRefused")}
        assert bench.message("McpServer", "far") == "nobody listens"
        assert bench.status("McpServer", "far")["probe"]["consecutiveFailures"] < 3

    async def test_a_server_that_is_back_and_a_replica_is_the_first_to_notice(self, bench: Bench) -> None:
        one, two = await _served(bench, _far())
        for pod in (one, two):
            _sees(bench, pod, REFUSED)
        await bench.probe(FAR, REFUSED)
        await _comes(bench, "Ready", "False", "ConnectionRefused")
        bench.probes.say(URL, FACTS)
        _sees(bench, one)
        await bench.drain()
        _sees(bench, two)
        await _comes(bench, "Ready", "True", "Ready")

    async def test_a_replica_that_has_not_answered_says_nothing(self, bench: Bench) -> None:
        one, _ = await _served(bench, _far())
        _sees(bench, one)
        await _comes(bench, "Ready", "True", "Ready")

    async def test_a_proxy_that_goes_takes_its_word_along(self, bench: Bench) -> None:
        one, _ = await _served(bench, _far())
        _sees(bench, one, REFUSED)
        await _comes(bench, "Ready", "False", "PartlyReachable")
        bench.api.kubectl_delete("McpProxy", "tools")
        await _comes(bench, "Ready", "True", "Ready")

    async def test_only_the_server_that_is_concerned_is_looked_at(self, bench: Bench) -> None:
        others = [resources.remote(f"o{n}", f"http://o{n}.example.com/mcp", labels=CORE) for n in range(20)]
        bench.apply(*others)
        one, two = await _served(bench, _far())
        for pod in (one, two):
            bench.swapped("tools", pod, servers=[ServerReport(id=f"team-a/o{n}", state="ready") for n in range(20)])
        await bench.drain()
        seen = [ServerReport(id=f"team-a/o{n}", state="error" if n == 7 else "ready", error=REFUSED) for n in range(20)]
        bench.swapped("tools", two, servers=seen)
        results = await bench.drain()
        assert {key.name for key in results if key.kind == "McpServer"} == {"o7"}

    async def test_an_operator_that_starts_anew_says_what_was_said(self, bench: Bench) -> None:
        one, two = await _served(bench, _far())
        _sees(bench, one)
        _sees(bench, two, REFUSED)
        await _comes(bench, "Ready", "False", "PartlyReachable")
        writes = len(bench.api.writes)
        bench.probes.seconds = 0.9  # it starts on a machine that is very busy
        await bench.restart()
        await bench.until(lambda: (health := bench.prober.health(FAR)) and health.healthy)
        await bench.drain()
        assert bench.api.writes[writes:] == []
        _sees(bench, one)
        _sees(bench, two)
        await _comes(bench, "Ready", "True", "Ready")

    async def test_a_proxy_that_goes_before_anybody_looked_at_it_is_not_waited_for(self, bench: Bench) -> None:
        one, two = await _served(bench, _far())
        _sees(bench, one)
        _sees(bench, two, REFUSED)
        await _comes(bench, "Ready", "False", "PartlyReachable")
        bench.apply(resources.proxy("other", selector=CORE))
        await bench.restart()
        del bench.waiting[Key("McpProxy", "team-a", "other")]
        await bench.until(lambda: (health := bench.prober.health(FAR)) and health.healthy)
        _sees(bench, one)
        _sees(bench, two)
        await bench.drain()
        assert bench.condition("McpServer", "far", "Ready") == ("False", "PartlyReachable")
        bench.api.kubectl_delete("McpProxy", "other")
        await _comes(bench, "Ready", "True", "Ready")

    @pytest.mark.parametrize("selector", [None, CORE], ids=["of others", "in a namespace that ends"])
    async def test_a_proxy_that_can_not_be_made_holds_nobody_up(self, bench: Bench, selector: Body | None) -> None:
        one, two = await _served(bench, _far())
        _sees(bench, one)
        _sees(bench, two, REFUSED)
        await _comes(bench, "Ready", "False", "PartlyReachable")
        bench.apply(resources.proxy("other", selector=selector))
        bench.api.refuse("PATCH", "/other-proxy", TERMINATING)
        await bench.restart()
        if selector is None:
            del bench.waiting[Key("McpProxy", "team-a", "other")]
        await bench.until(lambda: (health := bench.prober.health(FAR)) and health.healthy)
        _sees(bench, one)
        _sees(bench, two)
        await _comes(bench, "Ready", "True", "Ready")


class TestCanary:
    async def test_it_is_called_through_the_proxy_by_the_name_that_clients_know(self, bench: Bench) -> None:
        one, two = await _served(bench, _far(canary=CANARY))
        await _comes(bench, "CanaryPassing", "Unknown", "NotCalled")
        assert bench.calls.asked == [], "the swap is under way"
        _sees(bench, one, None, "far_add")
        bench.calls.say(THROUGH, "far_add", "CallPassed")
        await _comes(bench, "CanaryPassing", "True", "CallPassed")
        called = bench.calls.asked[0]
        assert (called.target.url, called.tool, called.arguments) == (THROUGH, "far_add", {"a": 1, "b": 2})
        assert (called.target.timeout, called.expect.contains) == (10.0, "3")
        assert bench.message("McpServer", "far", "CanaryPassing") == (
            "add answers as expected through McpProxy team-a/tools at /mcp"
        )
        _sees(bench, two, None, "far_add")
        await bench.drain()
        assert len(bench.calls.asked) == 1, "nothing has changed for it"

    async def test_it_fails_and_the_server_stays_ready(self, bench: Bench) -> None:
        one, two = await _served(bench, _far(canary=CANARY))
        bench.calls.say(THROUGH, "far_add", "CallPassed")
        for pod in (one, two):
            _sees(bench, pod, None, "far_add")
        await _comes(bench, "CanaryPassing", "True", "CallPassed")
        bench.calls.say(THROUGH, "far_add", "UnexpectedAnswer", "the answer has no text")
        bench.canaries.trigger(FAR)
        await _comes(bench, "CanaryPassing", "False", "UnexpectedAnswer")
        assert bench.condition("McpServer", "far", "Ready") == ("True", "Ready")
        writes = len(bench.api.writes)
        bench.canaries.trigger(FAR)
        made = len(bench.calls.asked)
        await bench.until(lambda: len(bench.calls.asked) > made)
        await bench.drain()
        assert bench.api.writes[writes:] == [], "the same again writes nothing"
        bench.calls.say(THROUGH, "far_add", "CallPassed")
        bench.canaries.trigger(FAR)
        await _comes(bench, "CanaryPassing", "True", "CallPassed")

        def told() -> set[tuple[str, str, int]]:
            about = [event for event in bench.api.events if event["involvedObject"]["name"] == "far"]
            return {(event["type"], event["reason"], event["count"]) for event in about}

        await bench.until(lambda: {("Normal", "CallPassed", 2), ("Warning", "UnexpectedAnswer", 1)} <= told())

    async def test_required(self, bench: Bench) -> None:
        one, _ = await _served(bench, _far(canary={**CANARY, "required": True}))
        _sees(bench, one, None, "far_add")
        bench.calls.say(THROUGH, "far_add", "CallFailed", "the tool answered with an error: no")
        await _comes(bench, "Ready", "False", "CallFailed")
        assert bench.condition("McpServer", "far", "Healthy") == ("True", "Answering")

    async def test_who_does_not_show_it_is_not_asked(self, bench: Bench) -> None:
        one, _ = await _served(bench, _far(canary={"tool": "hidden"}))
        only = {"name": "far", "prefix": "", "tools": {"exclude": ["hid*"]}}
        bench.apply(resources.proxy(replicas=2), resources.route("r", only))
        await _comes(bench, "CanaryPassing", "Unknown", "NotServed")
        _sees(bench, one, None, "add")
        await bench.drain()
        assert bench.condition("McpServer", "far", "CanaryPassing") == ("Unknown", "NotServed")
        bench.apply(
            resources.route(
                "r", {"name": "far", "prefix": "d", "tools": {"overrides": [{"name": "hidden", "rename": "shown"}]}}
            )
        )
        await bench.drain()
        _sees(bench, one, None, "d_shown")
        bench.calls.say(THROUGH, "d_shown", "CallPassed")
        await _comes(bench, "CanaryPassing", "True", "CallPassed")

    async def test_a_name_that_another_server_has(self, bench: Bench) -> None:
        one, _ = await _served(bench, _far(canary={"tool": "add"}))
        bench.apply(resources.proxy(replicas=2), resources.route("r", {"name": "far", "prefix": ""}))
        await bench.drain()
        taken = Conflict(route="McpProxy/team-a/tools", kind="tool", name="add", winner="team-a/x", loser="team-a/far")
        _sees(bench, one, None, "add", conflicts=(taken,))
        await _comes(bench, "CanaryPassing", "Unknown", "NotServed")

    async def test_through_every_proxy(self, bench: Bench) -> None:
        bench.apply(resources.proxy("more", selector=CORE, path="/x"))
        one, _ = await _served(bench, _far(canary=CANARY))
        bench.run_pods("more-proxy")
        await bench.drain()
        other = "http://more-proxy.team-a.svc/x"
        _sees(bench, one, None, "far_add")
        routes = (RouteReport(name="McpProxy/team-a/more", path="/x", tools=("far_add",)),)
        bench.swapped("more", "more-proxy-0", servers=(ServerReport(id="team-a/far", state="ready"),), routes=routes)
        bench.calls.say(THROUGH, "far_add", "CallPassed")
        bench.calls.say(other, "far_add", "Timeout", "the server did not answer in time")
        await _comes(bench, "CanaryPassing", "False", "Timeout")
        assert bench.message("McpServer", "far", "CanaryPassing") == (
            "far_add through McpProxy team-a/more at /x: the server did not answer in time; "
            "it passes through McpProxy team-a/tools at /mcp"
        )
        bench.api.kubectl_delete("McpProxy", "more")
        await _comes(bench, "CanaryPassing", "True", "CallPassed")

    async def test_secrets_go_along_to_be_kept_out(self, bench: Bench) -> None:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "token"},
            "stringData": {"header": "s3cr3t", "other": "0ther"},
        }
        bench.apply(secret)
        source = {"secretKeyRef": {"name": "token", "key": "header"}}
        body = _far(headers=[{"name": "Authorization", "valueFrom": source}], canary=CANARY)
        one, _ = await _served(bench, body)
        _sees(bench, one, None, "far_add")
        await bench.until(lambda: bench.calls.asked)
        assert set(bench.calls.asked[0].secrets) == {"s3cr3t", "0ther"}
        assert bench.calls.asked[0].target.headers == {}, "the server's credentials are the proxy's to send"
        bench.api.kubectl_delete("Secret", "token")
        await _comes(bench, "CanaryPassing", "Unknown", "NotCalled")

    async def test_it_is_taken_away_again(self, bench: Bench) -> None:
        one, _ = await _served(bench, _far(canary=CANARY))
        _sees(bench, one, None, "far_add")
        bench.calls.say(THROUGH, "far_add", "CallPassed")
        await _comes(bench, "CanaryPassing", "True", "CallPassed")
        bench.apply(_far())
        await bench.until(lambda: bench.condition("McpServer", "far", "CanaryPassing") == ("", ""))
        assert bench.canaries.states(FAR) == {}

    async def test_an_operator_that_starts_anew_changes_nothing(self, bench: Bench) -> None:
        one, two = await _served(bench, _far(canary=CANARY))
        for pod in (one, two):
            _sees(bench, pod, None, "far_add")
        bench.calls.say(THROUGH, "far_add", "CallPassed")
        await _comes(bench, "CanaryPassing", "True", "CallPassed")
        await bench.drain()
        writes, made = len(bench.api.writes), len(bench.calls.asked)
        await bench.restart()
        await bench.drain()
        for pod in (one, two):
            _sees(bench, pod, None, "far_add")
        await bench.until(lambda: len(bench.calls.asked) > made)
        await bench.until(lambda: bench.canaries.states(FAR)["team-a/tools"].passing)
        await bench.drain()
        assert bench.api.writes[writes:] == []

    async def test_a_server_that_is_back_is_called_at_once(self, bench: Bench) -> None:
        one, _ = await _served(bench, _far(canary=CANARY))
        _sees(bench, one, None, "far_add")
        bench.calls.say(THROUGH, "far_add", "CallPassed")
        await _comes(bench, "CanaryPassing", "True", "CallPassed")
        await bench.probe(FAR, REFUSED)
        made = len(bench.calls.asked)
        await bench.probe(FAR, FACTS)
        await bench.until(lambda: len(bench.calls.asked) == made + 1)


class TestRestarts:
    @staticmethod
    async def _dead(bench: Bench, *, limit: int = 1) -> None:
        """A hosted server whose pods have been up for long and which no longer answers."""
        health = {"interval": "1m", "timeout": "3s", "failureThreshold": 1, "maxRestarts": limit}
        bench.apply(resources.container("near", "image:1", labels=CORE, health=health))
        await bench.drain()
        bench.probes.say(NEAR, FACTS)
        await TestRestarts._up(bench)
        await _comes(bench, "Ready", "True", "Ready", "near")

    @staticmethod
    async def _up(bench: Bench) -> None:
        bench.run_pods("near-server")
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
        bench.api.edit("Pod", "near-server-0", lambda b: b["status"].update(conditions=[ready]))
        await bench.drain()

    @staticmethod
    def _long_ago(bench: Bench) -> None:
        """The pause after the last restart is over."""
        past = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0).isoformat()
        note = {meta.ANNOTATION_RESTARTED_AT: past}
        bench.api.edit(
            "Deployment", "near-server", lambda b: b["spec"]["template"]["metadata"].update(annotations=note)
        )
        bench.api.edit("McpServer", "near", lambda b: b["status"].update(restartedAt=past))

    async def _in_vain(self, bench: Bench) -> None:
        await self._dead(bench)
        await bench.probe(SERVER, REFUSED)
        await bench.until(lambda: bench.status("McpServer", "near")["restarts"] == 1)
        assert bench.condition("McpServer", "near", "Stalled") == ("", ""), "its pause is not over"
        self._long_ago(bench)
        await self._up(bench)
        await _comes(bench, "Stalled", "True", "RestartLimitReached", "near")

    @staticmethod
    def _events(bench: Bench) -> list[str]:
        return [event["reason"] for event in bench.api.events for _ in range(event["count"])]

    async def test_the_limit(self, bench: Bench) -> None:
        await self._in_vain(bench)
        await bench.reconcile("McpServer", "near")
        assert bench.restarts == 1
        assert bench.condition("McpServer", "near", "Ready") == ("False", "ConnectionRefused")
        await bench.until(lambda: {"Restarting", "RestartLimitReached"} <= set(self._events(bench)))
        assert self._events(bench).count("RestartLimitReached") == 1
        await bench.probe(SERVER, FACTS)
        assert bench.condition("McpServer", "near", "Stalled") == ("", "")

    @pytest.mark.parametrize("values", [["1"], ["1", "2"]])
    async def test_a_reset(self, bench: Bench, values: list[str]) -> None:
        """Each new value of the annotation has it restarted once more; the same value does nothing."""
        await self._in_vain(bench)
        for number, value in enumerate(values, 2):
            note = {meta.ANNOTATION_RESET_RESTARTS: value}
            bench.api.edit("McpServer", "near", lambda b, note=note: b["metadata"].update(annotations=note))
            await bench.until(lambda number=number: bench.restarts == number)
            assert bench.status("McpServer", "near")["restarts"] == 1
            assert bench.status("McpServer", "near")["restartsReset"] == value
            self._long_ago(bench)
            await self._up(bench)
            await _comes(bench, "Stalled", "True", "RestartLimitReached", "near")
            await bench.reconcile("McpServer", "near")
            assert bench.restarts == number
        await bench.until(lambda: self._events(bench).count("RestartsReset") == len(values))

    async def test_an_annotation_that_is_taken_away_resets_nothing(self, bench: Bench) -> None:
        await self._in_vain(bench)
        bench.api.edit(
            "McpServer", "near", lambda b: b["metadata"].update(annotations={meta.ANNOTATION_RESET_RESTARTS: "1"})
        )
        await bench.until(lambda: bench.restarts == 2)
        self._long_ago(bench)
        await self._up(bench)
        await _comes(bench, "Stalled", "True", "RestartLimitReached", "near")
        bench.api.edit("McpServer", "near", lambda b: b["metadata"].update(annotations={}))
        await bench.drain()
        assert (bench.restarts, bench.status("McpServer", "near")["restartsReset"]) == (2, "")

    async def test_what_the_proxies_reach_is_not_restarted(self, bench: Bench) -> None:
        """A network policy that locks out the operator alone is no reason to cut off clients."""
        await self._dead(bench)
        bench.apply(resources.proxy(selector=CORE))
        await bench.drain()
        (pod,) = bench.run_pods("tools-proxy")
        await bench.drain()
        _sees(bench, pod, server="near")
        await bench.drain()
        await bench.probe(SERVER, REFUSED)
        await _comes(bench, "Ready", "False", "ConnectionRefused", "near")
        assert "the proxies that serve it reached it when last asked" in bench.message("McpServer", "near")
        assert bench.restarts == 0
        _sees(bench, pod, REFUSED, server="near")
        await bench.until(lambda: bench.restarts == 1)

    async def test_what_recovers_is_not_restarted(self, bench: Bench) -> None:
        await self._dead(bench)
        health = {"interval": "1m", "timeout": "3s", "failureThreshold": 1, "successThreshold": 20, "maxRestarts": 5}
        bench.apply(resources.container("near", "image:1", labels=CORE, health=health))
        await bench.drain()
        await self._up(bench)
        await bench.probe(SERVER, REFUSED)
        await bench.until(lambda: bench.restarts == 1)
        await bench.probe(SERVER, FACTS)
        await self._up(bench)
        self._long_ago(bench)
        await bench.drain()
        assert bench.condition("McpServer", "near", "Healthy") == ("False", "Recovering")
        assert bench.restarts == 1
        await bench.probe(SERVER, FACTS, times=20)
        assert bench.condition("McpServer", "near", "Healthy") == ("True", "Answering")
