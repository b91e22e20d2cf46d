"""A stdio MCP server of the 2026-07-28 era in plain JSON: it refuses `initialize`, and does on demand what such a server may do.

`--both`: it takes `initialize` too, and is then bound to it. `--bound`: whatever it is asked first binds it, as with the
SDKs. `--dies`: `initialize` is its end. `--no-listen`: it has no `subscriptions/listen`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

JSON = dict[str, Any]
PREFIX = "io.modelcontextprotocol/"
VERSION = "2026-07-28"

received: list[JSON] = []
listening: dict[object, JSON] = {}
held: dict[str, JSON] = {}
tools_added: list[str] = []


def write(message: JSON) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def result(message: JSON, **body: Any) -> None:
    meta = {f"{PREFIX}serverInfo": {"name": "modern", "version": "1"}}
    write({"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", "_meta": meta, **body}})


def error(message: JSON, code: int, text: str, data: object = None) -> None:
    write({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text, "data": data}})


def notify(method: str, **params: Any) -> None:
    write({"jsonrpc": "2.0", "method": method, "params": params})


def answer(message: JSON, **structured: Any) -> None:
    result(message, content=[], structuredContent={"pid": os.getpid(), **structured})


def meta_of(message: JSON) -> JSON:
    found: JSON = message.get("params", {}).get("_meta", {})
    return found


def echo(message: JSON, arguments: JSON) -> None:
    answer(message, **arguments)


def ask(message: JSON, arguments: JSON) -> None:
    """Asks in its result, and knows nothing of it any more when the answer comes (SEP-2322)."""
    answers = message["params"].get("inputResponses")
    if answers is None:
        question = {"message": "which?", "requestedSchema": {"type": "object", "properties": {"x": {"type": "string"}}}}
        request = {"method": "elicitation/create", "params": question}
        result(message, resultType="input_required", inputRequests={"one": request}, requestState="state-1")
        return
    answer(message, state=message["params"].get("requestState"), answers=answers)


def progress(message: JSON, arguments: JSON) -> None:
    for step in range(arguments["steps"]):
        notify("notifications/progress", progressToken=meta_of(message)["progressToken"], progress=step)
    answer(message)


def say(message: JSON, arguments: JSON) -> None:
    notify("notifications/message", level=arguments["level"], data=arguments["data"])
    answer(message)


def hold(message: JSON, arguments: JSON) -> None:
    held[arguments["key"]] = message


def release(message: JSON, arguments: JSON) -> None:
    answer(held.pop(arguments["key"]), key=arguments["key"])
    answer(message)


def add(message: JSON, arguments: JSON) -> None:
    tools_added.append(arguments["name"])
    tell("toolsListChanged", "notifications/tools/list_changed")
    answer(message)


def touch(message: JSON, arguments: JSON) -> None:
    for request in listening.values():
        if arguments["uri"] in request["params"]["notifications"].get("resourceSubscriptions", ()):
            meta = {f"{PREFIX}subscriptionId": request["id"]}
            notify("notifications/resources/updated", uri=arguments["uri"], _meta=meta)
    answer(message)


def tell(flag: str, method: str) -> None:
    for request in listening.values():
        if request["params"]["notifications"].get(flag):
            notify(method, _meta={f"{PREFIX}subscriptionId": request["id"]})


def heard(message: JSON, arguments: JSON) -> None:
    answer(message, received=received)


def demand(message: JSON, arguments: JSON) -> None:
    """What no server of this era may do."""
    write({"jsonrpc": "2.0", "id": "demanded", "method": "roots/list"})
    answer(message)


def crash(message: JSON, arguments: JSON) -> None:
    sys.stderr.write(arguments.get("words", ""))
    sys.stderr.flush()
    os._exit(arguments["code"])


def stuck(message: JSON, arguments: JSON) -> None:
    """Answer, and then nothing any more."""
    answer(message)
    time.sleep(600)


TOOLS = {f.__name__: f for f in (echo, ask, progress, say, hold, release, add, touch, heard, demand, crash, stuck)}


def listen(message: JSON, options: argparse.Namespace) -> None:
    if options.no_listen:
        error(message, -32601, "Method not found")
        return
    listening[message["id"]] = message
    meta = {f"{PREFIX}subscriptionId": message["id"]}
    notify("notifications/subscriptions/acknowledged", notifications=message["params"]["notifications"], _meta=meta)


CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True, "listChanged": True}, "logging": {}}
era: list[str] = []


def lists(method: str) -> JSON:
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in (*TOOLS, *tools_added)]
    found: JSON = {
        "tools/list": {"tools": tools},
        "resources/list": {"resources": [{"uri": "memo://a", "name": "a"}]},
        "resources/templates/list": {"resourceTemplates": []},
    }
    return found.get(method, {})


def handle(message: JSON, options: argparse.Namespace) -> None:
    received.append(message)
    method = message.get("method")
    era.append("legacy" if method == "initialize" else "modern")
    if method == "notifications/cancelled":
        listening.pop(message["params"]["requestId"], None)
    elif method == "initialize":
        if options.dies:
            sys.exit(9)
        if not options.both:
            error(message, -32022, "no handshake here", {"supported": [VERSION], "requested": ""})
            return
        body = {
            "protocolVersion": "2025-11-25",
            "capabilities": CAPABILITIES,
            "serverInfo": {"name": "b", "version": "1"},
        }
        write({"jsonrpc": "2.0", "id": message["id"], "result": body})
    elif "id" not in message or method is None:
        return
    elif (options.both or options.bound) and era[0] == "legacy":
        of_handshake(message, options)
    elif meta_of(message).get(f"{PREFIX}protocolVersion") != VERSION or f"{PREFIX}clientCapabilities" not in meta_of(
        message
    ):
        error(message, -32602, "the envelope is missing")
    else:
        of_modern(message, options)


def of_handshake(message: JSON, options: argparse.Namespace) -> None:
    if meta_of(message).get(f"{PREFIX}protocolVersion"):
        error(message, -32600, "this connection serves the handshake eras")
    elif message["method"] == "tools/call":
        TOOLS[message["params"]["name"]](message, message["params"].get("arguments", {}))
    else:
        result(message, **lists(message["method"]))


def of_modern(message: JSON, options: argparse.Namespace) -> None:
    method = message["method"]
    if method == "server/discover":
        fresh = {"ttlMs": 0, "cacheScope": "public"}
        result(message, supportedVersions=[VERSION], capabilities=CAPABILITIES, **fresh)
    elif method == "subscriptions/listen":
        listen(message, options)
    elif method == "tools/call":
        TOOLS[message["params"]["name"]](message, message["params"].get("arguments", {}))
    elif found := lists(method):
        result(message, ttlMs=0, cacheScope="public", **found)
    else:
        error(message, -32601, f"no {method}")


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--both", "--bound", "--dies", "--no-listen"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--starts")
    options = parser.parse_args()
    if options.starts:
        with Path(options.starts).open("a") as starts:
            starts.write(f"{os.getpid()}\n")
    for line in sys.stdin.buffer:
        handle(json.loads(line), options)


main()
