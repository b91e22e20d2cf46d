"""The same requests to a proxy with the lane and to one without: a client can't tell them apart."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from mcp_operator_proxy.backends.backend import Backend
from support.backends import ServedApp
from support.gateway import Gateway, make_config, running_gateway
from support.rawclient import Answer, Front, RawClient, raw_client
from support.scripted import Scripted

Back = Literal["legacy", "modern"]
ERAS: list[tuple[Front, Back]] = [(front, back) for front in ("legacy", "modern") for back in ("legacy", "modern")]
TAKEN = "mcp_proxy_fast_lane_requests_total"
PLAIN = (
    "text", "empty", "structured", "odd_structured", "image", "audio", "link", "failed", "meta", "extra", "broken",
    "no_result", "refused", "web_page", "overloaded", "bare_404", "escaped", "read_only", "headed", "compressed",
)  # fmt: skip


@dataclass
class Pair:
    """Two proxies, alike but for the lane, and the server behind each."""

    lane: RawClient
    full: RawClient
    gateway: Gateway
    scripted: tuple[Scripted, Scripted]

    def taken(self, outcome: str = "answered") -> float:
        found = self.gateway.proxy.metrics.registry.get_sample_value(TAKEN, {"outcome": outcome})
        return found or 0.0

    async def both(self, method: str, params: dict[str, Any], meta: dict[str, Any] | None = None) -> Answer:
        """Ask both, and return what the lane's says, which is what the other says."""
        asked = self.lane.request(method, params, meta, request_id="r-1")
        answers = [await one.post(*asked) for one in (self.lane, self.full)]
        assert _seen(answers[0]) == _seen(answers[1])
        return answers[0]


def _seen(answer: Answer) -> tuple[int, Any, list[Any]]:
    return answer.status, answer.message, sorted(answer.notes, key=json.dumps)


@contextlib.asynccontextmanager
async def pair(
    front: Front,
    back: Back,
    *,
    prefix: str = "a",
    secrets: dict[str, str] | None = None,
    answers: Mapping[str, tuple[int, str, str | bytes]] | None = None,
    **config: Any,
) -> AsyncIterator[Pair]:
    async with contextlib.AsyncExitStack() as stack:
        scripted = Scripted(back), Scripted(back)
        gateways = []
        headers = {"authorization": "Bearer 0123456789abcdef"} if secrets else {}
        for one in scripted:
            one.answers.update(answers or {})
            served = await stack.enter_async_context(ServedApp(one.app))
            made = make_config({"a": served.url}, prefixes={"a": prefix}, **config)
            gateway = await stack.enter_async_context(running_gateway(made, secrets))
            gateways.append(gateway)
        gateways[1].proxy.lane.enabled = False
        clients = [await stack.enter_async_context(raw_client(g.url, front, headers=headers)) for g in gateways]
        found = Pair(clients[0], clients[1], gateways[0], scripted)
        await found.both("tools/call", {"name": f"{prefix}_text" if prefix else "text"})  # a legacy session is open now
        yield found


@pytest.mark.parametrize(("front", "back"), ERAS)
async def test_calls_are_answered_alike(front: Front, back: Back) -> None:
    async with pair(front, back) as both:
        for tool in PLAIN:
            before = both.taken() + both.taken("handed_over")
            await both.both("tools/call", {"name": f"a_{tool}", "arguments": {"é": [1, {"b": None}]}})
            expected = not (front == "modern" and back == "legacy") and tool != "headed"
            assert both.taken() + both.taken("handed_over") - before == expected, tool
        sent = [[call.params for call in scripted.calls] for scripted in both.scripted]
        if back == "legacy":
            assert sent[0] == sent[1]
        for mine, theirs in zip(both.scripted[0].calls, both.scripted[1].calls, strict=True):
            for name in ("mcp-method", "mcp-name", "mcp-protocol-version", "content-type"):
                assert mine.headers.get(name) == theirs.headers.get(name)
            assert ("mcp-session-id" in mine.headers) == ("mcp-session-id" in theirs.headers)
            assert {k: v for k, v in mine.params.items() if k != "_meta"} == {
                k: v for k, v in theirs.params.items() if k != "_meta"
            }
            own = {k: v for k, v in mine.params.get("_meta", {}).items() if k != "progressToken"}
            assert own == {k: v for k, v in theirs.params.get("_meta", {}).items() if k != "progressToken"}


@pytest.mark.parametrize(("front", "back"), ERAS)
async def test_the_other_methods_are_answered_alike(front: Front, back: Back) -> None:
    async with pair(front, back) as both:
        for method, params in (
            ("resources/read", {"uri": "data://a/one"}),
            ("resources/read", {"uri": "data://nobody/one"}),
            ("prompts/get", {"name": "a_hello"}),
            ("prompts/get", {"name": "nobody"}),
            ("tools/call", {"name": "nobody"}),
            ("tools/call", {"name": "a_text", "arguments": [1]}),
            ("tools/call", {"name": "a_text", "task": {}}),
            ("tools/list", {}),
            ("tools/list", {"cursor": "x"}),
            ("prompts/list", {}),
            ("resources/list", {}),
            ("resources/templates/list", {}),
        ):
            await both.both(method, params)
        lists = [sent.body.get("method") for sent in both.scripted[0].others].count("tools/list")
        before = both.taken()
        await both.both("tools/list", {})
        assert both.taken() == before + 1
        assert [sent.body.get("method") for sent in both.scripted[0].others].count("tools/list") == lists


async def test_pages_of_lists_are_alike() -> None:
    async with pair("legacy", "legacy", routes=_paged()) as both:
        cursor: dict[str, Any] = {}
        pages = 0
        while True:
            answer = await both.both("tools/list", cursor)
            assert answer.message is not None
            pages += 1
            following = answer.message["result"].get("nextCursor")
            if following is None:
                break
            cursor = {"cursor": following}
        assert pages > 3
        assert both.taken() >= pages


async def test_only_pages_that_follow_each_other_are_kept() -> None:
    async with pair("legacy", "legacy", routes=_paged()) as both:
        first = await both.both("tools/list", {})
        assert first.message is not None
        following = first.message["result"]["nextCursor"]
        await both.both("tools/list", {"cursor": following})
        kept = both.gateway.proxy.lane._routes[b"/mcp"].lists._pages
        assert [cursor for _, _, cursor in kept] == ["", following]
        for name in ("a_text", "a_empty", "a_image"):
            cursor = base64.urlsafe_b64encode(f"1{name}".encode()).rstrip(b"=").decode()
            answer = await both.both("tools/list", {"cursor": cursor})
            assert answer.message is not None
            assert "result" in answer.message
            answer = await both.both("tools/list", {"cursor": f"!{cursor}"})
            assert answer.message is not None
            assert answer.message["error"]["code"] == -32602
        assert len(kept) == 2


def _paged() -> list[dict[str, Any]]:
    servers = [{"server": "ns/a", "prefix": "a"}]
    return [{"name": "McpProxy/ns/tools", "path": "/mcp", "servers": servers, "pageSize": 7}]


@pytest.mark.parametrize(("front", "back"), ERAS)
async def test_meta_goes_the_same_way(front: Front, back: Back) -> None:
    async with pair(front, back) as both:
        for scripted in both.scripted:
            scripted.go.set()
        for meta in ({"x.example/a": {"b": 1}}, {"progressToken": "t"}, {"progressToken": 7, "x.example/a": "é"}):
            await both.both("tools/call", {"name": "a_progress"}, meta)
            mine, theirs = (s.calls[-1].params.get("_meta", {}) for s in both.scripted)
            assert set(mine) == set(theirs)
            assert mine.get("x.example/a") == theirs.get("x.example/a")


async def test_a_modern_log_level_goes_the_same_way() -> None:
    async with pair("modern", "modern") as both:
        for scripted in both.scripted:
            scripted.go.set()
        level = "io.modelcontextprotocol/logLevel"
        heard = await both.both("tools/call", {"name": "a_progress"}, {level: "info"})
        assert [note["method"] for note in heard.notes] == ["notifications/message"]
        assert (await both.both("tools/call", {"name": "a_progress"}, {level: "error"})).notes == []
        assert (await both.both("tools/call", {"name": "a_progress"})).notes == []


WRONG: list[tuple[str, bytes | dict[str, Any], dict[str, str]]] = [
    ("not JSON", b"{", {}),
    (
        "not UTF-8",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_text","arguments":{"a":"\xff"}}}',
        {},
    ),
    ("a batch", b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', {}),
    ("no version", b'{"id":1,"method":"tools/list"}', {}),
    ("null id", b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}', {}),
    ("an id that is an object", b'{"jsonrpc":"2.0","id":{},"method":"tools/list"}', {}),
    ("no params", {"id": 1, "method": "tools/call"}, {}),
    ("a name that is a number", {"id": 1, "method": "tools/call", "params": {"name": 1}}, {}),
    ("a response", {"id": 1, "result": {}}, {}),
    ("unknown method", {"id": 1, "method": "tools/none", "params": {}}, {}),
    ("wrong content type", {"id": 1, "method": "tools/list"}, {"content-type": "text/plain"}),
    ("does not accept events", {"id": 1, "method": "tools/list"}, {"accept": "application/json"}),
    ("an evil origin", {"id": 1, "method": "tools/list"}, {"origin": "https://evil.example"}),
    ("an unknown session", {"id": 1, "method": "tools/list"}, {"mcp-session-id": "nobody"}),
    ("an unknown version", {"id": 1, "method": "tools/list"}, {"mcp-protocol-version": "1999-01-01"}),
]


NESTED = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_text","arguments":{"a":%s}}}'
WRONG += [
    ("nested too deeply", (NESTED % ("[" * 250 + "]" * 250)).encode(), {}),
    ("an id of too many digits", b'{"jsonrpc":"2.0","id":%b,"method":"tools/list"}' % (b"9" * 5000), {}),
    (
        "a prompt's argument that is a number",
        {"id": 1, "method": "prompts/get", "params": {"name": "a_hello", "arguments": {"a": 1}}},
        {},
    ),
]


async def test_what_is_wrong_is_refused_alike() -> None:
    async with pair("legacy", "legacy") as both:
        taken = both.taken()
        for what, body, headers in WRONG:
            answers = [await one.post(body, headers) for one in (both.lane, both.full)]
            assert _seen(answers[0]) == _seen(answers[1]), what
            assert both.taken() == taken, what


async def test_modern_headers_have_to_agree_with_the_body() -> None:
    async with pair("modern", "modern") as both:
        body, own = both.lane.request("tools/call", {"name": "a_text"}, None, request_id=1)
        taken = both.taken()
        for headers in (
            {"mcp-name": "a_other"},
            {"mcp-method": "tools/list"},
            {"mcp-name": ""},
            {"mcp-protocol-version": "2026-07-29"},
            {"mcp-name": "=?base64?AAAA?="},
        ):
            answers = [await one.post(body, {**own, **headers}) for one in (both.lane, both.full)]
            assert _seen(answers[0]) == _seen(answers[1])
            assert answers[0].status == 400
            assert both.taken() == taken


async def test_callers_are_told_apart() -> None:
    secrets = {"ann": "0123456789abcdef", "ben": "fedcba9876543210"}
    keys = [{"name": name, "secret": {"file": name}} for name in secrets]
    async with pair("legacy", "legacy", secrets=secrets, auth={"apiKeys": keys}) as both:
        for key, status in (("fedcba9876543210", 404), ("nobody-has-this-key", 401), ("0123456789abcdef", 200)):
            body, _ = both.lane.request("tools/call", {"name": "a_text"}, None, request_id=1)
            headers = {"authorization": f"Bearer {key}"}
            answers = [await one.post(body, headers) for one in (both.lane, both.full)]
            assert _seen(answers[0]) == _seen(answers[1])
            assert answers[0].status == status
        assert both.taken() == 1
        assert all("authorization" not in call.headers for call in both.scripted[0].calls)


JSON, EVENTS = "application/json", "text/event-stream"
ANSWER = '{"jsonrpc":"2.0","id":ID,"result":{"resultType":"complete","content":[{"type":"text","text":"x"}]}}'
ERROR = '{"jsonrpc":"2.0","id":ID,"error":%s}'
LOG = 'data: {"jsonrpc":"2.0","method":"notifications/message","params":%s}\n\ndata: ' + ANSWER + "\n\n"
PROGRESS = (
    'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":TOKEN,"progress":%s}}'
    "\n\ndata: " + ANSWER + "\n\n"
)
ODD: dict[str, tuple[int, str, str | bytes]] = {
    "no UTF-8 in the text": (200, JSON, ANSWER.encode().replace(b'"x"', b'"\xff"')),
    "no UTF-8 elsewhere": (
        200,
        JSON,
        ANSWER.encode().replace(b'"content"', b'"structuredContent":{"a":"\xff"},"content"'),
    ),
    "no UTF-8 in an error": (
        200,
        JSON,
        (ERROR % '{"code":1,"message":"a","data":"Z"}').encode().replace(b"Z", b"\xff"),
    ),
    "no UTF-8 in an event": (200, EVENTS, b"data: " + ANSWER.encode().replace(b'"x"', b'"\xff"') + b"\n\n"),
    "no version": (200, JSON, ANSWER.replace('"jsonrpc":"2.0",', "")),
    "another version": (200, JSON, ANSWER.replace("2.0", "1.0")),
    "an id as a string": (200, EVENTS, "data: " + ANSWER.replace("ID", '"ID"') + "\n\n"),
    "a result that is a list": (200, JSON, '{"jsonrpc":"2.0","id":ID,"result":[]}'),
    "a result that is null": (200, JSON, '{"jsonrpc":"2.0","id":ID,"result":null}'),
    "an error with more members": (200, JSON, ERROR % '{"code":7,"message":"m","data":{"a":[1]},"more":1}'),
    "an error with a null": (200, JSON, ERROR % '{"code":7,"message":"m","data":null}'),
    "an error of another shape": (400, JSON, ERROR % '"m"'),
    "status 201": (201, JSON, ANSWER),
    "an empty meta": (200, JSON, ANSWER.replace('"content"', '"_meta":{},"content"')),
    "an event of another name": (200, EVENTS, f"event: x\ndata: {ANSWER.replace('x', 'y')}\n\ndata: {ANSWER}\n\n"),
    "an event that is no JSON": (200, EVENTS, f"data: x\n\ndata: {ANSWER}\n\n"),
    "an answer to something else": (200, EVENTS, f"data: {ANSWER.replace('ID', '999')}\n\ndata: {ANSWER}\n\n"),
    "a log message without data": (200, EVENTS, LOG % '{"level":"info"}'),
    "a log message": (200, EVENTS, LOG % '{"level":"info","data":"w"}'),
    "progress": (200, EVENTS, PROGRESS % "1"),
    "progress that is none": (200, EVENTS, PROGRESS % '"1"'),
}


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_odd_answers_are_understood_alike(era: Front) -> None:
    answers = ODD if era == "modern" else {k: _legacy(v) for k, v in ODD.items()}
    async with pair(era, era, answers=answers) as both:
        for tool in answers:
            taken, known = both.taken(), {"io.modelcontextprotocol/logLevel": "debug"} if era == "modern" else {}
            token = {"progressToken": 'é<"'} if era == "modern" else {}
            await both.both("tools/call", {"name": f"a_{tool}"}, {**token, **known})
            assert both.taken() == taken + 1, tool
        assert {s.gate.report().in_flight for s in _backends(both.gateway)} == {0}


def _legacy(answer: tuple[int, str, str | bytes]) -> tuple[int, str, str | bytes]:
    status, kind, body = answer
    whole = body if isinstance(body, bytes) else body.encode()
    return status, kind, whole.replace(b'"resultType":"complete",', b"")


def _backends(gateway: Gateway) -> list[Backend]:
    state = gateway.proxy.state
    assert state is not None
    return list(state.backends.values())
