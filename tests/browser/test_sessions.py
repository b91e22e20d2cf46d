"""Sessions of clients and users, and the state of credentials; never a token."""

import re
import time

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from playwright.async_api import Browser, expect

from mcp_operator_proxy.services.credentials.token import Token
from unit.proxy.users.setting import key_of, one_gateway

from .visits import accessible, overflows, screenshot, visit
from .worlds import ALICE, AUTH, OPS, small_world

PUBLIC = {"publicUrl": "http://gateway.example/"}


def connect(url: str, key: str) -> "Client[StreamableHttpTransport]":
    return Client(StreamableHttpTransport(url, headers={"authorization": f"Bearer {key}"}), mode="legacy")


async def test_clients_that_are_connected(chromium: Browser) -> None:
    async with small_world(**AUTH) as world, visit(chromium, world.gateway.base, "/sessions", key=OPS) as page:
        await expect(page.get_by_text("No client is connected")).to_be_visible()
        await accessible(page)
        async with connect(world.gateway.url, ALICE), connect(world.gateway.url, OPS):
            table = page.get_by_role("table", name="Sessions of clients")
            await expect(table.locator("[data-index]")).to_have_count(2)
            await page.get_by_role("searchbox").fill("alice")
            await expect(table.locator("[data-index]")).to_have_count(1)
            await expect(table).to_contain_text("alice")
            await accessible(page)
            async with visit(chromium, world.gateway.base, "/sessions", key=ALICE) as other:
                await expect(other.locator("[data-index]")).to_have_count(1)  # the own one
                await expect(other.get_by_text("Your own sessions")).to_be_visible()


async def test_users_and_their_credentials(chromium: Browser) -> None:
    async with one_gateway(["ann", "ben"], inspector={"operators": ["ann"]}, **PUBLIC) as (gateway, _, _):
        await gateway.proxy.services.users.start(
            "key/ben", "corp", Token("tok-ben", "refresh-ben", time.time() - 3600), ["ns/p"]
        )
        for dark, phone in ((False, False), (True, False), (False, True)):
            async with visit(
                chromium, gateway.base, "/sessions?of=credentials", key=key_of("ann"), dark=dark, phone=phone
            ) as page:
                table = page.get_by_role("table", name="Credentials of users")
                ben = table.locator("[data-index]").filter(has_text="key/ben")
                await expect(ben).to_contain_text("Expired")
                await expect(table.locator("[data-index]").filter(has_text="key/ann")).to_contain_text("Valid")
                content = await page.content()
                assert not any(secret in content for secret in ("tok-ben", "tok-ann", "refresh-ben"))
                assert not await overflows(page)
                await accessible(page)
                if not phone:
                    await screenshot(page, f"sessions-{'dark' if dark else 'light'}")
                await page.get_by_role("button", name="Users").click()
                await expect(page.get_by_role("table", name="Sessions of users")).to_contain_text("key/ann")
                await accessible(page)


async def test_who_has_to_sign_in_is_led_there(chromium: Browser) -> None:
    async with one_gateway(["ann"], inspector={}, **PUBLIC) as (gateway, _, _):
        await gateway.proxy.services.credentials.vault.forget("key/ann")
        async with visit(chromium, gateway.base, "/sessions?of=credentials", key=key_of("ann")) as page:
            await expect(page.get_by_role("table")).to_contain_text("Sign-in needed")
            link = page.get_by_role("link", name="Sign in")
            await expect(link).to_have_attribute("href", re.compile("^http://gateway.example/oauth/start/"))
            await expect(link).to_have_attribute("rel", "noreferrer noopener")
