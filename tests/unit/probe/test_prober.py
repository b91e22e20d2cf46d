"""The prober: when it probes, what it keeps, what it tells. Probes are real where the answer matters."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mcp_operator.probe.facts import ProbeResult, ServerFacts
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.state import SAMPLES
from mcp_operator.probe.target import Target
from mcp_operator_proxy.backends.classify import secret_parts
from mcp_operator_proxy.report import ErrorReport
from support.backends import ServedMCP
from support.gateway import make_config, running_gateway
from support.waiting import Eventually
from unit.probe.servers import mcp_server

NEVER = 3600.0
A, B = Target(url="http://a"), Target(url="http://b")


class Probes:
    """In place of the network: each probe waits until it is answered."""

    def __init__(self) -> None:
        self.running: list[tuple[Target, asyncio.Future[ProbeResult]]] = []
        self.most = 0
        self.started = 0
        self.seen: set[str] = set()

    async def __call__(self, target: Target) -> ProbeResult:
        future: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
        entry = (target, future)
        self.running.append(entry)
        self.started += 1
        self.seen.add(target.url)
        self.most = max(self.most, len(self.running))
        try:
            return await future
        finally:
            self.running.remove(entry)

    @property
    def targets(self) -> list[Target]:
        return [target for target, _ in self.running]

    @property
    def unanswered(self) -> list[asyncio.Future[ProbeResult]]:
        return [future for _, future in self.running if not future.done()]

    def answer(self, version: str = "1") -> None:
        facts = ServerFacts(protocol_version="2025-11-25", transport="sse", server_version=version)
        self.unanswered[0].set_result(ProbeResult(time=datetime.now(UTC), seconds=0.01, facts=facts))


@pytest.fixture
def probes() -> Probes:
    return Probes()


async def test_a_server_that_dies_and_returns(eventually: Eventually) -> None:
    told: list[bool | None] = []
    async with ServedMCP(mcp_server(2)) as server, Prober[str](lambda key: told.append(health(key))) as prober:

        def health(key: str) -> bool | None:
            state = prober.health(key)
            return state.healthy if state else None

        prober.watch("weather", Target(url=server.url, timeout=60), 0.02, 2)
        await eventually(lambda: told == [True])
        state = prober.health("weather")
        assert state is not None
        assert state.facts is not None
        assert state.facts.tools == ("measure_0", "measure_1")

        await server.stop()
        await eventually(lambda: told == [True, True, False])
        state = prober.health("weather")
        assert state is not None
        assert state.error is not None
        assert state.error.error_class == "ConnectionRefused"
        assert state.facts is not None, "the last good facts are kept"

        await server.start()
        await eventually(lambda: told == [True, True, False, True])


async def test_an_unchanged_server_is_told_once(eventually: Eventually) -> None:
    told: list[str] = []
    results: list[ProbeResult] = []
    async with (
        ServedMCP(mcp_server(2)) as server,
        Prober[str](told.append, on_result=lambda _, result: results.append(result)) as prober,
    ):
        prober.watch("weather", Target(url=server.url), 0.01, 3)
        await eventually(lambda: len(results) >= 4)
    assert [result.error for result in results if not result.ok] == []
    assert told == ["weather"]


async def test_a_proxy_is_probed_as_a_client_would(eventually: Eventually) -> None:
    async with (
        ServedMCP(mcp_server(2)) as server,
        running_gateway(make_config({"weather": server.url})) as gateway,
        Prober[str](lambda _: None) as prober,
    ):
        prober.watch("tools", Target(url=gateway.url, transport="streamable-http"), NEVER, 3)

        def tools() -> tuple[str, ...]:
            state = prober.health("tools")
            return state.facts.tools if state and state.facts else ()

        await eventually(tools)
        assert tools() == ("weather_measure_0", "weather_measure_1")


async def test_watching_again_changes_nothing(probes: Probes, eventually: Eventually) -> None:
    async with Prober[str](lambda _: None, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.targets == [A])
        for _ in range(3):
            prober.watch("a", Target(url="http://a"), NEVER, 3)
        probes.answer()
        await eventually(lambda: prober.health("a") and prober.health("a").healthy)  # type: ignore[union-attr]
        prober.watch("a", A, NEVER, 3)
        await asyncio.sleep(0)
        assert (probes.started, probes.running) == (1, [])


async def test_a_changed_target_is_probed_at_once(probes: Probes, eventually: Eventually) -> None:
    told: list[str] = []
    async with Prober[str](told.append, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.targets == [A])
        prober.watch("a", B, NEVER, 3)
        await eventually(lambda: probes.targets == [B])
        assert not told, "the probe of the old target is dropped"
        probes.answer("b")
        await eventually(lambda: told == ["a"])


async def test_other_headers_keep_what_is_known_and_another_endpoint_does_not(
    probes: Probes, eventually: Eventually
) -> None:
    told: list[str] = []
    async with Prober[str](told.append, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.running)
        probes.answer()
        await eventually(lambda: told)

        prober.watch("a", Target(url="http://a", headers={"X-Key": "rotated"}), NEVER, 3)
        known = prober.health("a")
        assert known is not None
        assert known.healthy is True
        await eventually(lambda: [target.headers for target in probes.targets] == [{"X-Key": "rotated"}])

        prober.watch("a", B, NEVER, 3)
        fresh = prober.health("a")
        assert fresh is not None
        assert (fresh.healthy, fresh.facts) == (None, None)


async def test_a_trigger_probes_now(probes: Probes, eventually: Eventually) -> None:
    async with Prober[str](lambda _: None, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.running)
        probes.answer()
        await eventually(lambda: not probes.running)
        prober.trigger("a")
        prober.trigger("unknown")
        await eventually(lambda: probes.started == 2)


async def test_a_doubt_is_looked_into_at_once_and_told(probes: Probes, eventually: Eventually) -> None:
    """A probe that was under way when the doubt came does not answer it; the one after it does, though nothing else is new."""
    told: list[str] = []

    def doubted() -> bool:
        state = prober.health("a")
        return state is not None and state.doubted

    async with Prober[str](told.append, probe=probes, confirms=lambda _key, _facts: True) as prober:
        prober.doubt("unknown")
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.running)
        probes.answer()
        await eventually(lambda: told == ["a"])
        prober.trigger("a")
        await eventually(lambda: probes.unanswered)
        prober.doubt("a")
        assert doubted()
        probes.answer()
        await eventually(lambda: probes.started == 3)
        assert doubted()
        assert told == ["a"]
        await eventually(lambda: probes.unanswered)
        probes.answer()
        await eventually(lambda: told == ["a", "a"])
        assert not doubted()


async def test_a_doubt_outlives_other_headers(probes: Probes, eventually: Eventually) -> None:
    async with Prober[str](lambda _: None, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.running)
        probes.answer()
        await eventually(lambda: not probes.running)
        prober.doubt("a")
        prober.watch("a", Target(url="http://a", headers={"X-Key": "rotated"}), NEVER, 3)
        assert prober.health("a").doubted  # type: ignore[union-attr]
        await eventually(lambda: probes.unanswered)
        probes.answer()
        await eventually(lambda: not prober.health("a").doubted)  # type: ignore[union-attr]


async def test_an_interval_that_is_edited_counts_at_once(probes: Probes, eventually: Eventually) -> None:
    async with Prober[str](lambda _: None, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.running)
        probes.answer()
        await eventually(lambda: not probes.running)
        prober.watch("a", A, 0.01, 3)
        await eventually(lambda: probes.started == 2)


async def test_a_healthy_key_that_fails_is_looked_at_again_soon_where_that_is_wanted(
    probes: Probes, eventually: Eventually
) -> None:
    refused = ProbeResult(
        time=datetime.now(UTC), seconds=0.01, error=ErrorReport(error_class="ConnectionRefused", message="refused")
    )
    async with Prober[str](lambda _: None, spread=0.001, probe=probes) as prober:
        prober.watch("soon", A, NEVER, 2, latency=0.01, retry=0.01)
        prober.watch("later", B, NEVER, 2, latency=0.01)
        for _ in range(SAMPLES):
            await answer_all(probes, eventually)
        for key in ("soon", "later"):
            prober.trigger(key)
        await eventually(lambda: len(probes.unanswered) == 2)
        for future in probes.unanswered:
            future.set_result(refused)
        await eventually(lambda: len(probes.unanswered) == 1)
        assert probes.targets == [A]
        probes.unanswered[0].set_result(refused)
        await eventually(lambda: health_of(prober, "soon") is False)
        assert health_of(prober, "later") is True, "its second failure comes with the interval"


async def answer_all(probes: Probes, eventually: Eventually) -> None:
    """One good probe of each of the two keys."""
    await eventually(lambda: len(probes.unanswered) == 2)
    while probes.unanswered:
        probes.answer()


def health_of(prober: Prober[str], key: str) -> bool | None:
    state = prober.health(key)
    return state.healthy if state is not None else None


async def test_what_is_forgotten_is_probed_and_told_no_more(probes: Probes, eventually: Eventually) -> None:
    told: list[str] = []
    async with Prober[str](told.append, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.running)
        prober.forget("a")
        prober.forget("unknown")
        assert prober.health("a") is None
        await eventually(lambda: not probes.running)
    assert not told


async def test_many_servers_do_not_burst(probes: Probes, eventually: Eventually) -> None:
    """Of a thousand that come at once, half of the slots are used at once; the rest is spread, and never above the limit."""
    async with Prober[int](lambda _: None, concurrency=8, spread=0.3, probe=probes) as prober:
        for number in range(1000):
            prober.watch(number, Target(url=f"http://{number}"), NEVER, 3)
        await asyncio.sleep(0)
        assert probes.started == 4
        await eventually(lambda: len(probes.running) == 8)

        def answer_and_see() -> bool:
            while probes.unanswered:
                probes.answer()
            return len(probes.seen) == 1000  # some are probed again by then, until their latency is known

        await eventually(answer_and_see, within=60)
        assert probes.most == 8


async def test_leaving_cancels_everything(probes: Probes, eventually: Eventually) -> None:
    async with Prober[str](lambda _: None, probe=probes) as prober:
        prober.watch("a", A, NEVER, 3)
        await eventually(lambda: probes.running)
    assert not probes.running


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("k-123", ["k-123"]),
        ("Bearer abc.def", ["Bearer abc.def", "abc.def"]),
        ("Basic YWxpY2U6b3Blbg==", ["Basic YWxpY2U6b3Blbg==", "YWxpY2U6b3Blbg==", "alice:open", "open"]),
        ("Basic not-base64", ["Basic not-base64", "not-base64"]),
    ],
)
def test_which_parts_of_a_header_are_secret(value: str, parts: list[str]) -> None:
    assert list(secret_parts(value)) == parts


async def test_a_key_that_fails_is_asked_again_soon_after_a_trigger(eventually: Eventually) -> None:
    """A pod that is ready is not yet reached through its Service; its interval may be half an hour."""
    answers = [ErrorReport(error_class="ConnectionRefused", message="nothing listens")] * 2
    found = ServerFacts(protocol_version="2025-11-25", transport="streamable-http")
    asked = 0

    async def stand_in(_: Target) -> ProbeResult:
        nonlocal asked
        asked += 1
        error = answers.pop() if answers else None
        return ProbeResult(time=datetime.now(UTC), seconds=0.01, error=error, facts=None if error else found)

    async with Prober[str](lambda _: None, probe=stand_in) as prober:
        prober.watch("weather", Target(url="http://weather.invalid/mcp"), NEVER, 3)
        await eventually(lambda: (state := prober.health("weather")) is not None and state.healthy)
        assert asked >= 3


class Witness:
    """In the place of proxies: it confirms what it is told to."""

    def __init__(self) -> None:
        self.confirms = True
        self.asked = 0

    def __call__(self, _key: str, _facts: ServerFacts) -> bool:
        self.asked += 1
        return self.confirms


async def settled(prober: Prober[str], probes: Probes, eventually: Eventually) -> int:
    """How many probes were made until the usual latency was known."""
    prober.watch("a", A, 0.01, 3)
    for number in range(1, SAMPLES + 1):
        await eventually(lambda: probes.unanswered)
        probes.answer()
        await eventually(
            lambda number=number: len(health.samples) >= number if (health := prober.health("a")) else False
        )
    return SAMPLES


async def test_what_others_confirm_is_not_probed(probes: Probes, eventually: Eventually) -> None:
    witness = Witness()
    async with Prober[str](lambda _: None, probe=probes, spread=0, confirms=witness) as prober:
        started = await settled(prober, probes, eventually)
        await eventually(lambda: witness.asked > 3)
        assert probes.started == started

        witness.confirms = False
        await eventually(lambda: probes.started == started + 1)
        probes.answer()
        witness.confirms = True
        asked = witness.asked
        await eventually(lambda: witness.asked > asked + 3)
        assert probes.started == started + 1

        prober.trigger("a")
        await eventually(lambda: probes.started == started + 2)


async def test_an_interval_shorter_than_that_of_others_is_kept(probes: Probes, eventually: Eventually) -> None:
    """What they say may be older than the interval: whoever asks for a second is not to wait for ten."""
    witness = Witness()
    async with Prober[str](lambda _: None, probe=probes, spread=0, confirms=witness, confirm_seconds=10) as prober:
        started = await settled(prober, probes, eventually)
        await eventually(lambda: probes.started > started)
        assert witness.asked == 0


async def test_what_fails_is_probed_whatever_others_say(probes: Probes, eventually: Eventually) -> None:
    witness = Witness()
    async with Prober[str](lambda _: None, probe=probes, spread=0, confirms=witness) as prober:
        started = await settled(prober, probes, eventually)
        witness.confirms = False
        await eventually(lambda: probes.started == started + 1)
        witness.confirms = True
        refused = ErrorReport(error_class="ConnectionRefused", message="nobody listens")
        probes.unanswered[0].set_result(ProbeResult(time=datetime.now(UTC), seconds=0.01, error=refused))
        await eventually(lambda: probes.started == started + 2)


async def test_now_and_then_it_is_probed_all_the_same(
    probes: Probes, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_operator.probe.prober.REST", timedelta(0))
    async with Prober[str](lambda _: None, probe=probes, spread=0, confirms=Witness()) as prober:
        started = await settled(prober, probes, eventually)
        await eventually(lambda: probes.started == started + 1)


async def test_of_many_that_are_new_the_latencies_are_found_later(
    probes: Probes, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they have comes first."""
    monkeypatch.setattr("mcp_operator.probe.prober._SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("mcp_operator.probe.prober._SETTLED_PER_SECOND", 1 / NEVER)

    async with Prober[str](lambda _: None, probe=probes, spread=0) as prober:
        for name in ("a", "b"):
            prober.watch(name, Target(url=f"http://{name}"), NEVER, 3)
        await eventually(lambda: len(probes.unanswered) == 2)
        probes.answer()
        probes.answer()
        await eventually(lambda: all((health := prober.health(name)) and health.healthy for name in ("a", "b")))
        assert probes.started == 2, "the interval comes first"
        monkeypatch.setattr("mcp_operator.probe.prober._SETTLED_PER_SECOND", 1e6)
        prober.trigger("a")
        for number in range(3, SAMPLES + 2):
            await eventually(lambda number=number: probes.started == number)
            probes.answer()
        await eventually(lambda: (health := prober.health("a")) and len(health.samples) == SAMPLES)
        assert probes.started == SAMPLES + 1
