import json

import pytest

from bench.backend import Backend, rendered
from bench.wire import FIRST_ID, event_data, problem, results, template


@pytest.mark.parametrize(
    ("status", "body", "wrong"),
    [
        (200, b'{"jsonrpc":"2.0","id":1000000,"result":{"content":[]}}', None),
        (200, b'{"jsonrpc":"2.0","id":1000000,"result":{"content":[],"isError":false}}', None),
        (200, b'event: message\r\ndata: {"jsonrpc":"2.0","id":1000000,"result":{}}\r\n\r\n', None),
        (200, b'id: 1\ndata:\n\ndata: {"method":"x"}\n\ndata: {"id":1000000,\ndata: "result":{}}\n\n', None),
        (500, b"broken", "status 500: broken"),
        (200, b"", "no JSON-RPC answer"),
        (200, b"<html>", "no JSON-RPC answer"),
        (200, b'{"id":1000001,"result":{}}', "the answer's id is 1000001"),
        (200, b'{"id":1000000,"error":{"code":1,"message":"no"}}', 'error {"code":1,"message":"no"}'),
        (200, b'{"id":1000000,"result":{"isError":true}}', "no result"),
        (200, b'{"id":1000000}', "no result"),
    ],
    ids=range(11),
)
def test_what_is_wrong_with_an_answer(status: int, body: bytes, wrong: str | None) -> None:
    found = problem(status, body, FIRST_ID)
    assert found is None if wrong is None else found is not None and found.startswith(wrong)


def test_the_last_message_of_an_event_stream() -> None:
    assert event_data(b"data: 1\n\ndata: 2\n\n: end\n\n") == b"2"
    assert event_data(b": nothing\n\n") == b""


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_prepared_request_says_its_length_and_agrees_with_itself(era: str) -> None:
    made = template(era, "/mcp", "h:1", {"x-api-key": "k"}, method="tools/call", name="a_echo")  # type: ignore[arg-type]
    head, _, body = made.request(FIRST_ID + 5).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    message = json.loads(body)
    assert head.startswith(b"POST /mcp HTTP/1.1\r\n")
    assert int(headers["content-length"]) == len(body)
    assert (message["id"], message["params"]["name"]) == (FIRST_ID + 5, "a_echo")
    if era == "modern":
        assert (headers["mcp-name"], headers["mcp-method"]) == ("a_echo", "tools/call")
        version = message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"]
        assert version == headers["mcp-protocol-version"] == "2026-07-28"


def test_the_results_are_what_both_eras_want() -> None:
    made = {method: json.loads(body) for method, body in results(3).items()}
    assert [tool["name"] for tool in made["tools/list"]["tools"]] == ["echo", "tool_0001", "tool_0002"]
    assert made["server/discover"]["supportedVersions"] == ["2026-07-28"]
    assert made["initialize"]["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize(("era", "knows"), [("legacy", "initialize"), ("modern", "server/discover")])
def test_a_backend_of_one_era_knows_its_own_method_and_counts_both(era: str, knows: str) -> None:
    backend = Backend(era=era)
    answers = {}
    for method in ("initialize", "server/discover"):
        status, _, body = backend.answer(json.dumps({"id": "x", "method": method}).encode())
        answers[method] = json.loads(body)
        assert (status, answers[method]["id"]) == (200, "x")
    assert [method for method, answer in answers.items() if "result" in answer] == [knows]
    assert backend.counts == {"initialize": 1, "server/discover": 1}


def test_what_a_backend_makes_of_the_rest() -> None:
    backend = Backend(sse=True)
    assert backend.answer(b'{"method":"notifications/initialized"}')[0] == 202
    assert backend.answer(b"no json")[0] == 400
    assert backend.other("PUT", "/mcp", b"")[0] == 405
    assert backend.other("DELETE", "/mcp", b"")[0] == 200
    assert backend.stands("GET", "/mcp")
    assert not backend.stands("GET", "/counts")
    assert not backend.stands("DELETE", "/mcp")
    assert json.loads(backend.other("GET", "/counts", b"reset")[2]) == {
        "notifications/initialized": 1,
        "GET": 1,
        "PUT": 1,
        "DELETE": 1,
    }
    assert json.loads(backend.other("GET", "/counts", b"")[2]) == {}
    stream = rendered(backend.answer(b'{"id":1000000,"method":"tools/call"}'))
    head, _, chunks = stream.partition(b"\r\n\r\n")
    size, _, rest = chunks.partition(b"\r\n")
    assert b"transfer-encoding: chunked" in head
    assert problem(200, rest[: int(size, 16)], FIRST_ID) is None
