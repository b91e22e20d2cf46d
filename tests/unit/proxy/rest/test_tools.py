"""`/tools` over HTTP, each way that a call can end."""

import asyncio
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.services.rest.outcomes import AWAY
from support.backends import HungServer, dead_port
from support.waiting import Eventually

from .backends import calculator
from .conftest import Rest, call, problem

SETTINGS: dict[str, Any] = {"server": {"category": "maths", "tools": [{"name": "div*", "category": "division"}]}}


async def test_lists_pages_and_filters(serving: Rest) -> None:
    async with (
        calculator() as one,
        calculator() as other,
        serving({"calc": one.url, "more": other.url}, **SETTINGS) as gateway,
    ):
        whole = (await gateway.get("/tools/list")).json()
        assert (whole["total"], whole["page"], whole["page_size"]) == (10, 1, 50)
        first = whole["tools"][0]
        assert set(first) == {"tool_id", "server_id", "name", "description", "parameters", "category"}
        assert (first["tool_id"], first["server_id"], first["name"]) == ("calc.add", "ns/calc", "calc_add")
        assert first["description"] == "The sum of two numbers."
        assert first["parameters"]["required"] == ["a"]
        ids = [tool["tool_id"] for tool in whole["tools"]]
        pages = [(await gateway.get(f"/tools/list?page={page}&page_size=4")).json()["tools"] for page in (1, 2, 3, 4)]
        assert [tool["tool_id"] for page in pages for tool in page] == ids
        assert [len(page) for page in pages] == [4, 4, 2, 0]

        async def found(query: str) -> list[str]:
            return [tool["tool_id"] for tool in (await gateway.get(f"/tools/list?{query}")).json()["tools"]]

        assert await found("server_id=more") == await found("server_id=ns/more") == ids[5:]
        assert await found("category=division") == ["calc.divide", "more.divide"]
        assert await found("search=QUOTIENT+numbers&server_id=calc") == ["calc.divide"]
        assert await found("search=nothing+of+the+kind") == []
        assert (await gateway.get("/tools/calc.divide")).json() == whole["tools"][1]
        hits = (await gateway.get("/tools/search?q=quotient&limit=2")).json()
        assert hits["query"] == "quotient"
        assert {hit["tool_id"] for hit in hits["tools"]} == {"calc.divide", "more.divide"}


@pytest.mark.parametrize(
    ("path", "name", "parameter"),
    [
        ("/tools/list?page=0", "invalid-request", "page"),
        ("/tools/list?page=x", "invalid-request", "page"),
        ("/tools/list?page_size=1001", "invalid-request", "page_size"),
        ("/tools/search", "invalid-request", "q"),
        ("/tools/search?q=x&limit=0", "invalid-request", "limit"),
        ("/tools/list?server_id=nobody", "unknown-server", None),
        ("/tools/calc.gone", "unknown-tool", None),
        ("/tools", "not-found", None),
        ("/servers/nobody", "unknown-server", None),
    ],
)
async def test_bad_questions(serving: Rest, path: str, name: str, parameter: str | None) -> None:
    async with serving({}) as gateway:
        body = problem(await gateway.get(path), name)
        assert [error["parameter"] for error in body.get("errors", [])] == ([parameter] if parameter else [])


async def test_each_way_that_a_call_ends(serving: Rest) -> None:
    settings = {"tools": [{"name": "slow", "callTimeoutSeconds": 0.2}]}
    async with calculator() as served, serving({"calc": served.url}, server=settings) as gateway:
        answer = await call(gateway, "calc.add", {"a": 2, "b": 3})
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"success", "result", "execution_time_ms", "tool_id", "timestamp"}
        assert (body["success"], body["tool_id"]) == (True, "calc.add")
        assert body["result"]["structuredContent"] == {"result": 5}
        assert body["execution_time_ms"] > 0

        failed = await call(gateway, "calc.divide", {"a": 1, "b": 0})
        assert failed.status_code == 200
        assert failed.json()["success"] is False
        assert "division by zero" in failed.json()["result"]["content"][0]["text"]

        unknown = problem(await call(gateway, "calc.gone"), "unknown-tool")
        assert unknown["tool_id"] == "calc.gone"

        wrong = problem(await call(gateway, "calc.add", {"b": "hunter2", "c": 1}), "bad-parameters")
        assert {(error["pointer"], error["detail"]) for error in wrong["errors"]} == {
            ("#/parameters/b", "must be of type integer"),
            ("#/parameters/a", "is required"),
            ("#/parameters/c", "unknown property"),
        }
        assert "hunter2" not in str(wrong)

        late = problem(await call(gateway, "calc.slow"), "tool-timeout")
        assert "0.2 s" in late["detail"]
        problem(await call(gateway, "calc.asks"), "input-required")
        refused = problem(await call(gateway, "calc.refuses"), "server-error")
        assert (refused["code"], refused["detail"]) == (-32050, "not today")

        usage = gateway.proxy.usage.of("ns/calc", "divide")
        assert (usage.calls, usage.errors) == (1, 1)
        assert (
            await gateway.metric('mcp_proxy_requests_total{method="tools/call",route="/mcp",status="tool_error"}') == 1
        )
        assert await gateway.metric('mcp_proxy_requests_total{method="tools/call",route="/mcp",status="ok"}') == 1


async def test_a_dead_server_is_told_from_one_that_gives_no_proper_answer(
    serving: Rest, eventually: Eventually
) -> None:
    async with calculator() as served, serving({"calc": served.url}) as gateway:
        assert (await call(gateway, "calc.add", {"a": 2})).status_code == 200
        await served.stop()
        dead = problem(await call(gateway, "calc.add", {"a": 2}), "server-unavailable")
        assert dead["server_id"] == "ns/calc"
        assert dead["executed"] is False
        assert dead["error_class"] in AWAY
        await served.start()

        async def again() -> bool:
            return (await call(gateway, "calc.add", {"a": 2})).status_code == 200

        await eventually(again)


async def test_a_server_that_breaks_off_in_the_middle_of_a_call(serving: Rest, eventually: Eventually) -> None:
    async with calculator() as served, serving({"calc": served.url}) as gateway:
        calling = asyncio.create_task(call(gateway, "calc.slow"))
        await eventually(lambda: gateway.proxy.state is not None and gateway.proxy.state.backends["ns/calc"].gate.busy)
        await eventually(lambda: "tools/call" in served.methods)
        served.cut()
        broken = problem(await calling, "bad-server-answer")
        assert broken["error_class"] == "ConnectionReset"
        assert "executed" not in broken


async def test_a_server_that_was_never_reached(serving: Rest) -> None:
    async with HungServer() as hung:
        gone = f"http://127.0.0.1:{dead_port()}/mcp"
        for name, url, seconds, kind in (("hung", hung.url, 0.3, "Timeout"), ("gone", gone, 30, "ConnectionRefused")):
            async with serving({name: url}, server={"connectTimeoutSeconds": seconds}) as gateway:
                body = problem(await call(gateway, f"{name}.add", {"a": 1}), "server-unavailable")
                assert (body["server_id"], body["error_class"], body["executed"]) == (f"ns/{name}", kind, False)
                assert body["retry_after"] >= 1


async def test_the_default_timeout_is_that_of_the_interface(serving: Rest) -> None:
    async with calculator() as served, serving({"calc": served.url}, rest={"toolTimeoutSeconds": 0.2}) as gateway:
        assert "0.2 s" in problem(await call(gateway, "calc.slow"), "tool-timeout")["detail"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"{", "malformed"),
        (b"[" * 200, "malformed"),
        (b'{"tool_id": "calc.add", "parameters": ' + b'{"a":' * 200 + b"1" + b"}" * 201, "malformed"),
        (b'{"tool_id": "' + b"x" * 2000 + b'"}', "invalid-request"),
        (b'{"parameters": {}}', "invalid-request"),
        (b'{"tool_id": "calc.add", "parameters": []}', "invalid-request"),
        (b'{"tool_id": "calc.add", "extra": 1}', "invalid-request"),
        (b'{"tool_id": "calc.add", "user_id": "a/b"}', "invalid-request"),
        (b"[]", "invalid-request"),
        (b'{"tool_id": "calc.add", "parameters": {"a": "' + b"x" * 2000 + b'"}}', "too-large"),
    ],
)
async def test_bad_bodies(serving: Rest, content: bytes, name: str) -> None:
    small = {"maxBytes": 2020 if name == "invalid-request" else 2000}
    async with serving({}, limits=small if name != "malformed" else {}) as gateway:
        headers = {"content-type": "application/json"}
        problem(await gateway.http.post(f"{gateway.base}/tools/call", content=content, headers=headers), name)


async def test_brackets_within_text_are_not_levels(serving: Rest) -> None:
    async with calculator() as served, serving({"calc": served.url}) as gateway:
        body = problem(await call(gateway, "calc.add", {"a": '"[{\\' * 300}), "bad-parameters")
        assert body["errors"][0]["pointer"] == "#/parameters/a"


async def test_methods_and_paths(serving: Rest) -> None:
    async with serving({}) as gateway:
        answer = await gateway.http.put(f"{gateway.base}/tools/list")
        problem(answer, "method-not-allowed")
        assert answer.headers["allow"] == "GET"
        assert (await gateway.get("/tools/list/")).status_code == 200


async def test_a_read_only_tool_is_called_again_when_its_session_was_forgotten(serving: Rest) -> None:
    async with calculator(era="legacy") as served, serving({"calc": served.url}) as gateway:
        assert (await call(gateway, "calc.add", {"a": 2})).json()["success"]
        await served.stop()
        await served.start()
        answers = [await call(gateway, "calc.add", {"a": 2}) for _ in range(2)]
        assert answers[-1].status_code == 200, answers[-1].text


async def test_many_calls_at_once(serving: Rest) -> None:
    async with calculator() as served, serving({"calc": served.url}) as gateway:
        answers: list[httpx2.Response] = await asyncio.gather(
            *(call(gateway, "calc.add", {"a": n, "b": n}) for n in range(30))
        )
        assert [a.json()["result"]["structuredContent"]["result"] for a in answers] == [2 * n for n in range(30)]
