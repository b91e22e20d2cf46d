"""Whatever users do at once, in whatever era and through whichever replica: nobody gets anything of anybody else's."""

import asyncio
import contextlib
import json
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from mcp.shared.exceptions import MCPError

from support.backends import ServedMCP, eventually
from support.gateway import Gateway, running_gateway
from support.modern import ModernClient
from support.personal import Personal
from support.stores import Redis

from .setting import STORES, configured, key_of, keys, modern, one_gateway, signed_in

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
PEOPLE = [f"u{number}" for number in range(24)]
STEPS = 3


class Trespass(AssertionError):
    """Somebody saw what is another's."""


def only_mine(token: str, what: Any) -> None:
    """Nothing of `what` names another user's credential."""
    seen = set(re.findall(r"tok-\w+", what if isinstance(what, str) else json.dumps(what, default=str)))
    if not seen <= {token}:
        raise Trespass(f"{token} saw {seen - {token}}")


class Visitor:
    """A user with a client of the handshake eras at one gateway, and of 2026-07-28 at each. It tries what is its own, and what is not."""

    def __init__(self, name: str, gateways: list[Gateway], seed: int) -> None:
        self.name = name
        self.token = f"tok-{name}"
        self.dice = random.Random(f"{seed} {name}")
        self.gateways = gateways
        self.heard: list[Any] = []
        self.stack = AsyncExitStack()
        self.legacy: Client[Any]
        self.modern: list[ModernClient] = []

    async def __aenter__(self) -> "Visitor":
        made = Client(
            self.dice.choice(self.gateways).url, mode="legacy", auth=key_of(self.name),
            elicitation_handler=self.elicit, log_handler=self.log, message_handler=self.message,
        )  # fmt: skip
        self.legacy = await self.stack.enter_async_context(made)
        for gateway in self.gateways:
            self.modern.append(await self.stack.enter_async_context(modern(gateway, self.name)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def elicit(self, message: str, *_: Any) -> ElicitResult[Any]:
        self.heard.append(message)
        return ElicitResult(action="accept", content={"answer": self.name})

    async def log(self, message: Any) -> None:
        self.heard.append(message.data)

    async def message(self, message: Any) -> None:
        self.heard.append(repr(message))

    async def progress(self, *noted: Any) -> None:
        self.heard.append(noted[2])

    async def visit(self) -> None:
        deeds = [self.lists, self.calls, self.calls, self.own_tool, self.reads, self.told, self.asked, self.pries]
        for _ in range(STEPS):
            await self.dice.choice(deeds)()
            await asyncio.sleep(self.dice.random() / 100)
        for heard in self.heard:
            only_mine(self.token, heard)

    async def either(self, method: str, params: dict[str, Any]) -> Any:
        """Ask in either era, through any gateway; the result as JSON."""
        if self.dice.random() < 0.5:
            answer = await self.dice.choice(self.modern).request(method, params)
            if answer.error is not None:
                raise MCPError(answer.error["code"], answer.error["message"])
            return answer.result
        session = self.legacy
        if method == "tools/list":
            return {"tools": [tool.model_dump(mode="json") for tool in await session.list_tools()]}
        if method == "resources/read":
            return {"contents": [c.model_dump(mode="json") for c in await session.read_resource(params["uri"])]}
        found = await session.call_tool(params["name"], params["arguments"], raise_on_error=False)
        return {"structuredContent": found.structured_content, "isError": found.is_error, "content": str(found.content)}

    async def lists(self) -> None:
        tools = (await self.either("tools/list", {}))["tools"]
        only_mine(self.token, tools)
        assert f"p_only_{self.token}" in {tool["name"] for tool in tools}

    async def calls(self) -> None:
        """Equal arguments of all users, so that a shared cache would show."""
        nonce = str(self.dice.randrange(2))
        found = await self.either("tools/call", {"name": "p_whoami", "arguments": {"nonce": nonce}})
        assert found["structuredContent"] == {"token": self.token, "nonce": nonce}, f"{self.token} got {found}"

    async def settles(self) -> None:
        """Its instances are there at each replica: one that is new, or lists anew, clears the server's results from memory."""
        for through in self.modern:
            found = await through.call(f"p_only_{self.token}")
            assert (found.result or {})["structuredContent"]["token"] == self.token

    async def remembered(self, nonce: str) -> None:
        """The same call as everybody's, at the same moment, at each replica and again: from memory, and its own."""
        for through in (*self.modern, *self.modern):
            found = await through.call("p_whoami", {"nonce": nonce})
            only_mine(self.token, found.result)
            assert (found.result or {})["structuredContent"] == {"token": self.token, "nonce": nonce}

    async def own_tool(self) -> None:
        found = await self.either("tools/call", {"name": f"p_only_{self.token}", "arguments": {}})
        assert found["structuredContent"]["token"] == self.token

    async def reads(self) -> None:
        found = await self.either("resources/read", {"uri": "note://p/mine"})
        assert found["contents"][0]["text"] == f"note of {self.token}"

    async def told(self) -> None:
        session = self.legacy
        found = await session.call_tool("p_tell", {}, progress_handler=self.progress)
        assert found.data == self.token

    async def asked(self) -> None:
        found = await self.legacy.call_tool("p_ask", {})
        assert found.data == f"{self.token}:{self.name}"

    async def pries(self) -> None:
        """Another's tool, by its name, is unknown."""
        other = self.dice.choice([name for name in PEOPLE if name != self.name])
        with pytest.raises(MCPError, match="Unknown tool"):
            await self.either("tools/call", {"name": f"p_only_tok-{other}", "arguments": {}})


@contextlib.asynccontextmanager
async def two_gateways(redis: Redis, folder: Path, served: ServedMCP) -> AsyncIterator[list[Gateway]]:
    """Replicas that share Redis and a database."""
    tools = [{"name": "whoami", "cacheSeconds": 3600}]
    more = {"stores": STORES, "server": {"tools": tools}, "sessions": {"signingKeys": [{"file": "sign"}]}}
    config = configured({"p": served.url}, PEOPLE, **more)
    secrets = keys(PEOPLE) | {"redis": redis.url, "db": f"sqlite:///{folder}/r.db", "key": "k" * 40, "sign": "s" * 40}
    async with running_gateway(config, secrets) as one, running_gateway(config, secrets) as other:
        yield [one, other]


@pytest.mark.parametrize(("seed", "era", "many"), [(1, "both", 24), (2, "legacy", 8)])
async def test_dozens_of_users_at_once(seed: int, era: str, many: int, redis_server: Redis, tmp_path: Path) -> None:
    personal = Personal([f"tok-{name}" for name in PEOPLE])
    async with (
        ServedMCP(personal.mcp, era=era) as served,
        two_gateways(redis_server, tmp_path, served) as gateways,
        AsyncExitStack() as stack,
    ):
        await signed_in(gateways[0], *PEOPLE[:many])
        visitors = [await stack.enter_async_context(Visitor(name, gateways, seed)) for name in PEOPLE[:many]]
        await asyncio.gather(*(visitor.visit() for visitor in visitors))
        some = visitors[:8]
        await asyncio.gather(*(visitor.settles() for visitor in some))
        hits = [gateway.proxy.cache.report().hits for gateway in gateways]
        await asyncio.gather(*(visitor.remembered("shared") for visitor in some))
        for gateway, before in zip(gateways, hits, strict=True):
            assert gateway.proxy.cache.report().hits - before >= len(some), "the second call of each came from memory"
        assert set(personal.calls) <= {f"tok-{name}" for name in PEOPLE}
        for gateway in gateways:
            for name in PEOPLE:
                held = gateway.proxy.services.users.instances.held("ns/p", f"key/{name}")
                if held is not None:
                    only_mine(f"tok-{name}", [tool["name"] for tool in held.catalogue.tools])


async def test_one_who_signs_out_takes_nobody_along_in_any_replica(redis_server: Redis, tmp_path: Path) -> None:
    personal = Personal([f"tok-{name}" for name in PEOPLE])
    async with ServedMCP(personal.mcp) as served, two_gateways(redis_server, tmp_path, served) as (one, other):
        await signed_in(one, "u0", "u1")
        async with modern(one, "u0") as here, modern(other, "u0") as there, modern(other, "u1") as neighbour:
            for each in (here, there, neighbour):
                assert (await each.call("p_whoami")).result
            instances = other.proxy.services.users.instances
            await one.proxy.services.users.end("key/u0")
            await eventually(lambda: instances.held("ns/p", "key/u0") is None)
            assert instances.held("ns/p", "key/u1") is not None
            before = personal.calls["tok-u0"]
            for each in (here, there):
                await eventually(lambda each=each: _refused(each))
            assert personal.calls["tok-u0"] == before, "not even what was cached is asked for again with the old token"
            assert (await neighbour.call("p_whoami")).result


async def _refused(through: ModernClient) -> bool:
    answer = await through.call("p_whoami", {"nonce": "fresh"})
    return bool((answer.result or {}).get("isError"))


ECHO = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, token = asked["method"], os.environ["TOKEN"]
    tool = {"name": "only_" + token, "inputSchema": {"type": "object"}}
    result = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "e", "version": "1"}},
        "tools/list": {"tools": [tool]},
        "tools/call": {"content": [{"type": "text", "text": token + " " + str(os.getpid())}]},
    }.get(method, {})
    answer = {"error": {"code": -32601, "message": "no"}} if method == "server/discover" else {"result": result}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


async def test_each_users_process_has_its_own_token_and_a_new_token_is_a_new_process(tmp_path: Path) -> None:
    from mcp_operator_proxy.services.credentials.token import Token  # noqa: PLC0415 - beside its one use

    script = tmp_path / "echo.py"
    script.write_text(ECHO)
    people = ["ann", "bob"]
    config = configured({}, people, personal=())
    data = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    data["servers"] = [
        {
            "id": "ns/p",
            "stdio": {"command": sys.executable, "args": [str(script)], "isolation": "user"},
            "credential": {"kind": "userToken", "provider": "corp"},
            "credentialEnv": "TOKEN",
        }
    ]
    data["routes"] = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/p", "prefix": "p"}]}]
    async with running_gateway(type(config).model_validate(data), keys(people)) as gateway:
        await signed_in(gateway, *people)
        async with modern(gateway, "ann") as ann, modern(gateway, "bob") as bob:
            for name, through in (("ann", ann), ("bob", bob)):
                listed = await through.request("tools/list", {})
                assert [t["name"] for t in (listed.result or {})["tools"]] == [f"p_only_tok-{name}"]
            first = (await ann.call("p_only_tok-ann")).text.split()
            his = (await bob.call("p_only_tok-bob")).text.split()
            assert (first[0], his[0]) == ("tok-ann", "tok-bob")
            assert first[1] != his[1]
            await gateway.proxy.services.users.start("key/ann", "corp", Token("tok-new"))
            second = (await ann.call("p_only_tok-new")).text.split()
            assert second[0] == "tok-new"
            assert second[1] != first[1]
            assert (await bob.call("p_only_tok-bob")).text.split() == his
            said = (await gateway.get("/status")).text
            assert not [token for token in ("tok-ann", "tok-bob", "tok-new") if token in said]


async def test_a_legacy_session_is_nobody_elses(tmp_path: Path) -> None:
    """Who shows the id of another's session, with a key of his own, gets nothing of it."""
    assert tmp_path
    async with one_gateway(["ann", "bob"]) as (gateway, _, _):
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        }
        headers = {"accept": "application/json, text/event-stream", "x-api-key": key_of("ann")}
        opened = await gateway.http.post(gateway.url, json=body, headers=headers)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        stolen = await gateway.http.post(
            gateway.url, json=listing, headers={**headers, **session, "x-api-key": key_of("bob")}
        )
        assert stolen.status_code == 404
        assert "tok-ann" not in stolen.text
        assert "tok-ann" in (await gateway.http.post(gateway.url, json=listing, headers={**headers, **session})).text


async def test_results_from_memory_are_each_users_own() -> None:
    cached = {"tools": [{"name": "whoami", "cacheSeconds": 60}]}
    async with (
        one_gateway(["u0", "u1"], server=cached) as (gateway, personal, _),
        modern(gateway, "u0") as one,
        modern(gateway, "u1") as other,
    ):
        for through in (one, other):
            await through.request("tools/list", {})
        for through, token in ((one, "tok-u0"), (other, "tok-u1"), (one, "tok-u0"), (other, "tok-u1")):
            found = await through.call("p_whoami", {"nonce": "the same"})
            assert (found.result or {})["structuredContent"]["token"] == token
        assert dict(personal.calls) == {"tok-u0": 1, "tok-u1": 1}, "the others were answered from memory"
