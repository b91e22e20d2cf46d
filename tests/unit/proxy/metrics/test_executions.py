"""`mcp_tool_executions_total` and its histogram: each call once, by how it ended, whichever way it came."""

import asyncio
import json
from typing import Any, get_args

import pytest

from mcp_operator_proxy.usage import STATUSES, Status
from support.backends import eventually
from support.rawclient import Front
from support.scraped import scraped

from .calling import EXECUTIONS, SECONDS, WAYS, calling

PERMIT = "permit (principal, action, resource);"


def test_the_list_of_statuses_is_one() -> None:
    assert get_args(Status) == STATUSES


@WAYS
async def test_each_way_that_a_call_can_end(front: Front, lane: bool) -> None:
    short = {"tools": [{"name": "hold", "callTimeoutSeconds": 0.2}, {"name": "progress", "callTimeoutSeconds": 100}]}
    async with calling(front, lane=lane, server=short) as through:
        before = (await scraped(through.gateway)).value("mcp_proxy_fast_lane_requests_total", outcome="answered")
        for tool, status in {
            "text": "ok",
            "failed": "tool_error",
            "refused": "error",
            "web_page": "error",
            "overloaded": "error",
            "broken": "error",
            "die": "error",
            "hold": "timeout",
        }.items():
            await through.raw.call(f"a_{tool}")
            await through.ended(tool, status)
        await through.raw.call("a_text")
        found = await through.ended("text", "ok", 2)
        assert (found.value("mcp_proxy_fast_lane_requests_total", outcome="answered") > before) == lane
        assert found.by(EXECUTIONS, "tool_id").keys() == {
            f"a.{tool}" for tool in ("text", "failed", "refused", "web_page", "overloaded", "broken", "die", "hold")
        }


@pytest.mark.parametrize(("front", "lane"), [("legacy", True), ("modern", True), ("modern", False)])
async def test_whoever_goes_away_has_cancelled(front: Front, lane: bool) -> None:
    async with calling(front, lane=lane) as through:
        await through.raw.call("a_text")  # a legacy session with the server is open now
        call = asyncio.ensure_future(through.raw.call("a_hold"))
        await eventually(lambda: len(through.scripted.calls) == 2)
        call.cancel()
        await through.ended("hold", "cancelled")


@pytest.mark.parametrize("lane", [True, False])
async def test_a_call_that_is_cancelled_by_a_notification(lane: bool) -> None:
    async with calling("legacy", lane=lane) as through:
        await through.raw.call("a_text")
        body, headers = through.raw.request("tools/call", {"name": "a_hold", "arguments": {}}, request_id=77)
        call = asyncio.ensure_future(through.raw.post(body, headers))
        await eventually(lambda: len(through.scripted.calls) == 2)
        await through.raw.post({"method": "notifications/cancelled", "params": {"requestId": 77}})
        await through.ended("hold", "cancelled")
        call.cancel()


async def test_what_asks_its_user_is_not_at_its_end() -> None:
    async with calling("modern", lane=True) as through:
        through.raw.capabilities = {"elicitation": {"form": {}}}
        asked = (await through.raw.call("a_asks")).message
        assert asked is not None
        await through.ended("asks", "unfinished")
        params = {"name": "a_asks", "arguments": {}, "requestState": asked["result"]["requestState"]}
        await through.raw.ask("tools/call", {**params, "inputResponses": {"q": {"action": "decline"}}})
        found = await scraped(through.gateway)
        assert found.by(EXECUTIONS, "status", tool_id="a.asks") == {"unfinished": 1, "ok": 1}
        assert found.value(SECONDS, tool_id="a.asks") == 1


@WAYS
async def test_names_that_are_no_tools_are_no_labels(front: Front, lane: bool) -> None:
    async with calling(front, lane=lane) as through:
        for number in range(20):
            await through.raw.call(f"a_{number}-{'x' * 50 * number}")
        await through.raw.call("a_text")
        found = await through.ended("text", "ok")
        assert found.by(EXECUTIONS, "tool_id") == {"a.text": 1}


async def test_limits_and_policies() -> None:
    key = "0123456789abcdef"
    more: dict[str, Any] = {
        "auth": {"apiKeys": [{"name": "app", "secret": {"file": "key"}}]},
        "authorization": {"policies": f'{PERMIT} forbid (principal, action, resource == Tool::"ns/a/failed");'},
        "rateLimits": [{"name": "few", "limit": "1/hour", "tools": "text"}],
        "rest": {},
    }
    async with calling("modern", lane=True, secrets={"key": key}, **more) as through:
        for tool in ("text", "text", "failed"):
            await through.raw.call(f"a_{tool}")
        body = {"tool_id": "a.failed", "parameters": {}}
        headers = {"authorization": f"Bearer {key}"}
        await through.gateway.http.post(f"{through.gateway.base}/tools/call", json=body, headers=headers)
        found = await scraped(through.gateway)
        assert found.by(EXECUTIONS, "status", tool_id="a.text") == {"ok": 1, "limited": 1}
        assert found.by(EXECUTIONS, "status", tool_id="a.failed") == {"denied": 2}
        assert found.value(SECONDS, tool_id="a.text") == 1
        assert json.dumps(key) not in str(found)
