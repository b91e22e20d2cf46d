"""One Chromium for all tests of the browser, driven from the loop in which the gateways run too."""

import inspect
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from mcp_operator_proxy.inspector.pages import INDEX, STATIC

from .visits import AXE

HERE = Path(__file__).parent
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(300))  # some visits, each as slow as the machine is busy
            if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """What is missing is an error that says how it comes, never a test that is left out."""
    program = shutil.which("chromium")
    assert program is not None, "there is no chromium: hack/chromium installs it (make browser)"
    assert (STATIC / INDEX).is_file(), "the inspector was not built: make ui"
    assert AXE.is_file(), "the page's packages are not installed: make ui"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        await browser.close()
