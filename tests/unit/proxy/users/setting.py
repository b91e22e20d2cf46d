"""Proxies with servers of users, and users who are signed in to them."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.services.credentials.token import Token
from support.backends import ServedMCP, client
from support.gateway import Gateway, make_config, running_gateway
from support.modern import ModernClient
from support.personal import Personal

PROVIDER = {"name": "corp", "kind": "oidc", "issuer": "http://127.0.0.1:9/", "clientId": "proxy"}
USER_TOKEN = {"kind": "userToken", "provider": "corp"}
STORES = {"redis": {"file": "redis"}, "database": {"file": "db"}, "encryptionKeys": [{"file": "key"}]}

PATIENT = {"connectTimeoutSeconds": 100, "callTimeoutSeconds": 100}
"""For a busy machine: how long anything takes is not what is tried here."""


def key_of(name: str) -> str:
    return f"the-long-api-key-of-{name}"


def keys(names: Iterable[str]) -> dict[str, str]:
    """Secrets: the API keys of callers."""
    return {f"key-{name}": key_of(name) for name in names}


def auth(names: Iterable[str]) -> dict[str, Any]:
    return {"apiKeys": [{"name": name, "secret": {"file": f"key-{name}"}} for name in names]}


def configured(
    urls: Mapping[str, str], names: Iterable[str], *, personal: Iterable[str] = ("p",), **more: Any
) -> ProxyConfig:
    """Servers `ns/NAME` of which those in `personal` are each user's own, on the route /mcp."""
    more["server"] = {**PATIENT, **more.get("server", {})}
    config = make_config(dict(urls), auth=auth(names), providers=[PROVIDER], **more)
    data = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for server in data.get("servers", ()):
        if server["id"].removeprefix("ns/") in personal:
            server["credential"] = USER_TOKEN
    return ProxyConfig.model_validate(data)


async def signed_in(gateway: Gateway, *names: str) -> None:
    for name in names:
        await gateway.proxy.services.users.start(f"key/{name}", "corp", Token(f"tok-{name}"), ["ns/p"])


@contextlib.asynccontextmanager
async def one_gateway(names: Iterable[str], **more: Any) -> AsyncIterator[tuple[Gateway, Personal, ServedMCP]]:
    """A gateway in front of one such server, `p`, whose users are signed in."""
    names = list(names)
    personal = Personal([f"tok-{name}" for name in names])
    async with ServedMCP(personal.mcp, era=more.pop("era", "both")) as served:
        config = configured({"p": served.url}, names, **more)
        async with running_gateway(config, keys(names)) as gateway:
            await signed_in(gateway, *names)
            yield gateway, personal, served


def connected(gateway: Gateway, name: str, mode: str, **options: Any) -> Any:
    return client(gateway.url, mode, auth=key_of(name), **options)


def modern(gateway: Gateway, name: str | None, capabilities: Any = None) -> ModernClient:
    return ModernClient(gateway.url, capabilities, key=key_of(name) if name else None)
