"""The fleet: a thousand servers, found, sorted and gone through by keyboard."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest_asyncio
from fastmcp import Client
from playwright.async_api import Browser, Locator, Page, expect

from support.backends import eventually

from .visits import accessible, gone_by_keys, overflows, screenshot, tabbed_to, visit
from .worlds import World, large_world, named, small_world

COUNT = 1000
AWAY = COUNT // 20


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def thousand() -> AsyncIterator[World]:
    async with large_world(COUNT) as world:
        state = world.gateway.proxy.state
        assert state is not None

        async def known() -> bool:
            await asyncio.sleep(0.1)  # looking at so many keeps the gateway, which is in this process, from its work
            phases = [backend.status.phase for backend in state.backends.values()]
            return (phases.count("initialized"), phases.count("error")) == (COUNT - AWAY, AWAY)

        await eventually(known, 200)
        async with Client(world.gateway.url) as client:
            for number in (3, 5, 12, 18, 27, 33, 41, 56):
                for _ in range(number % 9 + 1):
                    await client.call_tool(f"{name_of(number)}_text")
            await client.call_tool(f"{name_of(12)}_failed", raise_on_error=False)
        yield world


def name_of(number: int) -> str:
    return named(number).partition("/")[2]


def rows(page: Page) -> Locator:
    return page.get_by_role("table", name="Servers").locator("[data-index]")


async def test_a_thousand_servers_of_which_only_the_visible_are_in_the_page(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base) as page:
        await expect(page.get_by_role("status").filter(has_text="1,000 servers")).to_be_visible()
        table = page.get_by_role("table", name="Servers")
        await expect(table).to_have_attribute("aria-rowcount", str(COUNT + 1))
        await expect(rows(page).first).to_contain_text("Down")  # the worst first
        assert await rows(page).count() < 60
        await expect(page.get_by_role("button", name=re.compile("In trouble"))).to_have_text(f"In trouble{AWAY}")
        await accessible(page)


async def test_its_picture(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base, "/?sort=calls:down") as page:
        await expect(rows(page).first).to_contain_text("Healthy")
        await screenshot(page, "fleet-light")


async def test_a_server_is_found_and_opened(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base) as page:
        await page.get_by_role("searchbox", name="Search servers").fill("search 0777")
        await expect(rows(page)).to_have_count(1)
        await expect(page).to_have_url(re.compile("q=search"))
        await rows(page).get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(named(777))
        await page.go_back()
        await expect(page.get_by_role("searchbox")).to_have_value("search 0777")  # the address has kept the search
        await page.get_by_role("searchbox").fill("nothing like it")
        await expect(page.get_by_text("No server is like that")).to_be_visible()


async def test_why_a_server_is_down_is_seen_at_once(chromium: Browser) -> None:
    async with small_world() as world:
        for width in (390, 1280):
            async with visit(chromium, world.gateway.base, phone=width == 390) as page:
                await page.set_viewport_size({"width": width, "height": 800})
                why = rows(page).filter(has_text="away").get_by_text("ConnectionRefused")
                await expect(why).to_be_in_viewport()
                columns = page.get_by_role("table", name="Servers")
                assert not await columns.evaluate("table => table.scrollWidth > table.parentElement.clientWidth")


async def test_what_is_in_trouble_is_shown_alone(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base, "/?show=trouble") as page:
        await expect(page.get_by_text(f"{AWAY} of 1,000 servers")).to_be_visible()
        await page.get_by_role("button", name=re.compile("^Healthy")).click()
        await expect(page.get_by_text(f"{COUNT - AWAY} of 1,000 servers")).to_be_visible()


async def test_rows_are_sorted_by_their_columns(chromium: Browser, thousand: World) -> None:
    async with Client(thousand.gateway.url) as client:
        for _ in range(20):
            await client.call_tool(f"{name_of(10)}_forecast", {"place": "here"})
    async with visit(chromium, thousand.gateway.base) as page:
        for order in ("ascending", "descending"):
            await page.get_by_role("button", name="Calls").click()
            await expect(page.get_by_role("columnheader", name="Calls")).to_have_attribute("aria-sort", order)
        await expect(rows(page).first).to_contain_text(named(10))
        await page.get_by_role("button", name="Server", exact=True).click()
        await expect(rows(page).first).to_contain_text(min(named(number) for number in range(COUNT)))


async def test_by_keyboard_alone(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base) as page:
        await expect(rows(page).first).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Skip to content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("main")).to_be_focused()
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.press("Escape")
        first = rows(page).first.get_by_role("link")
        await first.focus()
        await page.keyboard.press("End")
        last = page.get_by_role("table").locator(f'[data-index="{COUNT - 1}"]')
        await expect(last.get_by_role("link")).to_be_focused()
        await page.keyboard.press("ArrowUp")
        await expect(page.locator(f'[data-index="{COUNT - 2}"]').get_by_role("link")).to_be_focused()
        await page.keyboard.press("Home")
        await expect(first).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("/")
        await gone_by_keys(page, "g", "w", to="Swaps")
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
        await accessible(page)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_single_keys_are_switched_off_and_stay_so(chromium: Browser) -> None:
    async with small_world() as world, visit(chromium, world.gateway.base) as page:
        keys = page.get_by_role("dialog", name="Keyboard shortcuts")
        switch = keys.get_by_role("checkbox", name="Single-key shortcuts")
        await expect(rows(page).first).to_be_visible()
        await page.keyboard.press("?")
        await expect(switch).to_be_checked()
        await tabbed_to(page, switch)
        await page.keyboard.press("Space")
        await expect(switch).not_to_be_checked()
        await accessible(page)
        for again in (False, True):  # it is remembered
            if again:
                await page.reload()
                await expect(rows(page).first).to_be_visible()
            else:
                await page.keyboard.press("Escape")
                await expect(keys).to_have_count(0)
            theme = page.get_by_role("button", name=re.compile("^Theme"))
            for key in ("t", "?", "/"):
                await page.keyboard.press(key)
            await page.keyboard.press("g")
            await page.keyboard.press("w")
            # a key that does something says so in the task of its press, so what follows is not too early
            await expect(theme).to_have_accessible_name("Theme: as the system")
            await expect(page.get_by_role("searchbox")).not_to_be_focused()
            await expect(keys).to_have_count(0)
            await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
        await tabbed_to(page, page.get_by_role("button", name="Keyboard shortcuts"))
        await page.keyboard.press("Enter")
        await expect(switch).not_to_be_checked()
        await tabbed_to(page, switch)
        await page.keyboard.press("Space")
        await page.keyboard.press("Escape")
        await expect(keys).to_have_count(0)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
        await gone_by_keys(page, "g", "w", to="Swaps")


async def test_it_refreshes_by_itself_until_it_is_told_not_to(chromium: Browser) -> None:
    async with small_world() as world, visit(chromium, world.gateway.base, "/?sort=calls:down") as page:
        await expect(page.get_by_text("5 servers")).to_be_visible()
        weather = rows(page).filter(has_text="weather")
        async with Client(world.gateway.url) as client:
            await client.call_tool("weather_forecast", {"place": "here"})
            await expect(weather.locator('[data-label="Calls"]')).to_have_text("1")
            await page.get_by_role("button", name="Live").click()
            await client.call_tool("weather_forecast", {"place": "here"})
            await page.get_by_role("button", name="Paused").click()
            await expect(weather.locator('[data-label="Calls"]')).to_have_text("2")


async def test_a_gateway_that_goes_away_is_told_of(chromium: Browser) -> None:
    async with small_world() as world, visit(chromium, world.gateway.base, expected=("Failed to load",)) as page:
        await expect(page.get_by_text("5 servers")).to_be_visible()
        await page.context.set_offline(True)
        await expect(page.get_by_role("alert")).to_contain_text("The gateway does not answer")
        await expect(page.get_by_text("5 servers")).to_be_visible()  # what was known stays
        await page.context.set_offline(False)
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_dark(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base, "/?sort=calls:down", dark=True) as page:
        await expect(rows(page).first).to_be_visible()
        await accessible(page)
        await screenshot(page, "fleet-dark")


async def test_the_theme_is_switched_and_remembered(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base) as page:
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        light = await page.evaluate(ground)
        await page.get_by_role("button", name="Theme: as the system").click()
        switch = page.get_by_role("button", name="Theme: light")
        # Read in the task of the click: who wants less motion sees no colour on its way to another.
        dark = await switch.evaluate(f"(button) => {{ button.click(); return {ground}; }}")
        await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        assert dark == await page.evaluate(ground)
        assert dark != light
        await page.reload()
        await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        assert await page.evaluate(ground) == dark


async def test_on_a_phone(chromium: Browser, thousand: World) -> None:
    async with visit(chromium, thousand.gateway.base, phone=True) as page:
        await expect(rows(page).first).to_be_visible()
        assert not await overflows(page)
        await accessible(page)
        await screenshot(page, "fleet-phone")
        await page.get_by_role("button", name="Menu").tap()
        menu = page.get_by_role("dialog", name="Menu")
        await expect(menu).to_be_visible()
        await accessible(page)
        await menu.get_by_role("button", name="Keyboard shortcuts").tap()
        keys = page.get_by_role("dialog", name="Keyboard shortcuts")
        await expect(keys.get_by_role("checkbox")).to_be_checked()
        await accessible(page)
        await keys.get_by_role("button", name="Close").tap()
        await page.get_by_role("button", name="Menu").tap()
        await menu.get_by_role("link", name="Swaps").tap()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Swaps")
        await expect(menu).to_have_count(0)
