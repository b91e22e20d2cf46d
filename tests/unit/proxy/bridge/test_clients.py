"""Real MCP clients through the bridge, with a server written as users write them.

Cases: everything a server offers, in both isolations and both client modes · eight clients at once whose answers and
progress never mix · the user who is asked is the one who called.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult

from unit.proxy.bridge.harness import running, sdk, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[str]:
    async with running(settings(sdk(), wait_timeout=60.0)) as bridge:
        yield bridge.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def isolated() -> AsyncIterator[str]:
    async with running(settings(sdk(), isolation="session", preflight=False, wait_timeout=5.0)) as bridge:
        yield bridge.url


async def use_everything(client: Client[Any]) -> None:
    assert client.initialize_result is not None
    assert client.initialize_result.server_info.name == "sdk"
    assert {tool.name for tool in await client.list_tools()} == {"add", "count", "confess"}
    assert (await client.call_tool("add", {"a": 2, "b": 3})).data == 5
    assert [t.uri_template for t in await client.list_resource_templates()] == ["note://{name}"]
    (content,) = await client.read_resource("note://x")
    assert getattr(content, "text", None) == "note of x"
    prompt = await client.get_prompt("greet", {"who": "Ann"})
    assert getattr(prompt.messages[0].content, "text", None) == "Say hello to Ann"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_sees_all_that_the_server_offers(shared: str, mode: Any) -> None:
    async with Client(shared, mode=mode) as client:
        await use_everything(client)


async def test_the_user_that_is_asked_is_the_one_who_called(isolated: str) -> None:
    async def work(name: str) -> None:
        async def answer(message: str, _type: Any, _params: Any, _context: Any) -> ElicitResult[Any]:
            assert message == f"is it {name}?"
            return ElicitResult(action="accept", content={"value": True})

        async with Client(isolated, elicitation_handler=answer) as client:
            await use_everything(client)
            assert (await client.call_tool("confess", {"secret": name})).data == f"{name}: accept"

    await asyncio.gather(work("a"), work("b"))


async def test_eight_clients_at_once_never_get_each_others_answers_or_progress(shared: str) -> None:
    async def work(number: int) -> None:
        heard: set[str | None] = set()

        async def progress(_progress: float, _total: float | None, message: str | None) -> None:
            heard.add(message)

        async with Client(shared, progress_handler=progress) as client:
            for n in range(8):
                first, second, label = await asyncio.gather(
                    client.call_tool("add", {"a": number * 100, "b": n}),
                    client.call_tool("add", {"a": -number * 100, "b": n}),
                    client.call_tool("count", {"to": 3, "label": f"{number}-{n}"}),
                )
                assert (first.data, second.data) == (number * 100 + n, -number * 100 + n)
                assert label.data == f"{number}-{n}"
        assert heard == {f"{number}-{n}" for n in range(8)}

    await asyncio.gather(*(work(number) for number in range(8)))
