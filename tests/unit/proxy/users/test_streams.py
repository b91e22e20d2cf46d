"""What lasts longer than a call - subscriptions, listen streams, tasks - at servers of which each user has an instance."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp_types import (
    INVALID_PARAMS,
    NotificationParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

from mcp_operator_proxy.tasks import cancel
from support.backends import Ears, ServedMCP, eventually
from support.gateway import Gateway, running_gateway
from support.modern import VERSION, ModernClient
from support.personal import Personal, shown
from support.subscribable import Subscribable
from support.taskserver import TASKS, Task, Tasks

from .setting import configured, connected, key_of, keys, modern, signed_in

# Subscribing went out of the protocol with its older eras, and so of the library.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
BACKS = pytest.mark.parametrize("back", ["legacy", "both"])
NOTE = "note://p/mine"
UPDATED = "notifications/resources/updated"
PEOPLE = ("ann", "bob")


def token_of(ctx: Any) -> str:
    return str(ctx.request.headers.get("authorization", "")).removeprefix("Bearer ")


class Events:
    """Of each credential its own subscriptions and its own changes."""

    def __init__(self, mcp: FastMCP[Any]) -> None:
        self.of: defaultdict[str, Subscribable] = defaultdict(lambda: Subscribable(FastMCP("nobody's")))
        server = mcp._mcp_server
        for method, params, name in (
            ("resources/subscribe", SubscribeRequestParams, "_subscribe"),
            ("resources/unsubscribe", UnsubscribeRequestParams, "_unsubscribe"),
            ("subscriptions/listen", SubscriptionsListenRequestParams, "_listen"),
        ):
            server.add_request_handler(method, params, self._handler(name))
        server.add_notification_handler("notifications/initialized", NotificationParams, self._handler("_initialized"))

    def _handler(self, name: str) -> Any:
        async def handler(ctx: Any, params: Any) -> Any:
            return await getattr(self.of[token_of(ctx)], name)(ctx, params)

        return handler


@contextlib.asynccontextmanager
async def gateway_with(mcp: FastMCP[Any], back: str = "both", **more: Any) -> AsyncIterator[Gateway]:
    async with ServedMCP(mcp, era=back) as served:
        config = configured({"p": served.url}, PEOPLE, **more)
        async with running_gateway(config, keys(PEOPLE)) as gateway:
            await signed_in(gateway, *PEOPLE)
            yield gateway


@contextlib.asynccontextmanager
async def listening(gateway: Gateway, name: str, **wanted: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """What comes on a listen stream of 2026-07-28; the first is the acknowledgement."""
    said: list[dict[str, Any]] = []
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
    }
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": VERSION}
    headers |= {"mcp-method": "subscriptions/listen", "x-api-key": key_of(name)}
    params = {"notifications": wanted, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": name, "method": "subscriptions/listen", "params": params}
    async with gateway.http.stream("POST", gateway.url, json=body, headers=headers) as response:

        async def read() -> None:
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                if data.startswith("{"):
                    said.append(json.loads(data))

        reading = asyncio.create_task(read())
        try:
            await eventually(lambda: said)
            yield said
        finally:
            await cancel([reading])


def updates(said: list[dict[str, Any]]) -> list[str]:
    return [note["params"]["uri"] for note in said if note.get("method") == UPDATED]


def changed(said: list[dict[str, Any]]) -> list[str]:
    return [note["method"].split("/")[1] for note in said if note.get("method", "").endswith("list_changed")]


@BACKS
async def test_updates_of_a_users_resource_are_told_to_that_user_alone(back: str) -> None:
    personal = Personal(["tok-ann", "tok-bob"])
    events = Events(personal.mcp)
    heard = {name: Ears() for name in PEOPLE}
    async with gateway_with(personal.mcp, back) as gateway, contextlib.AsyncExitStack() as stack:
        streams, sessions = {}, {}
        for name in PEOPLE:
            streams[name] = await stack.enter_async_context(
                listening(gateway, name, resourceSubscriptions=[NOTE], resourcesListChanged=True)
            )
            assert streams[name][0]["params"]["notifications"]["resourceSubscriptions"] == [NOTE]
            session = connected(gateway, name, "legacy", message_handler=heard[name])
            sessions[name] = await stack.enter_async_context(session)
            await sessions[name].session.subscribe_resource(NOTE)

        def told() -> dict[str, tuple[int, int]]:
            return {n: (len(updates(streams[n])), heard[n].heard.count(UPDATED)) for n in PEOPLE}

        for name, other in (
            ("ann", "bob"),
            ("bob", "ann"),
        ) * 2:  # what came late for the wrong one shows in the next round
            before = told()
            await events.of[f"tok-{name}"].updated("note://mine")
            await eventually(lambda n=name, b=before: all(new > old for new, old in zip(told()[n], b[n], strict=True)))
            assert told()[other] == before[other], f"{other} heard of {name}'s"
        assert set(events.of) == {"tok-ann", "tok-bob"}
        # One who unsubscribes ends nobody else's.
        await sessions["bob"].session.unsubscribe_resource(NOTE)
        before = told()
        await events.of["tok-ann"].updated("note://mine")
        await eventually(lambda: told()["ann"][1] > before["ann"][1])


@BACKS
async def test_a_changed_list_is_told_to_its_user_alone_on_listen_streams(back: str) -> None:
    personal = Personal(["tok-ann", "tok-bob"])
    events = Events(personal.mcp)
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    async with (
        gateway_with(personal.mcp, back) as gateway,
        modern(gateway, "ann") as ann,
        modern(gateway, "bob") as bob,
    ):
        for each in (ann, bob):
            await each.request("tools/list", {})
        async with listening(gateway, "ann", **wanted) as anns, listening(gateway, "bob", **wanted) as bobs:
            streams = {"ann": anns, "bob": bobs}
            for name, other in (("ann", "bob"), ("bob", "ann")) * 2:
                before = {n: changed(streams[n]) for n in PEOPLE}
                personal.hidden ^= {f"only_tok-{name}"}
                await events.of[f"tok-{name}"].tools_changed()
                await eventually(lambda n=name, b=before: len(changed(streams[n])) > len(b[n]))
                assert changed(streams[other]) == before[other], f"{other} heard of {name}'s"
                assert {*changed(streams[name])} == {"tools"}
            for name, through in (("ann", ann), ("bob", bob)):
                tools = {tool["name"] for tool in ((await through.request("tools/list", {})).result or {})["tools"]}
                assert {tool for tool in tools if "only_" in tool} == {f"p_only_tok-{name}"}


class PersonalTasks(Tasks):
    """Of each credential its own: another's is unknown, and equal ids are two."""

    def __init__(self) -> None:
        self.by_token: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        super().__init__()

    @property
    def tasks(self) -> dict[str, Task]:  # type: ignore[override]
        return self.by_token[shown()]

    @tasks.setter
    def tasks(self, _: dict[str, Task]) -> None:
        """There is nothing to begin with."""


async def asked_for(through: ModernClient, method: str, task_id: str, **more: Any) -> Any:
    return await through.request(method, {"taskId": task_id, **more})


async def test_a_users_task_is_that_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the users' servers give them the same id."""
    monkeypatch.setattr("support.taskserver.uuid", SimpleNamespace(uuid4=lambda: SimpleNamespace(hex="same")))
    mcp: FastMCP[Any] = FastMCP("tasks")
    tasks = PersonalTasks()
    mcp.add_extension(tasks)
    tasks.tell(mcp)

    @tasks.job(mcp, "work")
    async def work(arguments: Any, task: Task | None) -> str:
        assert task is not None
        answers = await task.ask({"q": {"method": "elicitation/create", "params": {"message": "?"}}})
        return f"heard {answers['q']}"

    takes = {"extensions": {TASKS: {}}}
    async with (
        gateway_with(mcp) as gateway,
        modern(gateway, "ann", takes) as ann,
        modern(gateway, "bob", takes) as bob,
    ):
        made = {}
        for name, through in (("ann", ann), ("bob", bob)):
            await through.request("tools/list", {})
            made[name] = ((await through.call("p_work")).result or {})["taskId"]
        (anns,), (bobs,) = tasks.by_token["tok-ann"].values(), tasks.by_token["tok-bob"].values()
        await eventually(lambda: anns.status == bobs.status == "input_required")
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            for task_id in (made["ann"], anns.id):
                answer = await asked_for(
                    bob, method, task_id, **({"inputResponses": {"q": "his"}} if "up" in method else {})
                )
                assert answer.error is not None
                assert (answer.error["code"], answer.error["message"]) == (INVALID_PARAMS, "Unknown task")
        async with (
            listening(gateway, "ann", taskIds=[made["ann"], made["bob"]]) as one,
            listening(gateway, "bob", taskIds=[made["ann"], anns.id, made["bob"]]) as two,
        ):
            assert one[0]["params"]["notifications"]["taskIds"] == [made["ann"]]
            assert two[0]["params"]["notifications"]["taskIds"] == [made["bob"]]
            assert (await asked_for(ann, "tasks/update", made["ann"], inputResponses={"q": "hers"})).error is None
            await eventually(lambda: "completed" in states(one))
            assert bobs.status == "input_required"
            assert (await asked_for(bob, "tasks/cancel", made["bob"])).error is None
            await eventually(lambda: "cancelled" in states(two))
            assert "hers" not in json.dumps(two)
            assert "cancelled" not in states(one)
        done = (await asked_for(ann, "tasks/get", made["ann"])).result
        assert done["result"]["content"][0]["text"] == "heard hers"
        assert (await asked_for(bob, "tasks/get", made["bob"])).result["status"] == "cancelled"


def states(said: list[dict[str, Any]]) -> list[str]:
    return [note["params"]["status"] for note in said if note.get("method") == "notifications/tasks"]
