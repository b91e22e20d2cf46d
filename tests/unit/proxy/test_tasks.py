# ruff: noqa: SIM117 - nested, in the order in which they start
"""Tasks (SEP-2663) through the proxy: whose they are, and at which server."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.server.request_state import AESGCMRequestStateCodec
from mcp.shared.exceptions import MCPError
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.session import _TaskRequest
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.eras.capabilities import TASKS
from mcp_operator_proxy.sessions.ids import Keys
from mcp_operator_proxy.tasks import cancel
from mcp_operator_proxy.tasktokens import MAX_LENGTH, TaskTokens
from support.backends import ServedMCP, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.taskserver import Task, Tasks

ANN, BOB = Principal("ann"), Principal("bob")
KEYS = {"ann": "a-key-of-ann-0123456789", "bob": "a-key-of-bob-0123456789"}
AUTH = {"apiKeys": [{"name": name, "secret": {"file": f"key-{name}"}} for name in KEYS]}
SECRETS = {f"key-{name}": key for name, key in KEYS.items()}


def server(name: str) -> tuple[FastMCP[Any], Tasks]:
    mcp: FastMCP[Any] = FastMCP(name)
    tasks = Tasks()
    mcp.add_extension(tasks)
    tasks.tell(mcp)

    @tasks.job(mcp, "work")
    async def work(arguments: Any, task: Task | None) -> str:
        if task is None:
            return f"{name} at once"
        answers = await task.ask({"q": {"method": "elicitation/create", "params": {"message": "?"}}})
        return f"{name} heard {answers['q']}"

    return mcp, tasks


class Caller:
    """A client of the modern era, down to its bytes: the library's client hides tasks."""

    def __init__(self, running: Gateway, *, who: str | None = None, tasks: bool = True) -> None:
        self._running = running
        self._headers = {"Authorization": f"Bearer {KEYS[who]}"} if who else {}
        self._extensions = {"extensions": {TASKS: {}}} if tasks else {}

    @contextlib.asynccontextmanager
    async def listening(self, *ids: str) -> AsyncIterator[list[dict[str, Any]]]:
        """What comes on a `subscriptions/listen` stream for these tasks; the first is the acknowledgement."""
        method, said = "subscriptions/listen", []
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": self._extensions,
        }
        headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **self._headers}
        async with self._running.http.stream(
            "POST",
            self._running.url,
            headers={**headers, "Accept": "application/json, text/event-stream"},
            json={
                "jsonrpc": "2.0",
                "id": "l-1",
                "method": method,
                "params": {"notifications": {"taskIds": list(ids), "toolsListChanged": True}, "_meta": meta},
            },
        ) as response:

            async def read() -> None:
                async for line in response.aiter_lines():
                    data = line.removeprefix("data:").strip()
                    if data.startswith("{"):
                        said.append(json.loads(data))

            reading = asyncio.create_task(read())
            try:
                yield said
            finally:
                await cancel([reading])

    async def ask(self, method: str, header: str | None, **params: Any) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": self._extensions,
        }
        headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **self._headers}
        headers |= {"Mcp-Name": header} if header is not None else {}
        response = await self._running.http.post(
            self._running.url,
            headers={**headers, "Accept": "application/json, text/event-stream"},
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}},
        )
        body: dict[str, Any] = response.json()
        if "error" in body:
            raise MCPError(body["error"]["code"], body["error"]["message"], body["error"].get("data"))
        result: dict[str, Any] = body["result"]
        return result

    async def call(self, tool: str) -> dict[str, Any]:
        return await self.ask("tools/call", tool, name=tool, arguments={})

    async def task(self, method: str, task_id: str, **params: Any) -> dict[str, Any]:
        return await self.ask(method, task_id, taskId=task_id, **params)


async def test_a_task_from_its_beginning_to_its_end() -> None:
    mcp, tasks = server("one")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"s": served.url})) as running:
        caller = Caller(running)
        made = await caller.call("s_work")
        (task,) = tasks.tasks.values()
        assert (made["resultType"], made["status"]) == ("task", "working")
        assert made["taskId"] != task.id
        await eventually(lambda: task.status == "input_required")
        found = await caller.task("tasks/get", made["taskId"])
        assert (found["taskId"], list(found["inputRequests"])) == (made["taskId"], ["q"])
        assert (await caller.task("tasks/update", made["taskId"], inputResponses={"q": "yes"}))[
            "resultType"
        ] == "complete"
        await eventually(lambda: task.status == "completed")
        done = await caller.task("tasks/get", made["taskId"])
        assert done["result"]["content"] == [{"type": "text", "text": "one heard yes"}]

        other = await caller.call("s_work")
        await caller.task("tasks/cancel", other["taskId"])
        assert (await caller.task("tasks/get", other["taskId"]))["status"] == "cancelled"


async def test_equal_ids_of_two_servers_do_not_collide() -> None:
    (one, ones), (two, twos) = server("one"), server("two")
    async with ServedMCP(one) as first, ServedMCP(two) as second:
        async with running_gateway(make_config({"a": first.url, "b": second.url})) as running:
            caller = Caller(running)
            made = [await caller.call(tool) for tool in ("a_work", "b_work")]
            for tasks in (ones, twos):
                (task,) = tasks.tasks.values()
                tasks.tasks = {"same": task}
                task.id = "same"
            assert running.proxy.state is not None
            tokens = running.proxy.endpoints["/mcp"]._provider._tokens
            ids = [tokens.seal(name, "same", None) for name in ("ns/a", "ns/b")]
            await eventually(lambda: all(t.tasks["same"].status == "input_required" for t in (ones, twos)))
            await caller.task("tasks/update", ids[1], inputResponses={"q": "yes"})
            await eventually(lambda: twos.tasks["same"].status == "completed")
            assert ones.tasks["same"].status == "input_required"
            assert made[0]["taskId"] != made[1]["taskId"]


async def test_a_task_is_its_makers() -> None:
    mcp, tasks = server("one")
    async with ServedMCP(mcp) as served:
        async with running_gateway(make_config({"s": served.url}, auth=AUTH), SECRETS) as running:
            ann, bob = Caller(running, who="ann"), Caller(running, who="bob")
            made = await ann.call("s_work")
            (task,) = tasks.tasks.values()
            assert (await ann.task("tasks/get", made["taskId"]))["taskId"] == made["taskId"]
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                for caller, task_id in ((bob, made["taskId"]), (bob, task.id), (ann, task.id), (ann, "x")):
                    with pytest.raises(MCPError, match="Unknown task") as caught:
                        await caller.task(method, task_id)
                    assert caught.value.code == INVALID_PARAMS
            assert task.status != "cancelled"


async def test_a_task_is_the_makers_for_as_long_as_he_may_call_its_tool() -> None:
    mcp, _ = server("one")
    policies = 'permit(principal, action == Action::"tools/call", resource == Tool::"ns/s/{tool}");'
    async with ServedMCP(mcp) as served:

        def made(tool: str) -> ProxyConfig:
            authorization = {"policies": policies.replace("{tool}", tool)}
            return make_config({"s": served.url}, auth=AUTH, authorization=authorization)

        async with running_gateway(made("work"), SECRETS) as running:
            ann = Caller(running, who="ann")
            task = (await ann.call("s_work"))["taskId"]
            assert (await ann.task("tasks/get", task))["taskId"] == task
            assert await running.proxy.apply(made("other"), SECRETS)
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                with pytest.raises(MCPError, match="Unknown task"):
                    await ann.task(method, task)
            assert await running.proxy.apply(made("work"), SECRETS)
            assert (await ann.task("tasks/get", task))["taskId"] == task


def told(said: list[dict[str, Any]]) -> list[tuple[str, str]]:
    tasks = [note["params"] for note in said if note.get("method") == "notifications/tasks"]
    return [(task["taskId"], task["status"]) for task in tasks]


async def test_the_status_of_tasks_is_told_to_their_maker() -> None:
    mcp, tasks = server("one")
    async with ServedMCP(mcp) as served:
        async with running_gateway(make_config({"s": served.url}, auth=AUTH), SECRETS) as running:
            ann, bob = Caller(running, who="ann"), Caller(running, who="bob")
            made = (await ann.call("s_work"))["taskId"]
            other = (await bob.call("s_work"))["taskId"]
            (own, _) = tasks.tasks.values()
            await eventually(lambda: own.status == "input_required")
            async with ann.listening(made, "x") as one, bob.listening(made, other, own.id) as two:
                await eventually(lambda: one and two)
                assert one[0]["params"]["notifications"] == {"toolsListChanged": True, "taskIds": [made]}
                assert two[0]["params"]["notifications"] == {"toolsListChanged": True, "taskIds": [other]}
                await ann.task("tasks/update", made, inputResponses={"q": "yes"})
                await eventually(lambda: told(one))
                assert told(one) == [(made, "completed")]
                note = one[-1]["params"]
                assert note["result"]["content"][0]["text"] == "one heard yes"
                assert note["ttlMs"] is None
                assert note["_meta"] == {"io.modelcontextprotocol/subscriptionId": "l-1"}
                await bob.task("tasks/cancel", other)
                await eventually(lambda: told(two))
                assert told(two) == [(other, "cancelled")]
                assert len(told(one)) == 1
                watchers = [task.watchers for task in tasks.tasks.values()]
                assert all(watchers)
            await eventually(
                lambda: not any(watchers)
            )  # the streams to the server have ended with those of the clients


async def test_a_lost_stream_of_a_server_is_opened_again_and_a_swap_ends_it() -> None:
    mcp, tasks = server("one")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"s": served.url})) as running:
        caller = Caller(running)
        made = (await caller.call("s_work"))["taskId"]
        (task,) = tasks.tasks.values()
        await eventually(lambda: task.status == "input_required")
        async with caller.listening(made) as said:
            await eventually(lambda: len(task.watchers) == 1)
            (first,) = task.watchers
            first({})
            await eventually(lambda: len(task.watchers) == 1 and first not in task.watchers)
            (second,) = task.watchers
            await running.proxy.apply(make_config({"s": f"{served.url}/"}))
            await eventually(lambda: len(task.watchers) == 1 and second not in task.watchers)
            await caller.task("tasks/update", made, inputResponses={"q": "yes"})
            await eventually(lambda: told(said))
            assert told(said) == [(made, "completed")]
            await running.proxy.apply(make_config({"other": served.url}))
            await eventually(lambda: not task.watchers)


async def test_a_server_that_tells_of_no_tasks() -> None:
    mcp, tasks = server("one")
    mcp._mcp_server._request_handlers.pop("subscriptions/listen")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"s": served.url})) as running:
        caller = Caller(running)
        made = (await caller.call("s_work"))["taskId"]
        async with caller.listening(made) as said:
            await eventually(lambda: said)
            assert said[0]["params"]["notifications"] == {"toolsListChanged": True}
        async with Caller(running, tasks=False).listening(made) as said:
            await eventually(lambda: said)
            assert said[0]["error"]["code"] == MISSING_REQUIRED_CLIENT_CAPABILITY
        assert len(tasks.tasks) == 1


async def test_who_does_not_declare_tasks_gets_none() -> None:
    mcp, tasks = server("one")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"s": served.url})) as running:
        plain = Caller(running, tasks=False)
        assert (await plain.call("s_work"))["content"][0]["text"] == "one at once"
        made = await Caller(running).call("s_work")
        with pytest.raises(MCPError) as caught:
            await plain.task("tasks/get", made["taskId"])
        assert caught.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY
        for name in ("x", None):
            with pytest.raises(MCPError) as caught:
                await Caller(running).ask("tasks/get", name, taskId=made["taskId"])
            assert caught.value.code == HEADER_MISMATCH
        assert len(tasks.tasks) == 1


async def test_a_route_without_tasks_knows_none() -> None:
    async with ServedMCP(FastMCP("plain")) as served, running_gateway(make_config({"s": served.url})) as running:
        with pytest.raises(MCPError) as caught:
            await Caller(running).task("tasks/get", "x")
        assert caught.value.code == METHOD_NOT_FOUND
        declared = await Caller(running).ask("server/discover", None)
        assert TASKS not in declared["capabilities"].get("extensions", {})


def tokens(keys: Keys | None = None, route: str = "/mcp") -> TaskTokens:
    held = keys or Keys((b"a signing key of 24 byte",))
    return TaskTokens(lambda: held, route)


def test_tokens() -> None:
    made = tokens().seal("ns/a", "task-1", ANN)
    assert tokens().open(made, ANN) == ("ns/a", "task-1", "")  # of another process with the same keys
    assert made.isascii()
    assert "task-1" not in made
    for other in (BOB, None, Principal("")):
        assert tokens().open(made, other) is None
    assert tokens(route="/other").open(made, ANN) is None
    assert tokens(Keys.random()).open(made, ANN) is None
    assert tokens().open(tokens().seal("ns/a", "task-1", None, "work"), None) == ("ns/a", "task-1", "work")


@pytest.mark.parametrize("text", ["", "x", "é", "A" * (MAX_LENGTH + 1)])
def test_what_is_no_token(text: str) -> None:
    assert tokens().open(text, ANN) is None


def test_an_altered_token() -> None:
    made = tokens().seal("ns/a", "task-1", ANN)
    for at in range(0, len(made), 7):
        assert tokens().open(made[:at] + ("A" if made[at] != "A" else "B") + made[at + 1 :], ANN) is None


def test_what_the_library_is_relied_on_for() -> None:
    """The header of a task's id comes from this attribute of the SDK's requests; the codec's tokens are URL-safe."""
    assert _TaskRequest.name_param == "taskId"
    assert hasattr(AESGCMRequestStateCodec, "seal")
