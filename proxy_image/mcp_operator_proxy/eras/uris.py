"""URIs inside results, so that a client can read through the proxy what a result links to. Pure, on wire objects.

A URI of a server gets the prefix that the route puts before its resources: `data://one` in a result of the server behind
prefix `time` becomes `data://time/one`, and reading that asks the same server for `data://one`.

Rewritten: `resource_link` and embedded `resource` content in tool results, prompt messages and sampling messages (also
inside their tool results), the contents of reads, `notifications/resources/updated`, and the page that a tool's `_meta.ui`
names (SEP-1865). Left alone: `structuredContent` and text, whose form is the tool's own affair; http and https links to
what the server does not offer as a resource; URIs without `://`, which cannot carry a prefix.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
Expose: TypeAlias = Callable[[str], str]
"""From a server's own URI to the one that clients of a route use (`RouteTable.exposer`)."""

_UI_KEYS: Final = ("ui/resourceUri",)


def may_hold_uris(body: bytes) -> bool:
    """Whether the JSON of a result could hold a URI to rewrite. No is certain, yes is not; it costs a search or two.

    Keys that are written with escapes for plain letters count as a yes.
    """
    find = body.find  # with `in` the bytes are taken for a number first, which raises and drops an error
    if find(b"\\u00") >= 0 and (find(b"\\u006") >= 0 or find(b"\\u007") >= 0):
        return True
    return find(b'"uri"') >= 0 and (find(b'"resource') >= 0 or find(b'"contents"') >= 0)


def rewrite(method: str, result: Json, expose: Expose | None) -> Json:
    """The result of a request of a client, with exposed URIs. The same object where nothing changes."""
    if expose is None:
        return result
    shown: Json = result
    match method:
        case "tools/call":
            shown = _changed(result, "content", lambda content: _contents(content, expose))
        case "prompts/get":
            shown = _changed(result, "messages", lambda messages: _messages(messages, expose))
        case "resources/read":
            shown = _changed(result, "contents", lambda contents: _each(contents, lambda item: _uri(item, expose)))
    return shown


def rewrite_question(method: str, params: Json, expose: Expose | None) -> Json:
    """The params of a server's question to a client, with exposed URIs."""
    if expose is None or method != "sampling/createMessage":
        return params
    shown: Json = _changed(params, "messages", lambda messages: _messages(messages, expose))
    return shown


def rewrite_questions(result: Json, expose: Expose | None) -> Json:
    """An `InputRequiredResult` with exposed URIs in its questions."""
    questions = result.get("inputRequests")
    if expose is None or not isinstance(questions, Mapping):
        return result
    rewritten = {key: _question(question, expose) for key, question in questions.items()}
    return {**result, "inputRequests": rewritten}


def rewrite_notification(method: str, params: Json, expose: Expose | None) -> Json:
    """The params of a server's notification, with exposed URIs."""
    return params if expose is None or method != "notifications/resources/updated" else _uri(params, expose)


def rewrite_tool(definition: Json, expose: Expose | None) -> Json:
    """A tool's definition, with the URI of the page that shows its results."""
    meta = definition.get("_meta")
    if expose is None or not isinstance(meta, dict):
        return definition
    shown = _changed(meta, "ui", lambda ui: _changed(ui, "resourceUri", lambda uri: _text(uri, expose)))
    for key in _UI_KEYS:
        shown = _changed(shown, key, lambda uri: _text(uri, expose))
    return definition if shown is meta else {**definition, "_meta": shown}


def _question(question: Any, expose: Expose) -> Any:
    method = question.get("method") if isinstance(question, dict) else None
    return _changed(question, "params", lambda params: rewrite_question(str(method), params, expose))


def _messages(messages: Any, expose: Expose) -> Any:
    return _each(messages, lambda message: _changed(message, "content", lambda content: _contents(content, expose)))


def _contents(content: Any, expose: Expose) -> Any:
    """A content block or a list of them."""
    return _each(content, lambda b: _block(b, expose)) if isinstance(content, list) else _block(content, expose)


def _block(block: Any, expose: Expose) -> Any:
    match block:
        case {"type": "resource_link"}:
            return _uri(block, expose)
        case {"type": "resource"}:
            return _changed(block, "resource", lambda resource: _uri(resource, expose))
        case {"type": "tool_result"}:
            return _changed(block, "content", lambda content: _contents(content, expose))
        case _:
            return block


def _uri(holder: Any, expose: Expose) -> Any:
    return _changed(holder, "uri", lambda uri: _text(uri, expose))


def _text(value: Any, expose: Expose) -> Any:
    return expose(value) if isinstance(value, str) else value


def _each(items: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(items, list):
        return items
    changed = [change(item) for item in items]
    return items if all(new is old for new, old in zip(changed, items, strict=True)) else changed


def _changed(holder: Any, key: str, change: Callable[[Any], Any]) -> Any:
    """`holder` with one member changed; the same object where that changes nothing."""
    if not isinstance(holder, dict) or key not in holder:
        return holder
    new = change(holder[key])
    return holder if new is holder[key] else {**holder, key: new}
