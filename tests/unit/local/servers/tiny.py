"""A stdio MCP server with the tools that its arguments name: each answers with its name, its process and a variable.

Written with the standard library alone, as it is started often and has to be quick.
"""

import json
import os
import sys


def result(message: dict[str, object]) -> dict[str, object] | None:
    match message["method"]:
        case "initialize":
            version = message["params"]["protocolVersion"]  # type: ignore[index]
            info = {"name": "tiny", "version": "1"}
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in sys.argv[1:]]}
        case "tools/call":
            name = message["params"]["name"]  # type: ignore[index]
            answer = {"name": name, "pid": str(os.getpid()), "token": os.environ.get("TOKEN", "")}
            return {"content": [{"type": "text", "text": json.dumps(answer)}], "structuredContent": answer}
        case "ping":
            return {}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    found = result(request)
    error = {"code": -32601, "message": "Method not found"}
    print(
        json.dumps(
            {"jsonrpc": "2.0", "id": request["id"]} | ({"error": error} if found is None else {"result": found})
        ),
        flush=True,
    )
