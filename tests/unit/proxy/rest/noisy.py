"""A stdio server that says on standard error how it starts; its tool `pid` tells the process's id.

Written with the standard library alone, as it is started often and has to be quick.
"""

import json
import os
import sys
from typing import Any


def result(message: dict[str, Any]) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            info = {"name": "noisy", "version": "1"}
            version = message["params"]["protocolVersion"]
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": "pid", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            return {"content": [], "structuredContent": {"result": os.getpid()}}
    return {}


print(f"starting with {os.environ.get('TOKEN', 'no token')}", file=sys.stderr, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request and request["method"] != "server/discover":
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result(request)}), flush=True)
    elif "id" in request:
        error = {"code": -32601, "message": "Method not found"}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}), flush=True)
