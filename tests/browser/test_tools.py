"""Finding a tool, calling it by a form, and what comes back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from support.backends import eventually

from .offering import HEBREW, Shop, shop_world
from .visits import accessible, gone_by_keys, overflows, screenshot, tabbed_to, visit
from .worlds import ALICE, AUTH, OPS, World

SIX, ALL = "6 tools", "1,006 tools"
HIDDEN = ("404",)
POLICIES = """
@id("staff") permit (principal, action, resource);
@id("no-refusals") forbid (principal, action, resource) when { resource.name == "refuse" };
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop() -> AsyncIterator[tuple[World, Shop]]:
    async with shop_world() as world:
        yield world


def tool(name: str, **search: Any) -> str:
    return f"/tools?{urlencode({'tool': f'shop_{name}', 'at': '/mcp', **search})}"


def call(page: Page) -> Locator:
    return page.get_by_role("button", name="Call", exact=True)


def result(page: Page) -> Locator:
    return page.locator("section").filter(has=page.get_by_role("heading", name="Result", exact=True)).last


async def test_a_search_among_a_thousand(chromium: Browser) -> None:
    async with shop_world(archive=True) as (world, _), visit(chromium, world.gateway.base, "/tools") as page:
        tools = page.get_by_role("list", name="Tools")
        await expect(page.get_by_role("status").get_by_text(ALL)).to_be_visible()
        await expect(tools.get_by_role("listitem").first).to_be_visible()
        assert await tools.get_by_role("listitem").count() < 60, "only what is visible may exist"
        await accessible(page)
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.type("overdue invoices")
        await expect(tools.get_by_role("button").first).to_contain_text("archive_shelf_0777")
        await page.get_by_role("searchbox").fill("")
        await expect(page.get_by_role("status").get_by_text(ALL)).to_be_visible()
        await page.get_by_label("Server").select_option("team-a/shop")
        await expect(page.get_by_role("status").get_by_text(SIX)).to_be_visible()


async def test_the_list_by_keyboard_to_its_end(chromium: Browser) -> None:
    async with shop_world(archive=True) as (world, _), visit(chromium, world.gateway.base, "/tools") as page:
        tools = page.get_by_role("list", name="Tools")
        await tools.get_by_role("button").first.focus()
        await page.keyboard.press("ArrowDown")
        await expect(tools.get_by_role("button").nth(1)).to_be_focused()
        last = tools.get_by_role("button", name="archive_shelf_0999")

        async def arrived() -> bool:
            """Each press goes to the end of what is here, and so asks for more."""
            await page.keyboard.press("End")
            return await last.count() > 0

        await eventually(arrived)
        await expect(last).to_be_visible()
        await page.keyboard.press("End")
        await expect(last).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=2, name="archive_shelf_0999")).to_be_visible()


async def test_wrong_input_is_told_at_its_field(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, tool("order")) as page:
        await call(page).click()
        customer = page.get_by_label("customer")
        await expect(customer).to_be_focused()
        await expect(customer).to_have_attribute("aria-invalid", "true")
        await expect(customer).to_have_accessible_description("is required")
        await expect(page.get_by_role("alert")).to_contain_text("lines[0].sku is required")
        await expect(result(page)).to_have_count(0)
        await accessible(page)
        await page.get_by_role("spinbutton", name="count").first.fill("0")
        await page.get_by_label("iban").fill("12")
        await call(page).click()
        await expect(page.get_by_role("spinbutton", name="count").first).to_have_accessible_description(
            "0 is less than 1"
        )
        await expect(page.get_by_role("alert")).to_contain_text("payment.iban must match")


async def fill_order(page: Page) -> None:
    await page.get_by_label("customer").fill("Ada")
    await page.get_by_label("sku").fill("apple")
    await page.get_by_role("spinbutton", name="count").first.fill("3")
    await page.get_by_role("button", name="Add").click()
    await page.get_by_label("sku").nth(1).fill("pear")
    await page.get_by_label("street").fill("Long Road 1")
    await page.get_by_label("city").fill("Paris")
    await page.get_by_label("country").select_option(label="FR")
    await page.get_by_label("Kind of payment").select_option(label="card")
    await page.get_by_role("textbox", name="number").fill("4711")
    await page.get_by_label("speed").select_option(label="express")


async def test_a_call_by_a_form_with_lists_objects_choices_and_kinds(
    chromium: Browser, shop: tuple[World, Shop]
) -> None:
    async with visit(chromium, shop[0].gateway.base, tool("order")) as page:
        await fill_order(page)
        await screenshot(page, "tool-form")
        await call(page).click()
        await expect(result(page)).to_contain_text("Called")
        await expect(result(page)).to_contain_text("As its output schema says")
        structured = result(page).get_by_role("figure", name="Structured content")
        for part in (
            '"order": "A-4-Ada"',
            '"articles": 4',
            '"city": "Paris"',
            '"paid": "card"',
            '"speed": "express"',
            '"note": null',
        ):
            await expect(structured).to_contain_text(part)
        await accessible(page)
        await screenshot(page, "tool-result")
        await page.get_by_role("button", name="JSON", exact=True).first.click()
        text = page.get_by_role("textbox", name="Arguments")
        r = await text.input_value()
        assert '"country": "FR"' in r
        assert "note" not in r
        await text.fill(r.replace('"count": 3', '"count": 0'))
        await call(page).click()
        await expect(page.get_by_role("alert")).to_contain_text("lines[0].count 0 is less than 1")
        await text.fill("{no")
        await call(page).click()
        await expect(page.get_by_role("alert")).to_contain_text("This is not JSON")
        await text.fill(r.replace('"count": 3', '"count": 9'))
        await call(page).click()
        await expect(structured).to_contain_text('"articles": 10')


async def test_by_keyboard_alone(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
        await gone_by_keys(page, "g", "t", to="Tools")
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.type("always fails")
        first = page.get_by_role("list", name="Tools").get_by_role("button").first
        await expect(first).to_contain_text("shop_refuse")
        await tabbed_to(page, first)
        await page.keyboard.press("Enter")
        reason = page.get_by_label("reason")
        await reason.wait_for()
        await tabbed_to(page, reason)
        await page.keyboard.type("tired")
        await page.keyboard.press("Enter")
        await expect(result(page)).to_contain_text("Error of the tool")
        await expect(result(page)).to_contain_text("cannot: tired")


async def scroll_of(page: Page) -> Any:
    return await page.get_by_role("region", name="Details").evaluate("region => region.scrollTop")


async def test_a_result_comes_into_view_and_is_told(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, server = shop
    async with visit(chromium, world.gateway.base, tool("order")) as page:
        await fill_order(page)
        told = page.get_by_role("status").filter(has_text="Called after")
        await expect(told).to_have_count(0)
        await call(page).click()
        await expect(told).to_have_count(1)
        structured = result(page).get_by_role("figure", name="Structured content")
        await expect(structured).to_be_in_viewport()
        await expect(result(page).get_by_role("heading", name="Result")).to_be_in_viewport()
        # a second time: it is there already, and what is longer than the window shows its beginning
        await result(page).get_by_text("The whole result").click()
        await page.get_by_label("customer").fill("Ben")
        await page.get_by_label("customer").press("Enter")
        await expect(structured).to_contain_text("A-4-Ben")
        await expect(result(page).get_by_role("heading", name="Result")).to_be_in_viewport()
    server.go_on.set()
    async with visit(chromium, world.gateway.base, tool("export")) as page:
        await page.get_by_label("rows").fill("4")
        await call(page).click()
        await expect(result(page)).to_contain_text("4 rows")
        await expect(result(page)).to_be_in_viewport(ratio=1)
        before = await scroll_of(page)
        await call(page).click()
        await expect(result(page)).to_contain_text("4 rows")

        async def nothing_has_moved() -> bool:
            """What comes is brought into view in a task of its own, after it was painted."""
            return bool(await scroll_of(page) == before)

        await eventually(nothing_has_moved)
    server.go_on.clear()


async def test_a_slow_tool_tells_how_far_it_is_and_is_cancelled(chromium: Browser, shop: tuple[World, Shop]) -> None:
    world, server = shop
    async with visit(chromium, world.gateway.base, tool("export")) as page:
        await page.get_by_label("rows").fill("4")
        await call(page).click()
        bar = result(page).get_by_role("progressbar", name="Progress")
        await expect(bar).to_have_attribute("max", "4")
        await expect(result(page)).to_contain_text("1 of 4: first row written")
        await accessible(page)
        await result(page).get_by_role("button", name="Cancel").click()
        await expect(result(page).get_by_role("alert")).to_contain_text("Cancelled")
        await asyncio.wait_for(server.cancelled.wait(), 20)
        server.go_on.set()
        await call(page).click()
        await expect(result(page)).to_contain_text("Called")
        await expect(result(page)).to_contain_text("4 rows")


async def test_a_server_that_asks_in_the_middle(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, tool("confirm")) as page:
        await page.get_by_label("Protocol").select_option("session")
        await call(page).click()
        asked = page.get_by_role("dialog", name="The server asks")
        await expect(asked).to_contain_text("How many pieces do you want?")
        await asked.get_by_role("button", name="Answer").click()
        await expect(asked.get_by_role("alert")).to_contain_text("is required")
        await accessible(page)
        await asked.get_by_role("spinbutton").fill("12")
        await asked.get_by_role("button", name="Answer").click()
        await expect(result(page)).to_contain_text("accept: 12")
        await call(page).click()
        await asked.get_by_role("button", name="Decline").click()
        await expect(result(page)).to_contain_text("decline: None")


async def test_pictures_sounds_and_links(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, tool("media"), dark=True) as page:
        await call(page).click()
        picture = result(page).get_by_role("img", name="The server's image")
        await expect(picture).to_be_visible()
        assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
        sound = result(page).locator("audio")
        assert await sound.evaluate(
            "a => new Promise((yes, no) => { a.onloadedmetadata = () => yes(a.duration); a.onerror = () => no(a.error); a.load() })"
        )
        await accessible(page)
        await screenshot(page, "tool-dark")
        await result(page).get_by_role("button", name="Read").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Resources")
        await page.get_by_role("button", name="Read", exact=True).click()
        await expect(page.get_by_role("list", name="Contents")).to_contain_text("apple")


async def test_a_denied_tool_as_this_caller(chromium: Browser) -> None:
    more = {**AUTH, "authorization": {"policies": POLICIES}}
    async with (
        shop_world(**more) as (world, _),
        visit(chromium, world.gateway.base, tool("order"), key=ALICE, expected=HIDDEN) as page,
    ):
        await expect(page.get_by_role("heading", name="As alice")).to_be_visible()
        await expect(page.get_by_text("Allowed", exact=True)).to_be_visible()
        await expect(page.get_by_text("staff", exact=True)).to_be_visible()
        await expect(page.get_by_role("button", name="shop_refuse")).to_have_count(0)
        await page.goto(f"/ui{tool('refuse')}")
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(call(page)).to_have_count(0)


async def test_a_denied_tool_as_an_operator(chromium: Browser) -> None:
    more = {**AUTH, "authorization": {"policies": POLICIES}}
    async with (
        shop_world(**more) as (world, _),
        visit(chromium, world.gateway.base, tool("refuse"), key=OPS, expected=("400",)) as page,
    ):
        await expect(page.get_by_role("heading", name="As ops")).to_be_visible()
        await expect(page.get_by_text("Denied", exact=True)).to_be_visible()
        await expect(page.get_by_text("no-refusals", exact=True)).to_be_visible()
        await accessible(page)
        await page.get_by_label("reason").fill("none")
        await call(page).click()
        await expect(result(page).get_by_role("alert")).to_contain_text("Error -32")


async def test_what_is_hostile_harms_nothing(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, tool("hostile")) as page:
        await call(page).click()
        said = result(page).get_by_role("figure", name="Text")
        await expect(said).to_contain_text("<script>document.title='taken over'</script><img src=x")
        await expect(said).to_contain_text("␛[31mred␛[0m␇ ⟨U+202E⟩gpj.exe [a](javascript:alert(1))")
        assert await result(page).locator("script, img, a").count() == 0
        assert await page.title() == "Tools · MCP inspector"
        await page.get_by_label("what").select_option(label="hebrew")
        await call(page).click()
        await expect(said).to_contain_text(HEBREW)
        assert await said.locator("pre").evaluate("pre => getComputedStyle(pre).direction") == "rtl"
        await page.get_by_label("what").select_option(label="long")
        await call(page).click()
        more = result(page).get_by_role("button", name="Show all of 300.0 kB")
        await expect(more).to_be_visible()
        assert len(await said.locator("pre").inner_text()) == 20_000
        await more.click()
        await expect(result(page).get_by_role("button", name="Show its beginning")).to_be_visible()
        assert not await overflows(page)


async def test_on_a_phone(chromium: Browser, shop: tuple[World, Shop]) -> None:
    async with visit(chromium, shop[0].gateway.base, "/tools", phone=True, dark=True) as page:
        await page.get_by_role("button", name="shop_order").tap()
        await expect(page.get_by_role("list", name="Tools")).to_be_hidden()
        await fill_order(page)
        assert not await overflows(page)
        await accessible(page)
        await screenshot(page, "tool-phone")
        await call(page).tap()
        await expect(result(page)).to_contain_text("Called")
        assert not await overflows(page)
        await page.get_by_role("button", name="All tools").tap()
        await expect(page.get_by_role("list", name="Tools")).to_be_visible()
