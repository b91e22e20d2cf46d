"""The queue against client-go's semantics.

| case                                   | what must hold                                     |
| added twice while it waits             | handed out once                                    |
| added while a worker has it            | handed out again after `done`, not before          |
| added any time, workers interleaved    | no key lost, none handed out twice at once         |
| timers                                 | one a key; the earlier deadline wins               |
| failures                               | delay doubles, is capped, is reset by `forget`     |
| front and background                   | front first; background never starves              |
| shut down                              | drains or drops; every getter ends                 |
| a getter is cancelled                  | the key goes to another                            |
"""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.keys import Key
from mcp_operator.engine.metrics import Metrics
from mcp_operator.engine.queue import QueueShutDown, WorkQueue

A, B, C = (Key("Thing", "ns", name) for name in "abc")
FAST = Backoff(base=0.0005, cap=0.002)


async def drained(queue: WorkQueue) -> list[Key]:
    """Take and finish everything that waits now."""
    out = []
    while len(queue):
        key = await queue.get()
        queue.done(key)
        out.append(key)
    return out


async def test_a_key_that_waits_is_not_added_twice() -> None:
    queue = WorkQueue()
    for key in (A, B, A, A):
        queue.add(key)
    assert len(queue) == 2
    assert await drained(queue) == [A, B]


async def test_a_key_added_while_busy_comes_again_after_done() -> None:
    queue = WorkQueue()
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    queue.add(A)
    assert len(queue) == 0
    assert queue.busy == 1
    queue.done(A)
    assert await drained(queue) == [A]


async def test_done_of_a_key_that_nobody_has_is_an_error() -> None:
    queue = WorkQueue()
    queue.add(A)
    with pytest.raises(ValueError, match="Thing/ns/a is not being worked on"):
        queue.done(A)


async def test_get_waits_for_a_key() -> None:
    queue = WorkQueue()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not getter.done()
    queue.add(A)
    assert await getter == A


async def test_a_cancelled_getter_leaves_its_key_to_another() -> None:
    queue = WorkQueue()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add(A)  # wakes the first, which is cancelled before it can take the key
    first.cancel()
    assert await asyncio.wait_for(second, 5) == A
    assert first.cancelled()


async def test_what_changed_goes_before_the_background_which_never_starves() -> None:
    queue = WorkQueue()
    background = [Key("Thing", "old", str(number)) for number in range(3)]
    front = [Key("Thing", "new", str(number)) for number in range(20)]
    for key in background:
        queue.add(key, background=True)
    for key in front:
        queue.add(key)
    order = await drained(queue)
    assert [key for key in order if key.namespace == "new"] == front
    assert [order.index(key) for key in background] == [7, 15, 22]


async def test_a_background_key_moves_up_when_it_changes() -> None:
    queue = WorkQueue()
    queue.add(A, background=True)
    queue.add(B)
    queue.add(A)
    queue.add(B, background=True)
    assert len(queue) == 2
    assert await drained(queue) == [B, A]


@pytest.mark.parametrize(("adds", "first"), [((False, True), [A, B]), ((True, True), [B, A]), ((True, False), [A, B])])
async def test_a_key_added_while_busy_keeps_the_higher_rank(adds: tuple[bool, ...], first: list[Key]) -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    for background in adds:
        queue.add(A, background=background)
    queue.done(A)
    queue.add(B)
    assert await drained(queue) == first


@pytest.mark.parametrize(
    ("delays", "expected"), [((0.01, 30), 0.01), ((30, 0.01), 0.01), ((0.01, 0.02), 0.01), ((30, 0), 0)]
)
async def test_one_timer_a_key_and_the_earlier_wins(delays: tuple[float, float], expected: float) -> None:
    queue = WorkQueue()
    started = asyncio.get_running_loop().time()
    for delay in delays:
        queue.add_after(A, delay)
    assert queue.scheduled == 1
    assert await asyncio.wait_for(queue.get(), 5) == A
    assert asyncio.get_running_loop().time() - started >= expected
    queue.shut_down(drain=False)
    assert queue.scheduled == 0


async def test_failures_double_the_delay_up_to_the_cap_until_forgotten() -> None:
    class Retries(Metrics):
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def retried(self, kind: str) -> None:
            self.kinds.append(kind)

    metrics = Retries()
    queue = WorkQueue(backoff=FAST, metrics=metrics)
    for expected in range(1, 8):
        queue.add_rate_limited(A)
        assert queue.failures(A) == expected
        queue.done(await asyncio.wait_for(queue.get(), 5))
    assert metrics.kinds == ["Thing"] * 7
    queue.forget(A)
    assert queue.failures(A) == 0


@given(failures=st.integers(0, 10_000), seed=st.integers(0, 1000))
def test_backoff_stays_within_its_bounds(failures: int, seed: int) -> None:
    backoff = Backoff(base=0.2, cap=300, jitter=0.25, rng=random.Random(seed))
    full = min(300.0, 0.2 * 2.0 ** min(failures, 64))
    assert 0.75 * full <= backoff.delay(failures) <= full


async def test_a_rate_limited_key_waits_at_least_as_long_as_the_server_asked() -> None:
    queue = WorkQueue(backoff=FAST)
    started = asyncio.get_running_loop().time()
    queue.add_rate_limited(A, at_least=0.05)
    await asyncio.wait_for(queue.get(), 5)
    assert asyncio.get_running_loop().time() - started >= 0.05


async def test_shut_down_drops_what_waits_and_ends_every_getter() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.add_after(B, 60)
    queue.shut_down(drain=False)
    queue.add(C)
    queue.add_after(C, 0.001)
    queue.add_rate_limited(C)
    with pytest.raises(QueueShutDown):
        await queue.get()
    assert (len(queue), queue.scheduled) == (0, 0)


async def test_shut_down_wakes_those_who_wait() -> None:
    queue = WorkQueue()
    getters = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shut_down(drain=True)
    results = await asyncio.wait_for(asyncio.gather(*getters, return_exceptions=True), 5)
    assert [type(result) for result in results] == [QueueShutDown] * 3


async def test_draining_hands_out_what_waits_and_what_changed_under_work() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.add(A)
    queue.add(B)
    queue.shut_down(drain=True)
    assert await queue.get() == B
    waiter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiter.done()
    queue.done(B)
    queue.done(A)
    assert await asyncio.wait_for(waiter, 5) == A
    queue.done(A)
    with pytest.raises(QueueShutDown):
        await queue.get()
    await asyncio.wait_for(queue.join(), 5)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "background"]), st.sampled_from([A, B, C])),
        st.tuples(st.sampled_from(["get", "done"]), st.integers(0, 2)),
    ),
    max_size=60,
)


@given(OPERATIONS)
def test_any_sequence_of_calls_keeps_the_model(operations: list[tuple[str, Key | int]]) -> None:
    """The model: a key is dirty from `add` to the `get` that hands it out; a dirty key is never lost."""

    async def run() -> None:
        queue = WorkQueue()
        dirty: set[Key] = set()
        busy: list[Key] = []
        for name, argument in operations:
            if isinstance(argument, Key):
                queue.add(argument, background=name == "background")
                dirty.add(argument)
            elif name == "get" and len(queue):
                key = await queue.get()
                assert key not in busy
                assert key in dirty
                dirty.remove(key)
                busy.append(key)
            elif name == "done" and argument < len(busy):
                queue.done(busy.pop(argument))
            assert len(queue) == len(dirty - set(busy))
            assert queue.busy == len(busy)
        for key in busy:
            queue.done(key)
        assert {key async for key in _all(queue)} == dirty

    asyncio.run(run())


async def _all(queue: WorkQueue):  # type: ignore[no-untyped-def]  # noqa: ANN202
    while len(queue):
        yield await queue.get()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 6), keys=st.integers(1, 8), failing=st.booleans())
def test_workers_see_the_last_state_of_every_key_and_never_share_one(
    seed: int, workers: int, keys: int, failing: bool
) -> None:
    rng = random.Random(seed)
    names = [Key("Thing", "", str(number)) for number in range(keys)]

    async def run() -> None:
        queue = WorkQueue(backoff=FAST)
        current: Counter[Key] = Counter()
        seen: dict[Key, int] = {}
        held: set[Key] = set()

        async def work() -> None:
            while True:
                try:
                    key = await queue.get()
                except QueueShutDown:
                    return
                assert key not in held
                held.add(key)
                version = current[key]
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)
                held.remove(key)
                if failing and rng.random() < 0.2:
                    queue.add_rate_limited(key)
                else:
                    seen[key] = version
                    queue.forget(key)
                queue.done(key)

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
            for _ in range(60):
                key = rng.choice(names)
                current[key] += 1
                queue.add(key, background=rng.random() < 0.3)
                if rng.random() < 0.5:
                    await asyncio.sleep(0)
            while queue.scheduled or len(queue) or queue.busy:  # noqa: ASYNC110
                await asyncio.sleep(0.0005)
            queue.shut_down(drain=True)
        assert seen == dict(current)

    asyncio.run(run())


async def test_the_hooks_tell_depth_adds_latency_and_work() -> None:
    class Recorder(Metrics):
        def __init__(self) -> None:
            self.calls: list[tuple[str, object]] = []
            self.latency: list[float] = []

        def depth(self, keys: int) -> None:
            self.calls.append(("depth", keys))

        def added(self, kind: str) -> None:
            self.calls.append(("added", kind))

        def waited(self, kind: str, seconds: float) -> None:  # noqa: ARG002
            self.latency.append(seconds)

        def busy(self, workers: int) -> None:
            self.calls.append(("busy", workers))

    metrics = Recorder()
    queue = WorkQueue(metrics=metrics)
    queue.add(A)
    queue.add(A)
    queue.done(await queue.get())
    assert metrics.calls == [("added", "Thing"), ("depth", 1), ("depth", 0), ("busy", 1), ("busy", 0)]
    assert len(metrics.latency) == 1
    assert metrics.latency[0] >= 0
