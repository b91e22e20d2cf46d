"""Resources and prompts: listing, reading, getting with arguments."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from support.backends import eventually

from .offering import Shop, shop_world
from .visits import accessible, overflows, screenshot, visit
from .worlds import ALICE, AUTH, World, small_world


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop() -> AsyncIterator[tuple[World, Shop]]:
    async with shop_world() as world:
        yield world


async def test_a_resource_is_read_as_text_and_as_json(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/resources") as page:
        resources = page.get_by_role("list", name="Resources")
        await expect(resources.get_by_role("listitem")).to_have_count(3)
        await page.get_by_role("searchbox").fill("catalogue")
        await expect(resources.get_by_role("listitem")).to_have_count(1)
        await resources.get_by_role("button").click()
        await expect(page.get_by_text("What there is.")).to_be_visible()
        await page.get_by_role("button", name="Read", exact=True).click()
        contents = page.get_by_role("list", name="Contents")
        await expect(contents).to_contain_text('{"articles": ["apple", "pear"]}')
        await contents.get_by_role("button", name="JSON").click()
        await expect(contents).to_contain_text('"articles": [')
        await accessible(page)
        await screenshot(page, "resources")


async def test_a_template_asks_for_its_variables(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/resources", phone=True) as page:
        await page.get_by_role("list", name="Resources").get_by_role("button", name="template").tap()
        await page.get_by_role("button", name="Read", exact=True).tap()
        await expect(page.get_by_label("sku")).to_have_accessible_description("is required")
        await page.get_by_label("sku").fill("a b")
        await page.get_by_role("button", name="Read", exact=True).tap()
        await expect(page.get_by_role("list", name="Contents")).to_contain_text("Article a b")
        assert not await overflows(page)
        await accessible(page)


async def test_markup_in_a_resource_stays_text(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/resources?uri=shop%3A%2F%2Fshop%2Fhostile") as page:
        await page.get_by_role("button", name="Read", exact=True).click()
        contents = page.get_by_role("list", name="Contents")
        await expect(contents).to_contain_text("<script>document.title='taken over'</script>")
        assert await contents.locator("script, img, a").count() == 0
        assert await page.title() == "Resources · MCP inspector"


async def test_a_resource_that_is_not_there(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/resources?uri=shop%3A%2F%2Fnowhere", expected=("400",)) as page:
        await page.get_by_role("button", name="Read", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("Error -32")


async def test_a_prompt_with_arguments(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/prompts", dark=True) as page:
        await page.get_by_role("list", name="Prompts").get_by_role("button", name="shop_greeting").click()
        await page.get_by_role("button", name="Get", exact=True).click()
        await expect(page.get_by_label("name")).to_have_accessible_description("is required")
        await page.get_by_label("name").fill("Ada")
        await page.get_by_role("button", name="Get", exact=True).click()
        messages = page.get_by_role("list", name="Messages")
        await expect(messages).to_contain_text("Greet Ada in a friendly tone. **Not bold.**")
        await expect(messages.get_by_role("heading", name="user")).to_be_visible()
        await accessible(page)
        await screenshot(page, "prompts-dark")


async def suggestions(field: Locator) -> Locator:
    """The options of the list that belongs to a field."""
    return field.page.locator(f"datalist[id='{await field.get_attribute('list')}'] option")


async def test_what_the_server_completes_is_offered(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, server = shop
    server.completed.clear()
    async with visit(chromium, world.gateway.base, "/prompts?prompt=shop_greeting", expected=("400",)) as page:
        tone, told = page.get_by_role("combobox", name="tone"), page.get_by_role("status")
        await tone.focus()
        await expect(told.filter(has_text="3 suggestions: ↓ shows them.")).to_be_visible()
        offered = await suggestions(tone)
        await expect(offered).to_have_count(3)
        assert server.completed == [("tone", "", {})]
        await accessible(page)
        # three keys in one task of the page: only what is typed in the end is asked
        await tone.evaluate(
            """(field) => {
              const { set } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
              for (const typed of ["f", "fr", "fri"]) {
                set.call(field, typed);
                field.dispatchEvent(new Event("input", { bubbles: true }));
              }
            }"""
        )
        await expect(offered).to_have_count(1)
        await expect(offered).to_have_attribute("value", "friendly")
        assert server.completed == [("tone", "", {}), ("tone", "fri", {})]
        # what is filled in elsewhere counts
        await page.get_by_role("combobox", name="name").fill("Ada")
        await expect(told.filter(has_text="The server suggests nothing for this.")).to_be_visible()
        await tone.fill("fa")
        await expect(offered).to_have_attribute("value", "familiar")
        assert ("tone", "fa", {"name": "Ada"}) in server.completed
        # what nobody waits for any more is cancelled
        await tone.fill("slow")
        await eventually(lambda: server.completed[-1][1] == "slow")
        await tone.fill("for")
        await expect(offered).to_have_attribute("value", "formal")
        await asyncio.wait_for(server.cancelled.wait(), 20)
        await tone.fill("broken")
        await expect(told.filter(has_text="No suggestions: Error -32")).to_be_visible()
        await expect(offered).to_have_count(0)
        await tone.fill("frank")
        await page.get_by_role("button", name="Get", exact=True).click()
        await expect(page.get_by_role("list", name="Messages")).to_contain_text("Greet Ada in a frank tone.")


async def test_variables_of_a_template_are_completed(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/resources", phone=True, dark=True) as page:
        await page.get_by_role("list", name="Resources").get_by_role("button", name="template").tap()
        sku = page.get_by_role("combobox", name="sku")
        await sku.fill("ap")
        offered = await suggestions(sku)
        await expect(offered).to_have_count(2)
        await expect(offered.first).to_have_attribute("value", "apple")
        await accessible(page)
        assert not await overflows(page)


async def test_no_suggestions_where_no_server_completes(chromium: Browser) -> None:
    async with small_world() as world, visit(chromium, world.gateway.base, "/prompts?prompt=weather_packing") as page:
        place = page.get_by_role("textbox", name="place")
        await place.fill("here")
        await page.get_by_role("button", name="Get", exact=True).click()
        await expect(page.get_by_role("list", name="Messages")).to_contain_text("What should I pack for here?")
        await expect(place).not_to_have_attribute("list", re.compile(""))


async def test_lists_are_those_of_the_caller(chromium: Browser) -> None:
    async with shop_world(**AUTH) as (world, _), visit(chromium, world.gateway.base, "/prompts", key=ALICE) as page:
        await expect(page.get_by_role("list", name="Prompts").get_by_role("listitem")).to_have_count(1)
