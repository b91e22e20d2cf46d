"""Definitions that are pinned, from what probes and replicas find to the record, the status, Events and proxies.

first sight · a change, a new tool, one that is gone · approval by field and by annotation · a restart of the operator
what is lost: the status, the ConfigMap · what is forged · a ConfigMap of that name · what only a proxy is shown · off
"""

import base64
from dataclasses import replace
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.compile.pins import seen
from mcp_operator.engine.keys import Key
from mcp_operator.probe.facts import ServerFacts
from mcp_operator_proxy.pinning.definition import canonical, digest_of
from mcp_operator_proxy.report import ServerReport, UnapprovedTool
from support import resources
from support.apiserver import Body
from support.bench import FACTS, Bench

URL = "http://far.example.com/mcp"
SERVER = Key("McpServer", "team-a", "far")
PROXY = Key("McpProxy", "team-a", "tools")
CORE = {"team": "core"}


def definition(name: str, text: str) -> str:
    return canonical({"name": name, "description": text})


def digest(name: str, text: str) -> str:
    return digest_of(definition(name, text))


def facts(**tools: str) -> ServerFacts:
    found = tuple((name, definition(name, text)) for name, text in tools.items())
    return replace(FACTS, tools=tuple(sorted(tools)), definitions=found, digest=seen(found).catalogue)


def far(mode: str = "Enforce", **spec: Any) -> Body:
    return resources.remote("far", URL, labels=CORE, pinning=mode, **spec)


def definitions(bench: Bench) -> Body:
    found = bench.status("McpServer", "far").get("definitions") or {}
    assert isinstance(found, dict)
    return found


def pins(bench: Bench) -> dict[str, str]:
    return {pin["tool"]: pin["digest"] for pin in definitions(bench).get("pinned", [])}


def state(bench: Bench) -> tuple[str, str]:
    return bench.condition("McpServer", "far", "DefinitionsPinned")


def unapproved(bench: Bench) -> dict[str, str]:
    return {one["tool"]: one["kind"] for one in definitions(bench).get("unapproved", [])}


def compiled(bench: Bench) -> Any:
    return bench.context.compiled[PROXY].config.servers[0]


def live(bench: Bench) -> Body:
    return bench.api.get("ConfigMap", "far-pins")


async def recorded(bench: Bench, mode: str = "Enforce", **tools: str) -> None:
    bench.apply(far(mode), resources.proxy(selector=CORE))
    bench.probes.say(URL, facts(**(tools or {"add": "Adds.", "sub": "Subtracts."})))
    await bench.until(lambda: state(bench) == ("True", "Recorded"))
    await bench.drain()


async def lists(bench: Bench, **tools: str) -> None:
    await bench.probe(SERVER, facts(**tools))
    await bench.drain()


def annotated(value: str, mode: str = "Enforce") -> Body:
    body = far(mode)
    body["metadata"]["annotations"] = {meta.ANNOTATION_APPROVE: value}
    return body


async def test_what_is_seen_first_is_recorded_and_told_to_the_proxies(bench: Bench) -> None:
    bench.apply(far(), resources.proxy(selector=CORE))
    await bench.drain()
    assert state(bench) == ("Unknown", "NotRecorded")
    assert (compiled(bench).pinning, compiled(bench).pins) == ("enforce", ()), "nothing is trusted yet"
    bench.probes.say(URL, facts(add="Adds."))
    await bench.until(lambda: state(bench) == ("True", "Recorded"))
    await bench.drain()
    assert next(target for target in reversed(bench.probes.asked) if target.url == URL).definitions
    assert pins(bench) == {"add": digest("add", "Adds.")}
    assert [(pin.tool, pin.digest) for pin in compiled(bench).pins] == [("add", digest("add", "Adds."))]
    assert bench.condition("McpServer", "far", "Ready") == ("True", "Ready")
    asked = len(bench.api.asked)
    await bench.reconcile("McpServer", "far")
    await bench.reconcile("McpProxy", "tools")
    assert [one for one in bench.api.asked[asked:] if "/events" not in one.path] == [], (
        "an unchanged world costs no request"
    )


@pytest.mark.parametrize(("mode", "reason"), [("Warn", "Changed"), ("Enforce", "Quarantined")])
async def test_a_change_is_told_with_its_diff_and_does_not_change_the_record(
    bench: Bench, mode: str, reason: str
) -> None:
    await recorded(bench, mode)
    before = pins(bench)
    await lists(bench, add="Adds.\u202e And sends.", new="New.")
    assert state(bench) == ("False", reason)
    assert unapproved(bench) == {"add": "Changed", "new": "New", "sub": "Gone"}
    (added,) = [one for one in definitions(bench)["unapproved"] if one["tool"] == "add"]
    assert added["diff"] == 'description: "Adds." -> "Adds.\\u{202e} And sends."'
    assert added["digest"] == digest("add", "Adds.\u202e And sends.")
    assert added["approved"] == [digest("add", "Adds.")]
    assert pins(bench) == before
    assert compiled(bench).pinning == mode.lower()
    message = bench.message("McpServer", "far", "DefinitionsPinned")
    assert message.startswith("2 definitions not approved, ")
    assert '"add" is changed, "new" is new' in message
    await lists(bench, add="Adds.", sub="Subtracts.")
    assert state(bench) == ("True", "Recorded"), "it is as it was"


async def test_an_approval_by_the_field(bench: Bench) -> None:
    await recorded(bench)
    await lists(bench, add="Better.", sub="Subtracts.")
    assert state(bench) == ("False", "Quarantined")
    bench.apply(far(approvedDefinitions={"tools": [{"tool": "add", "digest": digest("add", "Better.")}]}))
    await bench.drain()
    assert state(bench) == ("True", "Recorded")
    assert pins(bench)["add"] == digest("add", "Better.")
    bench.apply(far())
    await bench.drain()
    assert state(bench) == ("True", "Recorded"), "what was approved stays so"
    await lists(bench, add="Adds.", sub="Subtracts.")
    assert state(bench) == ("False", "Quarantined"), "and what it replaced is approved no more"


async def test_an_approval_of_the_whole_catalogue_by_the_field(bench: Bench) -> None:
    await recorded(bench)
    await lists(bench, add="Better.", mul="Multiplies.")
    catalogue = bench.status("McpServer", "far")["tools"]["digest"]
    bench.apply(far(approvedDefinitions={"all": catalogue}))
    await bench.drain()
    assert (state(bench), unapproved(bench)) == (("True", "Recorded"), {})
    assert pins(bench).keys() == {"add", "mul"}


@pytest.mark.parametrize("word", ["all", digest("add", "Better.")])
async def test_an_approval_by_annotation_is_heeded_once(bench: Bench, word: str) -> None:
    await recorded(bench)
    await lists(bench, add="Better.", sub="Subtracts.")
    bench.apply(annotated(word))
    await bench.drain()
    assert state(bench) == ("True", "Recorded")
    assert pins(bench)["add"] == digest("add", "Better.")
    assert meta.ANNOTATION_APPROVE not in (bench.api.get("McpServer", "far")["metadata"].get("annotations") or {})
    assert {pin.digest for pin in compiled(bench).pins} >= {digest("add", "Better.")}
    await lists(bench, add="Worse.", sub="Subtracts.")
    assert state(bench) == ("False", "Quarantined")


async def test_an_approval_of_what_there_is_not_is_told_and_taken_away(bench: Bench) -> None:
    await recorded(bench)
    await lists(bench, add="Better.", sub="Subtracts.")
    bench.apply(annotated(digest("add", "Other.")))
    await bench.drain()
    assert state(bench) == ("False", "Quarantined")
    assert meta.ANNOTATION_APPROVE not in (bench.api.get("McpServer", "far")["metadata"].get("annotations") or {})


async def test_a_restart_of_the_operator_keeps_the_record_and_what_was_found(bench: Bench) -> None:
    await recorded(bench)
    await lists(bench, add="Worse.", sub="Subtracts.")
    before = definitions(bench)
    bench.probes.answers.clear()
    await bench.restart()
    await bench.drain()
    assert definitions(bench) == before
    assert state(bench) == ("False", "Quarantined")
    await lists(bench, add="Worse.", sub="Subtracts.")
    assert definitions(bench) == before, "the diff is made against what was kept"


async def test_a_lost_status_comes_back_from_the_config_map(bench: Bench) -> None:
    await recorded(bench)
    before = pins(bench)
    bench.api.get("McpServer", "far").pop("status")
    bench.probes.answers.clear()
    await bench.restart()
    await bench.drain()
    assert pins(bench) == before
    await lists(bench, add="Worse.", sub="Subtracts.")
    assert state(bench) == ("False", "Quarantined"), "it is not trusted as if it were seen first"


async def test_a_lost_or_forged_config_map_changes_no_approval(bench: Bench) -> None:
    await recorded(bench)
    body = live(bench)
    body["binaryData"] = {"pins.json.gz": base64.b64encode(b"nonsense").decode()}
    await bench.restart()
    bench.probes.say(URL, facts(add="Worse.", sub="Subtracts."))
    await bench.until(lambda: state(bench) == ("False", "Quarantined"))
    (added,) = definitions(bench)["unapproved"]
    assert added["diff"] == "", "there is nothing to compare with"
    await lists(bench, add="Adds.", sub="Subtracts.")
    assert state(bench) == ("True", "Recorded")
    await lists(bench, add="Worse.", sub="Subtracts.")
    assert definitions(bench)["unapproved"][0]["diff"] == 'description: "Adds." -> "Worse."', "it was made anew"


async def test_a_foreign_config_map_of_that_name_is_left_alone(bench: Bench) -> None:
    bench.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "far-pins"}, "data": {"mine": "1"}})
    bench.apply(far())
    bench.probes.say(URL, facts(add="Adds."))
    await bench.until(lambda: state(bench) == ("False", "ChildNameTaken"))
    assert live(bench)["data"] == {"mine": "1"}
    assert pins(bench) == {"add": digest("add", "Adds.")}, "the digests are recorded all the same"


async def test_what_only_a_proxy_is_shown_is_told_and_can_be_approved(bench: Bench) -> None:
    await recorded(bench)
    bench.run_pods("tools-proxy")
    await bench.drain()
    seen_there = UnapprovedTool(
        tool="add", kind="changed", digest=digest("add", "Worse."), definition=definition("add", "Worse.")
    )
    report = ServerReport(id="team-a/far", state="ready", unapproved=(seen_there,), unapproved_total=1)
    revision = bench.context.compiled[PROXY].config.revision
    (pod,) = bench.replicas.states(PROXY)
    bench.replicas.tell(PROXY, pod, revision, servers=(report,))
    await bench.drain()
    assert state(bench) == ("False", "Quarantined")
    (added,) = definitions(bench)["unapproved"]
    assert added["onlyAt"] == ["team-a/tools"]
    assert added["diff"] == 'description: "Adds." -> "Worse."'
    bench.apply(annotated(digest("add", "Worse.")))
    await bench.drain()
    assert pins(bench)["add"] == digest("add", "Worse.")
    assert unapproved(bench) == {"add": "Changed"}, "what the operator is shown is now the other one"


def shown_there(bench: Bench, text: str) -> None:
    """The replica of the proxy runs what it was given, and is shown this."""
    found = UnapprovedTool(tool="add", kind="changed", digest=digest("add", text), definition=definition("add", text))
    report = ServerReport(id="team-a/far", state="ready", unapproved=(found,), unapproved_total=1)
    (pod,) = bench.replicas.states(PROXY)
    bench.replicas.tell(PROXY, pod, bench.context.compiled[PROXY].config.revision, servers=(report,))


def quarantines(bench: Bench) -> int:
    """Events of it."""
    events = [body for body in bench.api.objects.values() if body["kind"] == "Event"]
    return sum(body["count"] for body in events if body["reason"] == "DefinitionQuarantined")


async def test_what_replicas_said_by_other_pins_is_no_news(bench: Bench) -> None:
    """A definition was approved and is so no longer: they spoke of it when it was not approved before."""
    await recorded(bench)
    bench.run_pods("tools-proxy")
    await bench.drain()
    await lists(bench, add="Worse.", sub="Subtracts.")
    shown_there(bench, "Worse.")
    await bench.drain()
    bench.apply(annotated(digest("add", "Worse.")))
    await bench.drain()
    assert (state(bench), unapproved(bench)) == (("True", "Recorded"), {})
    await lists(bench, add="Adds.", sub="Subtracts.")
    approval = {"tools": [{"tool": "add", "digest": digest("add", "Adds.")}]}
    bench.apply(far(approvedDefinitions=approval))
    await bench.drain()
    assert (state(bench), unapproved(bench)) == (("True", "Recorded"), {})
    await bench.until(lambda: quarantines(bench) == 2)
    shown_there(bench, "Worse.")
    await bench.drain()
    assert (state(bench), unapproved(bench)) == (("False", "Quarantined"), {"add": "Changed"}), "it says so still"
    await bench.until(lambda: quarantines(bench) == 3)


async def test_what_replicas_said_stands_while_they_are_given_something_else(bench: Bench) -> None:
    await recorded(bench)
    bench.run_pods("tools-proxy")
    await bench.drain()
    shown_there(bench, "Worse.")
    await bench.drain()
    revision = bench.context.compiled[PROXY].config.revision
    bench.apply(resources.proxy(selector=CORE, path="/other"))
    await lists(bench, add="Adds.", sub="Subtracts.")
    assert bench.context.compiled[PROXY].config.revision != revision
    assert (state(bench), unapproved(bench)) == (("False", "Quarantined"), {"add": "Changed"})
    await bench.until(lambda: quarantines(bench) == 1)
    shown_there(bench, "Worse.")
    await bench.drain()
    assert quarantines(bench) == 1


async def test_a_paused_server_s_record_stays(bench: Bench) -> None:
    await recorded(bench)
    body = annotated("all")
    body["metadata"]["annotations"][meta.ANNOTATION_PAUSED] = "true"
    bench.apply(body)
    await lists(bench, add="Worse.", sub="Subtracts.")
    assert state(bench) == ("False", "Quarantined")
    assert pins(bench)["add"] == digest("add", "Adds.")


async def test_off_forgets(bench: Bench) -> None:
    await recorded(bench)
    assert any(path.endswith("/configmaps/far-pins") for path in bench.api.objects)
    bench.apply(far("Off"))
    await bench.drain()
    assert definitions(bench) == {}
    assert not any(path.endswith("/configmaps/far-pins") for path in bench.api.objects)
    assert state(bench) == ("", "")
    assert compiled(bench).pinning == "off"
