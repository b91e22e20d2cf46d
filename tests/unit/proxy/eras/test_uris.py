"""URIs inside results: every place of them, and back again."""

import copy
import json
from typing import Any

import pytest
from fastmcp import FastMCP
from fastmcp.prompts import Message
from fastmcp.tools.base import ToolResult
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import EmbeddedResource, ResourceLink, TextResourceContents

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.eras import uris
from mcp_operator_proxy.table import RouteTable, build_table
from support.backends import ServedMCP, client
from support.gateway import make_config, running_gateway


def expose(uri: str) -> str:
    return uri.replace("data://", "data://p/")


LINK = {"type": "resource_link", "uri": "data://one", "name": "one"}
EMBEDDED = {"type": "resource", "resource": {"uri": "data://two", "text": "data://text"}}
TEXT = {"type": "text", "text": "data://one"}
SHOWN_LINK = {**LINK, "uri": "data://p/one"}
SHOWN_EMBEDDED = {"type": "resource", "resource": {"uri": "data://p/two", "text": "data://text"}}
SAMPLED = {"role": "user", "content": [{"type": "tool_result", "toolUseId": "1", "content": [LINK, TEXT]}]}


@pytest.mark.parametrize(
    ("method", "result", "shown"),
    [
        ("tools/call", {"content": [TEXT, LINK, EMBEDDED]}, {"content": [TEXT, SHOWN_LINK, SHOWN_EMBEDDED]}),
        (
            "tools/call",
            {"content": [LINK], "structuredContent": {"uri": "data://one"}, "_meta": {"uri": "data://one"}},
            {"content": [SHOWN_LINK], "structuredContent": {"uri": "data://one"}, "_meta": {"uri": "data://one"}},
        ),
        (
            "prompts/get",
            {"messages": [{"role": "user", "content": EMBEDDED}, {"role": "user", "content": TEXT}]},
            {"messages": [{"role": "user", "content": SHOWN_EMBEDDED}, {"role": "user", "content": TEXT}]},
        ),
        (
            "resources/read",
            {"contents": [{"uri": "data://one", "text": "1"}, {"uri": "data://b", "blob": "aGk="}]},
            {"contents": [{"uri": "data://p/one", "text": "1"}, {"uri": "data://p/b", "blob": "aGk="}]},
        ),
    ],
)
def test_results(method: str, result: Any, shown: Any) -> None:
    before = copy.deepcopy(result)
    assert uris.may_hold_uris(json.dumps(result).encode())
    assert uris.rewrite(method, result, expose) == shown
    assert result == before
    assert uris.rewrite(method, result, None) is result
    assert uris.rewrite(method, result, lambda uri: uri) is result


@pytest.mark.parametrize("result", [{}, {"content": None}, {"content": [3, {"type": "resource"}, {"type": "x"}]}])
def test_what_holds_none_stays_the_same_object(result: Any) -> None:
    assert uris.rewrite("tools/call", result, expose) is result
    assert uris.rewrite("completion/complete", result, expose) is result


def test_questions_and_notifications() -> None:
    shown = {"messages": [{**SAMPLED, "content": [{**SAMPLED["content"][0], "content": [SHOWN_LINK, TEXT]}]}]}  # type: ignore[dict-item]
    assert uris.rewrite_question("sampling/createMessage", {"messages": [SAMPLED]}, expose) == shown
    asked = {
        "inputRequests": {
            "a": {"method": "sampling/createMessage", "params": {"messages": [SAMPLED]}},
            "b": {"method": "roots/list"},
        }
    }
    assert uris.rewrite_questions(asked, expose)["inputRequests"] == {
        "a": {"method": "sampling/createMessage", "params": shown},
        "b": {"method": "roots/list"},
    }
    assert uris.rewrite_notification("notifications/resources/updated", {"uri": "data://one"}, expose) == {
        "uri": "data://p/one"
    }
    logged = {"data": {"uri": "data://one"}, "level": "info"}
    assert uris.rewrite_notification("notifications/message", logged, expose) is logged


def test_pages_of_tools() -> None:
    tool = {"name": "t", "_meta": {"ui": {"resourceUri": "data://ui", "visibility": []}, "ui/resourceUri": "data://ui"}}
    meta = uris.rewrite_tool(tool, expose)["_meta"]
    assert meta == {"ui": {"resourceUri": "data://p/ui", "visibility": []}, "ui/resourceUri": "data://p/ui"}
    plain = {"name": "t", "_meta": {"x": 1}}
    assert uris.rewrite_tool(plain, expose) is plain


@pytest.mark.parametrize(
    ("body", "may"),
    [
        (b'{"content":[{"type":"text","text":"uri resource"}]}', False),
        (b'{"structuredContent":{"uri":"data://one"}}', False),
        (b'{"content":[{"type":"resource_link","uri":"data://one"}]}', True),
        (b'{"contents":[{"uri":"data://one"}]}', True),
        (b'{"content":[{"type":"\\u0072esource_link","uri":"data://one"}]}', True),
        (b'{"content":[{"type":"resource_link","\\u0075ri":"data://one"}]}', True),
        (b'{"content":[{"type":"text","text":"caf\\u00e9"}]}', False),
    ],
)
def test_the_check_that_comes_first(body: bytes, may: bool) -> None:
    assert uris.may_hold_uris(body) is may


def table() -> RouteTable:
    own = Catalogue(
        resources=({"uri": "data://one", "name": "one"}, {"uri": "https://example.org/listed", "name": "l"}),
        resource_templates=({"uriTemplate": "https://example.org/item/{id}", "name": "i"},),
    )
    plain = Catalogue(resources=({"uri": "data://p/taken", "name": "t"},))
    config = make_config({"p": "http://127.0.0.1:1/mcp", "q": "http://127.0.0.1:2/mcp"}, prefixes={"p": "p", "q": ""})
    return build_table(config, {"ns/p": own, "ns/q": plain})["/mcp"]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("data://one", "data://p/one"),
        ("data://not/listed", "data://p/not/listed"),
        ("file:///etc/motd", "file://p//etc/motd"),
        ("ui://page", "ui://p/page"),
        ("https://example.org/listed", "https://p/example.org/listed"),
        ("https://example.org/item/7", "https://p/example.org/item/7"),
        ("https://example.org/other", "https://example.org/other"),
        ("HTTP://example.org/other", "HTTP://example.org/other"),
        ("urn:isbn:1", "urn:isbn:1"),
        ("data:text/plain,x", "data:text/plain,x"),
        ("data://taken", "data://taken"),  # the other server's resource has what would be its name
    ],
)
def test_which_are_exposed(uri: str, shown: str) -> None:
    route = table()
    exposed = route.exposer("ns/p")
    assert exposed is not None
    assert exposed(uri) == shown
    if shown != uri:
        assert route.resource(shown) == ("ns/p", uri)
    assert route.exposer("ns/q") is None


@given(st.from_regex(r"[a-z][a-z0-9+.-]{0,8}://[^\s]{0,20}", fullmatch=True))
def test_what_is_exposed_leads_back(uri: str) -> None:
    route = table()
    exposed = route.exposer("ns/p")
    assert exposed is not None
    if (shown := exposed(uri)) != uri:
        assert route.resource(shown) == ("ns/p", uri)


class Library:
    """Results that link to resources of their server."""

    def __init__(self) -> None:
        self.mcp: FastMCP[Any] = FastMCP("library")
        self.mcp.tool(self.find)
        self.mcp.prompt(self.cite)
        self.mcp.resource("data://book/{name}")(self.book)

    def find(self) -> ToolResult:
        text = TextResourceContents(uri="data://book/two", text="data://book/two")  # type: ignore[arg-type]
        return ToolResult(
            content=[
                ResourceLink(type="resource_link", uri="data://book/one", name="one"),  # type: ignore[arg-type]
                EmbeddedResource(type="resource", resource=text),
                ResourceLink(type="resource_link", uri="https://example.org/", name="web"),  # type: ignore[arg-type]
            ],
            structured_content={"uri": "data://book/one"},
        )

    def cite(self) -> Any:
        text = TextResourceContents(uri="data://book/three", text="3")  # type: ignore[arg-type]
        return [Message(EmbeddedResource(type="resource", resource=text))]

    def book(self, name: str) -> str:
        return f"the book {name}"


@pytest.mark.parametrize("back", ["legacy", "both"])
@pytest.mark.parametrize("front", ["legacy", "auto"])
async def test_a_client_can_read_what_a_result_links_to(front: str, back: str) -> None:
    async with ServedMCP(Library().mcp, era=back) as served:
        config = make_config({"l": served.url, "plain": served.url}, prefixes={"plain": ""})
        async with running_gateway(config) as gateway, client(gateway.url, front) as through:
            for _ in range(2):  # the second call of a session may take the fast lane
                link, embedded, web = (await through.call_tool_mcp("l_find", {})).content
            assert str(link.uri) == "data://l/book/one"  # type: ignore[union-attr]
            assert (await through.read_resource(str(link.uri)))[0].text == "the book one"  # type: ignore[union-attr]
            assert str(embedded.resource.uri) == "data://l/book/two"  # type: ignore[union-attr]
            assert embedded.resource.text == "data://book/two"  # type: ignore[union-attr]
            assert str(web.uri) == "https://example.org/"  # type: ignore[union-attr]
            assert (await through.call_tool_mcp("l_find", {})).structured_content == {"uri": "data://book/one"}
            (message,) = (await through.get_prompt("l_cite")).messages
            assert str(message.content.resource.uri) == "data://l/book/three"  # type: ignore[union-attr]
            plain = (await through.call_tool_mcp("find", {})).content[0]
            assert str(plain.uri) == "data://book/one"  # type: ignore[union-attr]
            assert (await through.read_resource("data://book/one"))[0].text == "the book one"  # type: ignore[union-attr]
