"""/healthz: it fails when a watch is stuck, and only then."""

from support import resources

from .conftest import Until, World

IMAGE = "registry.invalid/server:1"


async def test_a_watch_that_brings_nothing(world: World, namespace: str, until: Until) -> None:
    operator = await world.operator(world.install(), "--watch-patience-seconds", "4")
    await until(operator.is_ready, why=lambda: operator.lines[-5:])
    between = world.betweens["one"]
    await until(lambda: between.watching("mcpservers"))
    between.mute("mcpservers")
    quiet = len(between.asked)
    await until(lambda: sum(a.plural == "mcpservers" and a.watches for a in between.asked[quiet:]) >= 3)
    assert (await operator.ask("/healthz"))[0] == 200, "silence alone is no fault: there is nothing to tell"
    await world.apply(namespace, resources.container("unheard", IMAGE))

    async def fails() -> bool:
        return (await operator.ask("/healthz"))[0] == 503

    await until(fails)
    assert (await operator.ask("/healthz"))[1] == "the watch of McpServer does not bring what the API server has"
    assert await operator.metric("mcp_operator_watch_age_seconds", kind="McpServer") >= 4
    assert await operator.metric("mcp_operator_watch_age_seconds", kind="McpProxy") < 60
    await until(lambda: operator.said("the watch of McpServer is stuck"))


async def test_a_stuck_watch_that_is_overtaken_by_an_outage(world: World, namespace: str, until: Until) -> None:
    """What a stream owes is no reason for a restart while nobody can be asked; and it pays when it is back."""
    operator = await world.operator(world.install(), "--watch-patience-seconds", "6")
    await until(operator.is_ready, why=lambda: operator.lines[-5:])
    between = world.betweens["one"]
    await until(lambda: between.watching("mcpservers"))
    between.mute("mcpservers")
    await world.apply(namespace, resources.container("unheard", IMAGE))
    between.refuse(lambda asked: asked.plural != "leases", 503, reason="ServiceUnavailable")
    answers: list[int] = []
    checks = len(between.asked)

    async def looked_often() -> bool:
        answers.append((await operator.ask("/healthz"))[0])
        return sum(a.status == 503 and a.query.get("timeoutSeconds") == "1" for a in between.asked[checks:]) > 60

    await until(looked_often)
    assert set(answers) == {200}
    between.relent()
    between.cut()
    await until(lambda: _has_service(world, namespace))
    assert (await operator.ask("/healthz"))[0] == 200


async def _has_service(world: World, namespace: str) -> bool:
    return await world.names("services", namespace) == {"unheard-server"}
