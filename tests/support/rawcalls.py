"""Calls as bytes on one connection, and the answers that come on it."""

import asyncio
import json
import re
from typing import Any

from support.rawclient import RawClient


def wire(client: RawClient, base: str, tool: str, request_id: int, *more: str) -> bytes:
    """A call as bytes."""
    body, own = client.request("tools/call", {"name": tool}, None, request_id)
    content = json.dumps({"jsonrpc": "2.0", **body}).encode()
    host = base.removeprefix("http://")
    lines = [f"{k}: {v}" for k, v in {"host": host, **client.headers, **own}.items()]
    head = "\r\n".join(["POST /mcp HTTP/1.1", *lines, *more, f"content-length: {len(content)}"])
    return head.encode() + b"\r\n\r\n" + content


async def answers(reader: asyncio.StreamReader, count: int) -> list[dict[str, Any]]:
    """So many JSON answers, as they come on one connection."""
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        found.append(json.loads(await reader.readexactly(int(length[1]))))
    return found
