"""A stdio MCP server with the tools that its arguments name: each answers with its name, its process and a variable."""

import os
import sys

from fastmcp import FastMCP

server = FastMCP("tiny")


def answering(name: str) -> None:
    @server.tool(name=name)
    def answer() -> dict[str, str]:
        return {"name": name, "pid": str(os.getpid()), "token": os.environ.get("TOKEN", "")}


for tool in sys.argv[1:]:
    answering(tool)
server.run("stdio", show_banner=False)
