"""Live traffic: both legs, what was rewritten, filters, a pause, and sending it again."""

import contextlib
import re
from collections.abc import AsyncIterator

import pytest_asyncio
from fastmcp import Client
from mcp.shared.exceptions import MCPError
from playwright.async_api import Browser, Locator, Page, expect

from .offering import HOSTILE, Shop, shop_world
from .visits import accessible, overflows, screenshot, visit
from .worlds import World


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop() -> AsyncIterator[tuple[World, Shop]]:
    async with shop_world() as world:
        yield world


async def watching(page: Page) -> Locator:
    """The gateway records from the first question on."""
    table = page.get_by_role("table", name="Exchanges")
    nothing = page.get_by_text(re.compile("Nothing yet|No exchange is like that"))
    await expect(nothing.or_(table.get_by_role("link").first)).to_be_visible()
    return table


async def test_both_legs_of_a_call_and_what_was_rewritten(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, _ = shop
    async with visit(chromium, world.gateway.base, "/traffic") as page:
        table = await watching(page)
        async with Client(world.gateway.url) as client:
            await client.call_tool("shop_refuse", {"reason": "closed"}, raise_on_error=False)
            await client.get_prompt("shop_greeting", {"name": "Ada"})
        row = table.get_by_role("row").filter(has_text="tools/call").first
        await expect(row).to_contain_text("shop_refuse")
        await expect(row).to_contain_text("Tool error")
        await expect(row).to_contain_text("rewritten")
        await accessible(page)
        await row.get_by_role("link").click()
        changed = page.get_by_role("table", name="Rewritten")
        sides = {"params.name": ('"shop_refuse"', '"refuse"'), 'serverInfo"].name': ('"mcp-operator-proxy"', '"Shop"')}
        for path, (client_side, server_side) in sides.items():
            cells = changed.get_by_role("row").filter(has_text=path).get_by_role("cell")
            await expect(cells.nth(0)).to_have_text(client_side)
            await expect(cells.nth(1)).to_have_text(server_side)
        mine = page.get_by_role("figure", name="Client and gateway: request")
        theirs = page.get_by_role("figure", name="Gateway and team-a/shop: request")
        await expect(mine).to_contain_text('"name": "shop_refuse"')
        await expect(theirs).to_contain_text('"name": "refuse"')
        await expect(page.get_by_role("figure", name="Gateway and team-a/shop: response")).to_contain_text(
            "cannot: closed"
        )
        await accessible(page)
        await screenshot(page, "traffic")


async def test_ids_alone_are_nothing_that_was_rewritten(chromium: Browser) -> None:
    unprefixed = {"name": "McpProxy/tools/main", "path": "/mcp", "servers": [{"server": "team-a/shop", "prefix": ""}]}
    async with shop_world(routes=[unprefixed]) as (world, _), visit(chromium, world.gateway.base, "/traffic") as page:
        table = await watching(page)
        async with Client(world.gateway.url) as client:
            await client.call_tool("refuse", {"reason": "closed"}, raise_on_error=False)
        row = table.get_by_role("row").filter(has_text="tools/call")
        await expect(row).to_contain_text("fast lane")
        await expect(row).not_to_contain_text("rewritten")
        await row.get_by_role("link").click()
        await expect(page.get_by_text("Nothing of what was said")).to_be_visible()
        changed = page.get_by_role("table", name="Rewritten").get_by_role("row")
        await expect(changed.filter(has_text="request.id")).to_have_count(1)
        await expect(changed.filter(has_text="response.id")).to_have_count(1)


async def test_what_was_opened_stays_in_view(chromium: Browser) -> None:
    async with shop_world() as (world, _), visit(chromium, world.gateway.base, "/traffic?method=prompts/get") as page:
        table = await watching(page)
        async with Client(world.gateway.url) as client:
            for _ in range(13):
                await client.get_prompt("shop_greeting", {"name": "Ada"})
        rows = table.locator("[data-index]")
        await expect(rows).to_have_count(13)
        await rows.last.get_by_role("link").click()
        await expect(page.get_by_role("region", name="Exchange")).to_be_visible()
        await expect(table.locator("[data-selected=true]")).to_be_in_viewport(ratio=0.9)


async def test_filters(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, _ = shop
    async with visit(chromium, world.gateway.base, "/traffic") as page:
        table = await watching(page)
        async with Client(world.gateway.url) as client:
            await client.call_tool("shop_refuse", {"reason": "filtered"}, raise_on_error=False)
            await client.get_prompt("shop_greeting", {"name": "Ada"})
        await expect(table.get_by_role("row").filter(has_text="prompts/get").first).to_be_visible()
        await page.get_by_label("Outcome").select_option("failed")
        await expect(table.get_by_role("row").filter(has_text="prompts/get")).to_have_count(0)
        await expect(table.get_by_role("row").filter(has_text="shop_refuse").first).to_be_visible()
        await page.get_by_label("Outcome").select_option("")
        await page.get_by_role("searchbox").fill("greeting")
        await expect(table.get_by_role("row").filter(has_text="shop_refuse")).to_have_count(0)
        await page.get_by_role("searchbox").fill("")
        await page.get_by_label("Method").select_option("prompts/get")
        await expect(table.get_by_role("row").filter(has_text="tools/call")).to_have_count(0)
        await page.get_by_role("button", name="Clear").click()
        await expect(page.get_by_text("Nothing yet")).to_be_visible()


async def test_a_pause_loses_nothing(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, _ = shop
    async with visit(chromium, world.gateway.base, "/traffic?q=paused-marker") as page:
        await watching(page)
        await page.get_by_role("button", name="Live").click()
        async with Client(world.gateway.url) as client:
            with contextlib.suppress(MCPError):
                await client.call_tool("paused-marker", {})
        await expect(page.get_by_role("table", name="Exchanges")).to_have_count(0)
        await page.get_by_role("button", name="Paused").click()
        await expect(page.get_by_role("table", name="Exchanges").get_by_text("paused-marker").first).to_be_visible()


async def test_it_is_sent_again_as_it_was_and_changed(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, _ = shop
    async with visit(chromium, world.gateway.base, "/traffic?method=tools/call&q=refuse", dark=True) as page:
        table = await watching(page)
        async with Client(world.gateway.url) as client:
            await client.call_tool("shop_refuse", {"reason": "again"}, raise_on_error=False)
        row = table.get_by_role("row").filter(has_text="shop_refuse").first
        await row.get_by_role("link").click()
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_text("The same answer as the first time.")).to_be_visible()
        parameters = page.get_by_label("Parameters")
        await parameters.fill('{"name": "shop_refuse", "arguments": {"reason": "changed"}}')
        await page.get_by_role("button", name="Send again").click()
        differences = page.get_by_role("table", name="Differences from the first time")
        await expect(differences.get_by_role("row").filter(has_text="content[0].text")).to_contain_text(
            "cannot: changed"
        )
        await screenshot(page, "traffic-dark")
        await parameters.fill("[")
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("alert")).to_contain_text("This is not JSON")
        await accessible(page)


async def test_hostile_content_and_a_phone(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, _ = shop
    async with visit(chromium, world.gateway.base, "/traffic", phone=True) as page:
        table = await watching(page)
        async with Client(world.gateway.url) as client:
            await client.call_tool("shop_refuse", {"reason": HOSTILE}, raise_on_error=False)
            with contextlib.suppress(MCPError):
                await client.call_tool(HOSTILE, {})
        await table.get_by_role("row").filter(has_text="<script>").get_by_role("link").tap()
        await expect(page.get_by_role("region", name="Exchange")).to_contain_text("<script>document.title=")
        assert await page.locator("main script, main img").count() == 0
        assert await page.title() == "Traffic · MCP inspector"
        assert not await overflows(page)
        await accessible(page)
        await screenshot(page, "traffic-phone")
