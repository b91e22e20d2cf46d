"""Policies over the wire: lists show what the caller may call, and what it may not call is as if it were not there."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastmcp import FastMCP
from mcp_types import HEADER_MISMATCH
from pydantic import Field

from mcp_operator_proxy.swap.validate import ConfigRejected
from support.backends import ServedMCP
from support.gateway import Gateway, make_config, running_gateway
from support.rawclient import Front, RawClient, raw_client

KEYS = {"alice": "alice-key-0123456789", "bob": "bob-key-0123456789abc"}
AUTH = {"apiKeys": [{"name": name, "secret": {"file": name}} for name in KEYS]}
READERS = """
permit(principal, action == Action::"tools/call", resource) when { resource.annotations.readOnlyHint };
permit(principal == ApiKey::"alice", action, resource);
permit(principal, action, resource == Prompt::"ns/s/open");
permit(principal, action == Action::"resources/read", resource) when { resource.name like "open://*" };
"""
FRONTS: tuple[Front, ...] = ("legacy", "modern")


def server() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("s")

    @mcp.tool(annotations={"readOnlyHint": True})
    def read() -> str:
        return "read"

    @mcp.tool
    def write() -> str:
        return "written"

    @mcp.tool
    def locate(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        return region

    @mcp.prompt(name="open")
    def open_prompt() -> str:
        return "open"

    @mcp.prompt
    def closed(word: str) -> str:
        return word

    @mcp.resource("open://a")
    def open_resource() -> str:
        return "open"

    @mcp.resource("closed://a")
    def closed_resource() -> str:
        return "closed"

    @mcp.resource("closed://by/{name}")
    def closed_template(name: str) -> str:
        return name

    return mcp


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with ServedMCP(server()) as served:
        made = make_config({"s": served.url}, auth=AUTH, authorization={"policies": READERS})
        async with running_gateway(made, KEYS) as running:
            yield running


def caller(gateway: Gateway, name: str, front: Front) -> Any:
    return raw_client(gateway.url, front, headers={"x-api-key": KEYS[name]})


async def listed(client: RawClient) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for method, key, name in (
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ):
        answer = await client.ask(method, {})
        found[key] = [each[name] for each in answer.message["result"][key]]
    return found


@pytest.mark.parametrize("front", FRONTS)
async def test_lists_show_what_the_caller_may_call(gateway: Gateway, front: Front) -> None:
    async with caller(gateway, "alice", front) as alice, caller(gateway, "bob", front) as bob:
        for _ in range(2):
            assert await listed(bob) == {
                "tools": ["s_read"],
                "prompts": ["s_open"],
                "resources": ["open://s/a"],
                "resourceTemplates": [],
            }
            assert await listed(alice) == {
                "tools": ["s_read", "s_write", "s_locate"],
                "prompts": ["s_open", "s_closed"],
                "resources": ["open://s/a", "closed://s/a"],
                "resourceTemplates": ["closed://s/by/{name}"],
            }


HIDDEN = (
    ("tools/call", {"name": "s_write", "arguments": {}}, {"name": "s_nothing", "arguments": {}}),
    ("prompts/get", {"name": "s_closed", "arguments": {"word": "x"}}, {"name": "s_nothing", "arguments": {}}),
    ("resources/read", {"uri": "closed://s/a"}, {"uri": "closed://t/a"}),
    ("resources/read", {"uri": "closed://s/by/me"}, {"uri": "closed://t/by/me"}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "s_closed"}, "argument": {"name": "word", "value": ""}},
        {"ref": {"type": "ref/prompt", "name": "s_nothing"}, "argument": {"name": "word", "value": ""}},
    ),
    (
        "completion/complete",
        {"ref": {"type": "ref/resource", "uri": "closed://s/by/{name}"}, "argument": {"name": "name", "value": ""}},
        {"ref": {"type": "ref/resource", "uri": "closed://t/by/{name}"}, "argument": {"name": "name", "value": ""}},
    ),
)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(("method", "hidden", "unknown"), HIDDEN)
async def test_what_may_not_be_called_is_as_if_it_were_not_there(
    gateway: Gateway, front: Front, method: str, hidden: dict[str, Any], unknown: dict[str, Any]
) -> None:
    async with caller(gateway, "alice", front) as alice, caller(gateway, "bob", front) as bob:
        for _ in range(2):
            refused = (await bob.ask(method, hidden)).message["error"]
            missing = (await bob.ask(method, unknown)).message["error"]
            assert refused["code"] == missing["code"]
            assert _nameless(refused, hidden) == _nameless(missing, unknown)
            assert "error" not in (await alice.ask(method, hidden)).message


def _nameless(error: dict[str, Any], asked: dict[str, Any]) -> str:
    name = str(asked.get("ref", asked).get("name") or asked.get("ref", asked).get("uri"))
    return str({key: error.get(key) for key in ("message", "data")}).replace(name, "NAME")


async def test_the_check_of_headers_tells_nothing_of_hidden_tools(gateway: Gateway) -> None:
    """SEP-2243: a tool may want arguments in headers, too, which is checked before it is called."""
    async with caller(gateway, "alice", "modern") as alice, caller(gateway, "bob", "modern") as bob:
        wrong = await alice.call("s_locate", {"region": "eu"})
        assert wrong.message["error"]["code"] == HEADER_MISMATCH
        hidden, unknown = [await bob.call(tool, {"region": "eu"}) for tool in ("s_locate", "s_nothing")]
        assert hidden.status == unknown.status
        assert hidden.message["error"]["message"] == "Unknown tool: s_locate"
        assert unknown.message["error"]["message"] == "Unknown tool: s_nothing"


async def test_what_may_not_be_read_may_not_be_subscribed_to(gateway: Gateway) -> None:
    async with caller(gateway, "bob", "legacy") as bob:
        refused = (await bob.ask("resources/subscribe", {"uri": "closed://s/a"})).message["error"]
        missing = (await bob.ask("resources/subscribe", {"uri": "closed://t/a"})).message["error"]
        assert _nameless(refused, {"uri": "closed://s/a"}) == _nameless(missing, {"uri": "closed://t/a"})


@pytest.mark.parametrize("front", FRONTS)
async def test_calls_that_are_permitted_take_the_lane_and_others_do_not(gateway: Gateway, front: Front) -> None:
    async def lane() -> float:
        return await gateway.metric('mcp_proxy_fast_lane_requests_total{outcome="answered"}')

    async with caller(gateway, "bob", front) as bob:
        await bob.call("s_read")
        before = await lane()
        for _ in range(3):
            assert (await bob.call("s_read")).message["result"]["content"][0]["text"] == "read"
        assert await lane() == before + 3
        for _ in range(3):
            assert "error" in (await bob.call("s_write")).message
        assert await lane() == before + 3


async def test_a_swap_of_policies_holds_at_once(gateway: Gateway) -> None:
    assert gateway.proxy.state is not None
    config = gateway.proxy.state.config
    async with caller(gateway, "bob", "modern") as bob:
        assert "error" in (await bob.call("s_write")).message
        for policies, open_ in (("permit(principal, action, resource);", True), ("// nobody", False)):
            revision = f"r{int(open_)}"
            more = {"revision": revision, "authorization": {"policies": policies}}
            await gateway.proxy.apply(type(config).model_validate({**config.model_dump(), **more}), KEYS)
            for tool in ("s_write", "s_read"):
                assert ("error" not in (await bob.call(tool)).message) is open_
            assert bool((await listed(bob))["tools"]) is open_


async def test_a_swap_that_leaves_policies_alone_keeps_decisions(gateway: Gateway) -> None:
    assert gateway.proxy.state is not None
    config, policy = gateway.proxy.state.config, gateway.proxy.state.policy
    other = config.model_copy(update={"revision": "other", "access_log": False})
    assert await gateway.proxy.apply(other, KEYS)
    assert gateway.proxy.state.policy is policy


async def test_bad_policies_leave_in_use_what_was(gateway: Gateway) -> None:
    assert gateway.proxy.state is not None
    config = gateway.proxy.state.config
    bad = {"revision": "bad", "authorization": {"policies": "permit(principal"}}
    with pytest.raises(ConfigRejected, match=r"authorization\.policies: the policy that begins in line 1"):
        await gateway.proxy.apply(type(config).model_validate({**config.model_dump(), **bad}), KEYS)
    async with caller(gateway, "bob", "modern") as bob:
        assert "error" not in (await bob.call("s_read")).message


async def test_search_finds_what_the_caller_may_call(gateway: Gateway) -> None:
    assert gateway.proxy.state is not None
    assert gateway.proxy.state.authenticator is not None
    registry = gateway.proxy.services.registry
    people = {name: gateway.proxy.state.authenticator.authenticate(None, key.encode()) for name, key in KEYS.items()}
    assert [tool.id for tool in registry.tools(people["bob"])] == ["s.read"]
    assert [tool.id for tool in registry.tools(people["alice"])] == ["s.read", "s.write", "s.locate"]
    assert registry.get("s.write", people["bob"]) is None


async def test_refusals_are_told_in_the_log_and_not_to_the_caller(gateway: Gateway) -> None:
    async with caller(gateway, "bob", "modern") as bob:
        answer = await bob.call("s_write")
        assert answer.message["error"]["message"] == "Unknown tool: s_write"
    assert await gateway.metric('mcp_proxy_requests_total{method="tools/call",route="/mcp",status="denied"') == 1
