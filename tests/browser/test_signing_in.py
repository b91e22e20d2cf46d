"""Who is asked for what, and where a credential stays."""

from playwright.async_api import Browser, expect

from .visits import accessible, overflows, screenshot, visit
from .worlds import ALICE, AUTH, OPS, SECRETS, made, small_world

REFUSED = ("401",)


async def test_nothing_is_asked_where_nothing_is_required(chromium: Browser) -> None:
    async with small_world() as world, visit(chromium, world.gateway.base) as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
        await expect(page.get_by_text("No sign-in needed")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


async def test_a_wrong_key_a_right_one_and_out_again(chromium: Browser) -> None:
    async with small_world(**AUTH) as world, visit(chromium, world.gateway.base, expected=REFUSED) as page:
        key = page.get_by_label("API key")
        await expect(key).to_be_focused()
        await accessible(page)
        await screenshot(page, "sign-in")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("Enter a key")
        await key.fill("wrong-key-of-somebody")
        async with page.expect_response(lambda answer: answer.status == 401):
            await page.keyboard.press("Enter")
        # the gateway's words, and not those of before: only now the field is there to stay
        await expect(page.get_by_role("alert")).not_to_contain_text("Enter a key")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await accessible(page)
        await key.fill(OPS)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
        await expect(page.get_by_role("banner")).to_contain_text("ops")
        await expect(page.get_by_role("banner").get_by_text("operator", exact=True)).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
        stored = "JSON.stringify([{...localStorage}, document.cookie, location.href])"
        assert OPS not in await page.evaluate(stored)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert await page.evaluate("sessionStorage.length") == 0


async def test_what_is_typed_after_a_refusal_stays(chromium: Browser) -> None:
    """Nothing asks again by itself, be it after a while or when somebody comes back from where the key is: the form would go meanwhile."""
    asked: list[str] = []
    async with small_world(**AUTH) as world, visit(chromium, world.gateway.base, expected=REFUSED) as page:
        key = page.get_by_label("API key")
        await page.clock.install()
        await key.fill("wrong-key-of-somebody")
        async with page.expect_response(lambda answer: answer.status == 401):
            await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_be_visible()
        page.on("request", lambda request: asked.append(request.headers.get("x-api-key", "")))
        await key.fill("half-of-a-key")
        await page.clock.fast_forward(120_000)
        await page.evaluate("window.dispatchEvent(new Event('visibilitychange'))")
        await page.evaluate("fetch('/ui/api/me', {headers: {'X-API-Key': 'asked-last'}})")
        assert "wrong-key-of-somebody" not in asked
        assert "asked-last" in asked
        await expect(key).to_have_value("half-of-a-key")


async def test_who_is_no_operator(chromium: Browser) -> None:
    async with small_world(**AUTH) as world, visit(chromium, world.gateway.base, key=ALICE) as page:
        await expect(page.get_by_role("banner")).to_contain_text("alice")
        await expect(page.get_by_role("banner").get_by_text("operator", exact=True)).to_have_count(0)


async def test_a_key_that_is_taken_away_leads_back_to_the_sign_in(chromium: Browser) -> None:
    async with (
        small_world(**AUTH) as world,
        visit(chromium, world.gateway.base, key=ALICE, expected=REFUSED) as page,
    ):
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
        await world.gateway.proxy.apply(made(world.config), {**SECRETS, "alice": "another-key-of-alice"})
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await page.get_by_label("API key").fill("another-key-of-alice")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")


async def test_the_page_that_was_asked_for_is_shown_after_the_sign_in(chromium: Browser) -> None:
    async with (
        small_world(**AUTH) as world,
        visit(chromium, world.gateway.base, "/servers/team-a/weather", phone=True, dark=True) as page,
    ):
        assert not await overflows(page)
        await page.get_by_label("API key").fill(OPS)
        await accessible(page)
        await page.get_by_role("button", name="Sign in").tap()
        await expect(page.get_by_role("heading", level=1)).to_have_text("team-a/weather")
