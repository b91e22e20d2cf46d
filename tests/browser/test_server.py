"""The page of one server."""

from collections.abc import AsyncIterator

import pytest_asyncio
from fastmcp import Client
from playwright.async_api import Browser, Locator, Page, expect

from support.backends import eventually

from .visits import accessible, overflows, screenshot, visit
from .worlds import ALICE, AUTH, MARKUP, OPS, World, small_world


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world() -> AsyncIterator[World]:
    async with small_world() as world:

        async def written() -> bool:
            return bool((await world.gateway.get("/ui/api/servers/team-b/noisy")).json()["logs"])

        await eventually(written)
        yield world


def card(page: Page, title: str) -> Locator:
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


async def test_what_a_server_said_and_how_it_is(chromium: Browser, world: World) -> None:
    async with Client(world.gateway.url) as client:
        await client.call_tool("weather_forecast", {"place": "here"})
    async with visit(chromium, world.gateway.base, "/servers/team-a/weather") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("team-a/weather")
        conditions = page.get_by_role("list", name="Conditions").get_by_role("listitem")
        await expect(conditions).to_contain_text(["Connected", "Listed", "Circuit closed"])
        handshake = card(page, "Handshake")
        await expect(handshake).to_contain_text("Ask for a forecast by the name of a place.")
        await expect(handshake.get_by_text("2.4.0", exact=True)).to_be_visible()
        await expect(card(page, "Routes")).to_contain_text("weather_")
        await handshake.get_by_text("As the server said it").click()
        await expect(handshake.get_by_role("figure")).to_contain_text('"serverInfo"')
        await accessible(page)
        await page.get_by_role("link", name="Its traffic").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Traffic")
        await page.go_back()
        await page.get_by_role("link", name="Its tools").click()
        names = page.get_by_role("list", name="Tools").get_by_role("listitem")
        await expect(names).to_contain_text(["weather_forecast", "weather_warnings"])


async def test_the_logs_of_a_process(chromium: Browser, world: World) -> None:
    async with visit(chromium, world.gateway.base, "/servers/team-b/noisy") as page:
        log = page.get_by_role("log")
        await expect(log).to_contain_text("noisy: listening on stdin")
        await expect(log).to_contain_text("<b onmouseover=alert(1)>bold</b>")
        assert await log.locator("b").count() == 0
        await expect(page.get_by_role("list", name="Conditions")).to_contain_text("Process running")
        async with Client(world.gateway.url) as client:
            await client.call_tool("noisy_ping", {})
        await expect(log).to_contain_text("pinged")  # by itself
        await accessible(page)
        await screenshot(page, "server-light")


async def test_a_server_that_is_away(chromium: Browser, world: World) -> None:
    async with visit(chromium, world.gateway.base, "/servers/team-c/away", dark=True) as page:
        await expect(page.get_by_role("main").get_by_text("Down", exact=True)).to_be_visible()
        await expect(page.get_by_role("list", name="Conditions")).to_contain_text("ConnectionRefused")
        await accessible(page)


async def test_a_long_capability_on_a_phone(chromium: Browser, world: World) -> None:
    async with visit(chromium, world.gateway.base, "/servers/team-a/weather", phone=True) as page:
        handshake = card(page, "Handshake")
        tag = handshake.get_by_text("extensions.io.modelcontextprotocol/ui")
        await expect(tag).to_be_visible()
        right = "element => element.getBoundingClientRect().right"
        assert await tag.evaluate(right) < await handshake.evaluate(right)


async def test_in_the_dark_and_on_a_phone(chromium: Browser, world: World) -> None:
    async with visit(chromium, world.gateway.base, "/servers/team-b/noisy", dark=True) as page:
        await expect(page.get_by_role("log")).to_be_visible()
        await accessible(page)
        await screenshot(page, "server-dark")
    async with visit(chromium, world.gateway.base, "/servers/team-b/noisy", phone=True) as page:
        await expect(page.get_by_role("log")).to_be_visible()
        assert not await overflows(page)
        await accessible(page)


async def test_markup_of_a_server_is_text(chromium: Browser, world: World) -> None:
    async with visit(chromium, world.gateway.base, "/servers/team-b/hostile") as page:
        handshake = card(page, "Handshake")
        await expect(handshake).to_contain_text(MARKUP)
        await handshake.get_by_text("As the server said it").click()
        await expect(handshake.get_by_role("figure")).to_contain_text("taken over")
        assert await page.locator("main :is(img, script)").count() == 0
        assert "taken over" not in await page.title()
        await accessible(page)


async def test_an_unknown_server_and_an_unknown_page(chromium: Browser, world: World) -> None:
    async with visit(chromium, world.gateway.base, "/servers/team-a/nothing", expected=("404",)) as page:
        await expect(page.get_by_role("alert")).to_contain_text("there is no server of this name")
        await accessible(page)
    async with visit(chromium, world.gateway.base, "/nowhere/at/all") as page:
        await expect(page.get_by_text("There is no such page")).to_be_visible()
        await page.get_by_role("link", name="Back to the fleet").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")


async def test_logs_are_for_operators(chromium: Browser) -> None:
    async with small_world(**AUTH) as world:
        path = "/servers/team-b/noisy"
        async with visit(chromium, world.gateway.base, path, key=ALICE) as page:
            await expect(page.get_by_text("Logs are for operators of this gateway.")).to_be_visible()
        async with visit(chromium, world.gateway.base, path, key=OPS) as page:
            await expect(page.get_by_role("log")).to_contain_text("noisy: listening on stdin")
