"""A stdio server that writes a log to standard error. Written with the standard library alone, so that it starts quickly."""

import json
import sys
from typing import Any

MARKUP = "<b onmouseover=alert(1)>bold</b>"


def result(message: dict[str, Any]) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            version = message["params"]["protocolVersion"]
            info = {"name": "noisy", "version": "1"}
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": "ping", "description": "Answers.", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            print("pinged", file=sys.stderr, flush=True)
            return {"content": [{"type": "text", "text": "pong"}]}
    return {}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    head = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "server/discover":
        return {**head, "error": {"code": -32601, "message": "Method not found"}}
    return {**head, "result": result(message)}


if __name__ == "__main__":
    print("noisy: listening on stdin", file=sys.stderr)
    print(f"noisy: a line with markup {MARKUP}", file=sys.stderr, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            print(json.dumps(answer(request)), flush=True)
