"""A proxy with an inspector in front of real servers."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from support.gateway import Gateway, make_config, running_gateway

Inspect = Callable[..., contextlib.AbstractAsyncContextManager[Gateway]]
ALICE, BOB, OPS = "a" * 20, "b" * 20, "o" * 20
SECRETS = {"alice": ALICE, "bob": BOB, "ops": OPS}
AUTH: dict[str, Any] = {
    "auth": {"apiKeys": [{"name": name, "secret": {"file": name}} for name in SECRETS]},
    "inspector": {"operators": ["ops"]},
}


def key(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


@contextlib.asynccontextmanager
async def _inspecting(
    urls: dict[str, str], secrets: dict[str, str] | None = None, **more: Any
) -> AsyncIterator[Gateway]:
    async with running_gateway(make_config(urls, **{"inspector": {}, **more}), secrets) as gateway:
        yield gateway


@pytest.fixture
def inspecting() -> Inspect:
    """`async with inspecting({"calc": url}, SECRETS, **AUTH) as gateway`."""
    return _inspecting


async def ask(gateway: Gateway, path: str, who: str | None = None, **query: Any) -> Any:
    """The JSON at `/ui/api/<path>`, asked for with the key `who`."""
    answer = await gateway.get(f"/ui/api/{path}", headers=key(who) if who else {}, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()
