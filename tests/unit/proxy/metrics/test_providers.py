"""The series of identity providers are there before anything happens, and end with them."""

from typing import Any

from support.backends import dead_port
from support.gateway import make_config, running_gateway
from support.scraped import scraped
from unit.proxy.users.setting import PROVIDER

NAMES = ("mcp_oauth_token_refreshes_total", "mcp_oauth_token_refresh_failures_total")


async def test_of_each_configured_provider() -> None:
    url = f"http://127.0.0.1:{dead_port()}/mcp"

    def config(*providers: str) -> Any:
        return make_config({"a": url}, providers=[{**PROVIDER, "name": name} for name in providers])

    async with running_gateway(config("corp", "other"), warm_seconds=0) as gateway:
        for name in NAMES:
            assert (await scraped(gateway)).by(name, "provider") == {"corp": 0, "other": 0}
        await gateway.proxy.apply(config("corp"))
        await gateway.proxy.apply(config("corp", "third"))
        for name in NAMES:
            assert (await scraped(gateway)).by(name, "provider") == {"corp": 0, "third": 0}
        await gateway.proxy.apply(make_config({"a": url}))
        for name in NAMES:
            assert (await scraped(gateway)).by(name, "provider") == {}
