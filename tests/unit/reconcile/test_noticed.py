"""Events of what replicas have noticed: on whom, how often, and not for ever."""

from datetime import UTC, datetime, timedelta

from mcp_operator.engine.keys import Key
from mcp_operator.probe.replica import ReplicaState
from mcp_operator.reconcile.noticed import FRESH, Noticed
from mcp_operator_proxy.config import NoticeType
from mcp_operator_proxy.report import NoticeReport

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROXY = Key("McpProxy", "team", "tools")
SERVERS = ["team/time", "other/far"]


def notice(
    number: int, kind: NoticeType = "server.restarted", subject: str = "team/time", age: float = 1
) -> NoticeReport:
    time = NOW - timedelta(seconds=age)
    return NoticeReport(id=f"{number:032x}", time=time, type=kind, subject=subject, message=f"m{number}")


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, str]] = []

    def tell(self, about: Key, reason: str, message: str, identity: str) -> bool:
        self.told.append((f"{about.kind}/{about.namespace}/{about.name}", reason, message, identity))
        return True


def looked(noticed: Noticed, *replicas: tuple[NoticeReport, ...]) -> list[tuple[str, str, str, str]]:
    events = Events()
    states = {f"pod-{number}": ReplicaState(asked="r1", notices=notices) for number, notices in enumerate(replicas)}
    noticed.look(PROXY, SERVERS, states, events.tell, NOW)
    return events.told


def test_each_is_told_once_on_what_it_is_about() -> None:
    noticed = Noticed()
    one, two = notice(1), notice(2, "server.gave-up", "other/far", 3)
    three = notice(3, "credential.not-refreshed", "azure")
    told = looked(noticed, (one, two), (one, three))
    assert [entry[:3] for entry in told] == [
        ("McpServer/other/far", "ServerGaveUp", "McpProxy team/tools: other/far: m2"),
        ("McpServer/team/time", "ServerRestarted", "McpProxy team/tools: team/time: m1"),
        ("McpProxy/team/tools", "CredentialNotRefreshed", "McpProxy team/tools: azure: m3"),
    ]
    assert looked(noticed, (one, two, three)) == []
    assert [entry[3] for entry in looked(noticed, (one, notice(4)))] == [f"{4:032x}"]


def test_what_an_event_would_not_remember_any_more_is_left_out() -> None:
    assert looked(Noticed(), (notice(1, age=FRESH.total_seconds() + 1),)) == []
    assert looked(Noticed(), (notice(1, age=FRESH.total_seconds() - 1),)) != []


def test_definitions_are_judged_by_the_operator_itself() -> None:
    assert looked(Noticed(), (notice(1, "definition.quarantined"), notice(2, "definition.changed"))) == []
