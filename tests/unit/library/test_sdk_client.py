"""`mcp-operator proxy` as a process, with the SDK's own client on its stdin and stdout, in both eras.

Behind it is a stdio server of the 2026-07-28 era alone: what it asks in its results comes to the client in its own way.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import ElicitResult

from unit.library.test_command import COMMAND, ENV
from unit.proxy.bridge.harness import until
from unit.proxy.bridge.test_modern import server


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_the_sdks_client(tmp_path: Path, mode: Any, version: str) -> None:
    command, *args = server()
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"mcpServers": {"one": {"command": command, "args": args}}}))
    started = StdioServerParameters(command=sys.executable, args=[*COMMAND, "--config", str(file)], env=ENV)
    progressed: list[float] = []

    async def answer(*_: object) -> ElicitResult:
        return ElicitResult(action="accept", content={"x": "this"})

    async def progress(done: float, *_: object) -> None:
        progressed.append(done)

    async with asyncio.timeout(200), Client(started, mode=mode, elicitation_callback=answer) as client:
        assert client.protocol_version == version
        told = (await client.call_tool("one_ask", {})).structured_content
        assert told is not None
        assert told["answers"] == {"one": {"action": "accept", "content": {"x": "this"}}}
        await client.call_tool("one_progress", {"steps": 3}, progress_callback=progress)
        assert progressed == [0, 1, 2]
        await client.call_tool("one_add", {"name": "new"})

        async def listed() -> bool:
            return "one_new" in {tool.name for tool in (await client.list_tools(cache_mode="bypass")).tools}

        await until(listed)
        leaving = asyncio.create_task(client.call_tool("one_hold", {"key": "a"}))

        async def heard(method: str, name: str | None = None) -> bool:
            found = (await client.call_tool("one_heard", {})).structured_content or {}
            return any(m["method"] == method and m.get("params", {}).get("name") == name for m in found["received"])

        await until(lambda: heard("tools/call", "hold"))
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: heard("notifications/cancelled"))
