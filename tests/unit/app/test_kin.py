"""Whose a task is, and how a family of tasks ends."""

import asyncio
import contextlib

import pytest

from mcp_operator.app.kin import Kin


async def forever() -> None:
    await asyncio.Event().wait()


async def ended(*tasks: "asyncio.Task[object]") -> None:
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_all_descendants_end_and_nobody_else() -> None:
    kin = Kin()
    begun: list[asyncio.Task[None]] = []

    async def parent(depth: int) -> None:
        if depth:
            begun.append(asyncio.create_task(parent(depth - 1)))
        await forever()

    async def begin() -> str:
        begun.append(asyncio.create_task(parent(3)))
        return "begun"

    stranger = asyncio.create_task(forever())
    assert await kin.run(begin()) == "begun"
    later = asyncio.create_task(forever())
    while len(begun) < 4:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    assert set(kin.living()) == set(begun)
    assert await kin.end(30) == []
    assert all(task.cancelled() for task in begun)
    assert not stranger.done()
    assert not later.done()
    stranger.cancel()
    later.cancel()
    await ended(stranger, later)


async def test_orphans_end_first_and_a_parent_ends_its_children_itself() -> None:
    """As kopf's watches do: they close what their helpers must be alive for."""
    kin, order = Kin(), []
    helper_lived = None

    async def named(name: str) -> None:
        try:
            await forever()
        finally:
            order.append(name)

    async def careful() -> None:
        nonlocal helper_lived
        helper = asyncio.create_task(named("helper"))
        try:
            await forever()
        finally:
            await asyncio.sleep(0.01)
            helper_lived = not helper.done()
            order.append("careful")

    async def dies() -> None:
        asyncio.create_task(named("orphan"))  # noqa: RUF006 - nobody holds it
        await asyncio.sleep(0)

    async def begin() -> list["asyncio.Task[None]"]:
        return [asyncio.create_task(careful()), asyncio.create_task(dies())]

    _, dying = await kin.run(begin())
    await dying
    assert await kin.end(30) == []
    assert order == ["orphan", "careful", "helper"]
    assert helper_lived


async def test_what_a_call_to_the_outside_begins_is_not_of_the_family() -> None:
    kin, begun = Kin(), []
    call = kin.outside(lambda name: begun.append(asyncio.create_task(forever(), name=name)))

    async def member() -> None:
        call("outside")
        asyncio.create_task(forever(), name="inside")  # noqa: RUF006 - as above
        call("outside too")

    async def begin() -> None:
        await asyncio.create_task(member())

    await kin.run(begin())
    assert [task.get_name() for task in kin.living()] == ["inside"]
    assert await kin.end(30) == []
    assert [task.get_name() for task in begun] == ["outside", "outside too"]
    assert not any(task.done() for task in begun)
    for task in begun:
        task.cancel()
    await ended(*begun)


async def test_a_task_that_heeds_no_cancellation_holds_up_nobody() -> None:
    kin, may_end, asked = Kin(), asyncio.Event(), 0

    async def heedless() -> None:
        nonlocal asked
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                asked += 1

    async def fails() -> None:
        raise LookupError

    async def begin() -> list["asyncio.Task[None]"]:
        return [asyncio.create_task(coro) for coro in (heedless(), forever(), fails())]

    stuck, other, failed = await kin.run(begin())
    await asyncio.sleep(0)
    ending = asyncio.create_task(kin.end(0.05))
    done, _ = await asyncio.wait([ending], timeout=30)
    may_end.set()
    await stuck
    assert done
    assert ending.result() == [stuck]
    assert asked == 2
    assert other.cancelled()
    assert isinstance(failed.exception(), LookupError)


async def test_names_and_contexts_of_tasks_are_as_without_it() -> None:
    kin = Kin()

    async def begin() -> "asyncio.Task[str]":
        async def name() -> str:
            task = asyncio.current_task()
            assert task is not None
            return task.get_name()

        return asyncio.create_task(name(), name="called so")

    assert await (await kin.run(begin())) == "called so"


async def test_a_loop_that_makes_its_tasks_in_another_way_is_refused() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coro, **more: asyncio.Task(coro, loop=loop, **more))
    beginning = forever()
    try:
        with pytest.raises(RuntimeError, match="task factory of somebody else's"):
            await Kin().run(beginning)
    finally:
        loop.set_task_factory(None)
        beginning.close()
