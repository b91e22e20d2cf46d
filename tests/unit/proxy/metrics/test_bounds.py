"""How many series there can be, and that they end with what they are of."""

from mcp_operator_proxy.registry.listing import listing, tool_ids
from mcp_operator_proxy.table import Entry
from mcp_operator_proxy.toolmetrics import MOST_TOOLS, OTHER, REMEMBERED, ExecutionsCollector
from mcp_operator_proxy.usage import Usage
from support.backends import ServedApp, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.scraped import scraped
from support.scripted import TOOLS, Scripted

from .calling import EXECUTIONS, SECONDS, calling

MANY = 5_000


def entries(gateway: Gateway) -> dict[str, Entry]:
    return {entry.name: entry for entry in gateway.proxy.table("/mcp", None).tools.values()}


async def test_a_server_with_many_tools() -> None:
    scripted = Scripted("modern")
    scripted.more_tools = [f"tool_{number}" for number in range(MANY)]
    async with ServedApp(scripted.app) as served, running_gateway(make_config({"a": served.url})) as gateway:
        tools = entries(gateway)
        assert len(tools) == MANY + len(TOOLS)
        for entry in tools.values():
            gateway.proxy.record_call(entry, "ok", 0.01)
        found = await scraped(gateway)
        ids = found.by(EXECUTIONS, "tool_id")
        assert len(ids) == MOST_TOOLS + 1
        assert ids[OTHER] == len(tools) - MOST_TOOLS
        assert sum(ids.values()) == len(tools)
        assert found.value(SECONDS, tool_id=OTHER) == ids[OTHER]

        # Who has series keeps them; what is counted together stays so, and its sum does not fall when a tool goes.
        scripted.more_tools = scripted.more_tools[:-1]
        gateway.proxy.state.backends["ns/a"].nudge()  # type: ignore[union-attr]
        await eventually(lambda: len(entries(gateway)) == len(tools) - 1)
        for entry in entries(gateway).values():
            gateway.proxy.record_call(entry, "error", 0.01)
        again = await scraped(gateway)
        assert again.by(EXECUTIONS, "tool_id", status="ok") == ids
        assert again.value(EXECUTIONS, tool_id=OTHER, status="error") == ids[OTHER] - 1


async def test_series_end_with_their_server_and_tool() -> None:
    async with calling("modern", lane=True) as through:
        gateway, scripted = through.gateway, through.scripted
        scripted.more_tools = ["fleeting"]
        gateway.proxy.state.backends["ns/a"].nudge()  # type: ignore[union-attr]
        await eventually(lambda: "fleeting" in entries(gateway))
        await through.raw.call("a_fleeting")
        await through.raw.call("a_text")
        assert (await scraped(gateway)).by(EXECUTIONS, "tool_id") == {"a.fleeting": 1, "a.text": 1}
        scripted.more_tools = []
        gateway.proxy.state.backends["ns/a"].nudge()  # type: ignore[union-attr]
        await eventually(lambda: "fleeting" not in entries(gateway))
        assert (await scraped(gateway)).by(EXECUTIONS, "tool_id") == {"a.text": 1}

        await gateway.proxy.apply(make_config({}))
        found = await scraped(gateway)
        assert not [name for name, labels in found.samples if {"server_id", "tool_id", "server"} & dict(labels).keys()]


async def test_what_is_gone_is_forgotten_in_the_end() -> None:
    usage = Usage()
    for number in range(REMEMBERED + 1):
        usage.of("ns/gone", f"t{number}").add("ok", 0.1, 1.0)
    async with calling("modern", lane=True) as through:
        collector = ExecutionsCollector(usage, lambda: through.gateway.proxy.state)
        assert not [family.samples for family in collector.collect() if family.samples]
        assert not usage.tools


async def test_ids_are_those_of_rest() -> None:
    """Also where two namespaces have a name, two ids would be one, or two routes show a tool."""
    scripted = Scripted("modern"), Scripted("modern")
    scripted[0].more_tools, scripted[1].more_tools = ["b.c"], ["c"]
    async with ServedApp(scripted[0].app) as one, ServedApp(scripted[1].app) as other:
        servers = [("n/a", one.url), ("n/a.b", other.url), ("m/a", one.url), ("m/d", other.url)]
        routes = [
            {"name": f"r{number}", "path": path, "servers": [{"server": server, "prefix": ""}]}
            for number, (path, server) in enumerate(
                [("/1", "n/a"), ("/2", "n/a.b"), ("/3", "m/a"), ("/4", "m/d"), ("/5", "n/a")]
            )
        ]
        config = make_config({}, routes=routes, servers=[{"id": server, "url": url} for server, url in servers])
        async with running_gateway(config) as gateway:
            state = gateway.proxy.state
            assert state is not None
            shown = {path: table.tools for path, table in state.table.items()}
            ids = tool_ids(state.config, shown)
            assert ids == listing(state.config, shown).ids
            assert (
                len(set(ids.values())) == len(ids) == sum(len(tools) for path, tools in shown.items() if path != "/5")
            )
