"""Leader election over a Lease that refuses outdated writes, as an API server does. Time leaps."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_operator.engine.lease import LeaderElector
from support.leaping import leaping, now
from support.waiting import Eventually

DURATION, DEADLINE, RETRY = 0.9, 0.6, 0.02


class Leases:
    """One Lease with optimistic locking. `down` makes every call fail, `stuck` makes it hang."""

    def __init__(self, spec: dict[str, Any] | None = None) -> None:
        self.version = 1
        self.spec = spec
        self.down = False
        self.stuck = False
        self.writes = 0
        self.refused = 0

    async def get(self) -> dict[str, Any] | None:
        await self._reach()
        return None if self.spec is None else self._lease()

    async def create(self, spec: Mapping[str, Any]) -> dict[str, Any] | None:
        await self._reach()
        return None if self.spec is not None else self.write(spec)

    async def replace(self, lease: Mapping[str, Any]) -> dict[str, Any] | None:
        await self._reach()
        if self.spec is None or lease["metadata"]["resourceVersion"] != str(self.version):
            return None
        return self.write(lease["spec"])

    def write(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.writes += 1
        self.spec = dict(spec)
        return self._lease()

    def _lease(self) -> dict[str, Any]:
        assert self.spec is not None
        return {"metadata": {"name": "l", "resourceVersion": str(self.version)}, "spec": dict(self.spec)}

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.stuck:
            await asyncio.Event().wait()
        if self.down:
            self.refused += 1
            raise ConnectionError("no API server")


def elector(leases: Leases, identity: str, *, ahead: float = 0.0) -> LeaderElector:
    return LeaderElector(
        leases,
        identity,
        duration=DURATION,
        renew_deadline=DEADLINE,
        retry=RETRY,
        clock=lambda: now() + ahead,
    )


@asynccontextmanager
async def holding(candidate: LeaderElector) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(candidate.hold())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@leaping
async def test_the_first_candidate_creates_the_lease_and_renews_it(eventually: Eventually) -> None:
    leases = Leases()
    one = elector(leases, "one")
    await asyncio.wait_for(one.acquire(), 5)
    assert one.is_leader
    assert leases.spec is not None
    assert leases.spec["holderIdentity"] == "one"
    assert leases.spec["leaseTransitions"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", leases.spec["renewTime"])
    acquired, first = leases.spec["acquireTime"], leases.spec["renewTime"]
    async with holding(one):
        await eventually(lambda: leases.writes >= 5)
    assert leases.spec["acquireTime"] == acquired
    assert leases.spec["renewTime"] > first
    assert not one.lost.is_set()


@leaping
async def test_a_standby_takes_over_at_once_when_the_leader_releases(eventually: Eventually) -> None:
    leases = Leases()
    one, two = elector(leases, "one"), elector(leases, "two")
    await one.acquire()
    async with holding(one):
        standby = asyncio.create_task(two.acquire())
        await eventually(lambda: two.leader == "one")
        assert not two.is_leader
    started = now()
    await one.release()
    assert leases.spec is not None
    assert leases.spec["holderIdentity"] == ""
    await asyncio.wait_for(standby, 5)
    assert now() - started < DURATION, "nobody waits for a lease that has no holder"
    assert leases.spec["holderIdentity"] == "two"
    assert leases.spec["leaseTransitions"] == 1
    assert (one.is_leader, two.is_leader, one.lost.is_set()) == (False, True, False)


@leaping
async def test_a_silent_leader_is_replaced_only_after_it_stepped_down(eventually: Eventually) -> None:
    leases = Leases()
    one, two = elector(leases, "one"), elector(leases, "two")
    await one.acquire()
    started = now()
    await asyncio.wait_for(two.acquire(), 5)  # nobody holds for `one`: as if its process hung
    assert now() - started >= DURATION - 0.01
    assert not one.is_leader, "it knows by its own clock, without any call"
    await asyncio.wait_for(one.hold(), 5)
    assert one.lost.is_set()


@pytest.mark.parametrize("failure", ["down", "stuck"])
@leaping
async def test_leadership_is_lost_when_renewing_fails_for_too_long(
    failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    leases = Leases()
    one = elector(leases, "one")
    await one.acquire()
    setattr(leases, failure, True)
    started = now()
    await asyncio.wait_for(one.hold(), 5)
    assert DEADLINE - 0.1 <= now() - started < DURATION
    assert one.lost.is_set()
    assert not one.is_leader
    assert "leadership lost: not renewed for 0.6 s" in caplog.text


@leaping
async def test_a_short_outage_is_survived(eventually: Eventually) -> None:
    leases = Leases()
    one = elector(leases, "one")
    await one.acquire()
    async with holding(one) as task:
        leases.down = True
        await eventually(lambda: leases.refused >= 3)
        leases.down = False
        writes = leases.writes
        await eventually(lambda: leases.writes >= writes + 3)
        assert not task.done()
    assert not one.lost.is_set()


@leaping
async def test_leadership_is_lost_when_another_wrote_itself_in() -> None:
    leases = Leases()
    one = elector(leases, "one")
    await one.acquire()
    leases.write({"holderIdentity": "usurper", "leaseDurationSeconds": 15})
    await asyncio.wait_for(one.hold(), 5)
    assert one.lost.is_set()
    assert leases.spec is not None
    assert leases.spec["holderIdentity"] == "usurper"


@leaping
async def test_an_edit_that_leaves_the_holder_alone_costs_nothing(eventually: Eventually) -> None:
    leases = Leases()
    one = elector(leases, "one")
    await one.acquire()
    async with holding(one):
        assert leases.spec is not None
        leases.write({**leases.spec, "leaseTransitions": 7})
        writes = leases.writes
        await eventually(lambda: leases.writes >= writes + 2)
    assert leases.spec["leaseTransitions"] == 7
    assert not one.lost.is_set()


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
@leaping
async def test_wall_clocks_are_never_compared(renewed: str, eventually: Eventually) -> None:
    """A Lease whose holder's clock is decades off is honoured for its duration, as seen from here, and then taken."""
    leases = Leases({"holderIdentity": "gone", "leaseDurationSeconds": 1, "renewTime": renewed, "acquireTime": renewed})
    one = elector(leases, "one", ahead=1e6)
    started = now()
    await asyncio.wait_for(one.acquire(), 5)
    assert now() - started >= 0.99


@leaping
async def test_a_candidate_whose_last_write_went_through_unheard_takes_it_as_its_own() -> None:
    leases = Leases(
        {"holderIdentity": "one", "leaseDurationSeconds": 3600, "acquireTime": "then", "leaseTransitions": 3}
    )
    one = elector(leases, "one")
    await asyncio.wait_for(one.acquire(), 1)
    assert leases.spec is not None
    assert (leases.spec["leaseTransitions"], leases.spec["acquireTime"]) == (3, "then")


@leaping
async def test_a_lease_without_a_spec_is_free() -> None:
    one = elector(Leases({}), "one")
    await asyncio.wait_for(one.acquire(), 1)


@leaping
async def test_of_many_candidates_one_leads_at_any_time(eventually: Eventually) -> None:
    """Each leader works for a while and then leaves, by releasing or by falling silent."""
    leases, terms = Leases(), []
    leading: set[str] = set()

    async def candidate(identity: str, polite: bool) -> None:
        mine = elector(leases, identity)
        await mine.acquire()
        assert not leading
        leading.add(identity)
        async with holding(mine):
            await asyncio.sleep(RETRY * 2)
        terms.append(identity)
        leading.remove(identity)
        if polite:
            await mine.release()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(candidate(f"c{number}", polite=number % 2 == 0))
    assert len(terms) == 5
    assert leases.spec is not None
    assert leases.spec["leaseTransitions"] == 4


@leaping
async def test_a_release_after_a_renewal_that_was_cut_short_still_leaves_the_lease_free() -> None:
    leases = Leases()
    one = elector(leases, "one")
    await one.acquire()
    assert leases.spec is not None
    leases.write(leases.spec)  # the renewal was written; its answer was never read
    await one.release()
    assert leases.spec["holderIdentity"] == ""


@leaping
async def test_releasing_takes_nothing_from_another_and_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    leases = Leases()
    one = elector(leases, "one")
    await one.release()
    assert leases.writes == 0
    await one.acquire()
    leases.write({"holderIdentity": "two", "leaseDurationSeconds": 15})
    await one.release()
    assert leases.spec is not None
    assert leases.spec["holderIdentity"] == "two"
    other = elector(Leases(), "three")
    await other.acquire()
    other._leases.down = True  # type: ignore[attr-defined]
    await other.release()
    assert "the lease could not be released: ConnectionError: no API server" in caplog.text


@pytest.mark.parametrize(
    ("identity", "times", "message"),
    [
        ("", (15, 10, 2), "empty identity"),
        ("a", (10, 10, 2), "must hold"),
        ("a", (15, 2, 2), "must hold"),
        ("a", (15, 10, 0), "must hold"),
    ],
)
def test_settings_under_which_two_could_lead_are_refused(identity: str, times: tuple[int, ...], message: str) -> None:
    duration, deadline, retry = times
    with pytest.raises(ValueError, match=message):
        LeaderElector(Leases(), identity, duration=duration, renew_deadline=deadline, retry=retry)


@leaping
async def test_a_standby_tries_at_the_moment_at_which_the_lease_expires(eventually: Eventually) -> None:
    """However long it pauses between two looks."""
    leases = Leases({"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "x"})
    two = LeaderElector(leases, "two", duration=1.0, renew_deadline=0.95, retry=0.9, clock=now)
    started = now()
    await asyncio.wait_for(two.acquire(), 5)
    assert now() - started >= 1.0
    assert two.is_leader


def test_by_default_a_silent_leader_is_replaced_within_fifteen_seconds() -> None:
    two = LeaderElector(Leases(), "two")
    assert two._duration + 1.2 * two._retry < 15
