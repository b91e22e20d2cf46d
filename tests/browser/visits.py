"""A visit to the inspector in a real Chromium, that ends with a look at what the browser itself complained of.

async with visit(chromium, gateway.base, "/sessions", dark=True) as page:
    await page.get_by_role("heading", name="Sessions").wait_for()
"""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from support.backends import eventually

ROOT: Final = Path(__file__).resolve().parents[2]
AXE: Final = ROOT / "proxy_image/ui/node_modules/axe-core/axe.min.js"
IMAGES: Final = ROOT / "docs/images"
RENEW: Final = "RENEW_SCREENSHOTS"
DESKTOP: Final = {"width": 1360, "height": 820}
PHONE: Final = {"width": 390, "height": 844}
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WATCH_POLICY: Final = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(`${event.violatedDirective}: ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`));
"""


class Complaints:
    """What a visit must not have: errors of scripts, errors on the console, requests to elsewhere."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.expected: tuple[str, ...] = ()
        """Parts of messages that a test brings about, such as `401`: the browser logs each failed request."""

    def watch(self, context: BrowserContext, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)
        context.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(part in message.text for part in self.expected):
            self.errors.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._base, "data:", "blob:")):
            self.elsewhere.append(request.url)


@contextlib.asynccontextmanager
async def visit(
    chromium: Browser,
    base: str,
    path: str = "/",
    *,
    dark: bool = False,
    phone: bool = False,
    key: str | None = None,
    expected: tuple[str, ...] = (),
    **options: Any,
) -> AsyncIterator[Page]:
    """`path` below /ui; `key`: signed in with this API key; `expected`: what the console may say. `options` are the context's."""
    context = await chromium.new_context(
        base_url=base,
        color_scheme="dark" if dark else "light",
        viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]  # a TypedDict
        has_touch=phone,
        is_mobile=phone,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
        **options,
    )
    context.set_default_timeout(30_000)
    page = await context.new_page()
    complaints = Complaints(base)
    complaints.expected = expected
    complaints.watch(context, page)
    await page.add_init_script(WATCH_POLICY)
    try:
        if key is not None:
            await page.add_init_script(
                f'sessionStorage.setItem("mcp-inspector.credential", JSON.stringify({{scheme: "apiKey", value: "{key}"}}))'
            )
        await page.goto(f"/ui{path}")
        yield page
        violations = await page.evaluate("window.__violations")
        assert violations == [], violations
        assert complaints.errors == [], complaints.errors
        assert complaints.elsewhere == [], complaints.elsewhere
    finally:
        await context.close()


async def gone_by_keys(page: Page, *keys: str, to: str) -> None:
    """Press a sequence of keys until the page of this title is there and has the focus.

    A sequence counts only if its keys follow each other soon, which a busy machine may not manage the first time.
    """

    async def arrived() -> bool:
        for key in keys:
            await page.keyboard.press(key)
        with contextlib.suppress(AssertionError):
            await expect(page.get_by_role("heading", level=1)).to_have_text(to, timeout=3_000)
            return True
        return False

    await eventually(arrived)
    await expect(page.get_by_role("main")).to_be_focused()


async def tabbed_to(page: Page, element: Locator) -> None:
    """Press Tab until it has the focus; there is a way around the page, so more presses than it has stops are none."""
    for _ in range(200):
        if await element.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    await expect(element).to_be_focused()


async def accessible(page: Page) -> None:
    """Fail with what axe-core finds, by rule and element. It runs by the debugger's protocol, so the page's policy stays as it is."""
    await page.evaluate(AXE.read_text())
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
    found = await page.evaluate("(options) => axe.run(document, options)", options)
    assert found["passes"], "axe has looked at nothing"
    said = [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
    assert said == [], "\n".join(said)


async def screenshot(page: Page, name: str) -> None:
    """docs/images/inspector-<name>.png, where it is missing or is to be renewed; pictures differ with every run."""
    file = IMAGES / f"inspector-{name}.png"
    if os.environ.get(RENEW) or not file.exists():
        IMAGES.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=file, animations="disabled", caret="hide")


async def overflows(page: Page) -> bool:
    """Whether the page is wider than the window."""
    return bool(await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
