# ruff: noqa: SIM117 - nested, in the order in which they start
"""The budget of names through a real proxy: lists, calls and prompts, by both fronts; what `/status` says; a swap of the rule."""

from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from mcp_operator_proxy.config import ProxyConfig, shortened
from mcp_operator_proxy.report import StatusReport
from support.backends import ServedMCP, client
from support.gateway import make_config, running_gateway

FRONTS = ["legacy", "auto"]
LONG = "look_up_every_single_page_of_the_handbook_that_mentions_a_given_word"
WHOLE = f"docs_{LONG}"
SHORT = shortened(WHOLE, 64)
PROMPT = "ask_" + "p" * 80
SHORT_PROMPT = shortened(f"docs_{PROMPT}", 64)


def docs() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("docs")

    @mcp.tool(name=LONG)
    def look_up(word: str) -> str:
        return f"pages with {word}"

    @mcp.tool
    def read() -> str:
        return "a page"

    @mcp.prompt(name=PROMPT)
    def ask(topic: str) -> str:
        return f"tell me of {topic}"

    return mcp


def config(url: str, too_long: str | None, most: int = 64) -> ProxyConfig:
    route: dict[str, Any] = {"name": "McpProxy/ns/tools", "path": "/mcp"}
    route["servers"] = [{"server": "ns/docs", "prefix": "docs"}]
    route["nameBudget"] = None if too_long is None else {"maxLength": most, "tooLong": too_long}
    return make_config({"docs": url}, routes=[route])


@pytest.mark.parametrize("front", FRONTS)
async def test_a_shortened_tool_is_listed_and_called_by_its_short_name(front: str) -> None:
    async with ServedMCP(docs()) as served, running_gateway(config(served.url, "shorten")) as gateway:
        async with client(gateway.url, mode=front) as through:
            assert {tool.name for tool in await through.list_tools()} == {SHORT, "docs_read"}
            assert len(SHORT) == 64
            result = await through.call_tool(SHORT, {"word": "tea"})
            assert result.data == "pages with tea"
            with pytest.raises(MCPError) as refused:
                await through.session.call_tool(WHOLE, {"word": "tea"})
            assert refused.value.error.code == INVALID_PARAMS
            assert [prompt.name for prompt in await through.list_prompts()] == [SHORT_PROMPT]
            told = await through.get_prompt(SHORT_PROMPT, {"topic": "tea"})
            assert "tell me of tea" in str(told.messages[0].content)
        status = StatusReport.model_validate((await gateway.get("/status")).json())
        assert [(long.kind, long.name, long.server, long.shown) for long in status.long_names] == [
            ("tool", WHOLE, "ns/docs", SHORT),
            ("prompt", f"docs_{PROMPT}", "ns/docs", SHORT_PROMPT),
        ]


@pytest.mark.parametrize("front", FRONTS)
async def test_a_refused_tool_is_neither_listed_nor_called(front: str) -> None:
    async with ServedMCP(docs()) as served, running_gateway(config(served.url, "refuse")) as gateway:
        async with client(gateway.url, mode=front) as through:
            assert {tool.name for tool in await through.list_tools()} == {"docs_read"}
            assert await through.list_prompts() == []
            for name in (WHOLE, SHORT):
                with pytest.raises(MCPError) as refused:
                    await through.session.call_tool(name, {"word": "tea"})
                assert refused.value.error.code == INVALID_PARAMS
        status = StatusReport.model_validate((await gateway.get("/status")).json())
        assert [long.shown for long in status.long_names] == [None, None]


async def test_another_rule_is_in_use_after_a_swap() -> None:
    async with ServedMCP(docs()) as served, running_gateway(config(served.url, "shorten")) as gateway:
        async with client(gateway.url, mode="auto") as through:
            assert SHORT in {tool.name for tool in await through.list_tools()}
            await gateway.proxy.apply(config(served.url, "shorten", 200))
            assert WHOLE in {tool.name for tool in await through.list_tools()}
            await gateway.proxy.apply(config(served.url, None))
            assert WHOLE in {tool.name for tool in await through.list_tools()}
            assert gateway.proxy.status().long_names == ()
