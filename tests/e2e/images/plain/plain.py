"""A stdio server that tells of its surroundings, and ends when it is told to."""

import os
import time
from pathlib import Path

from fastmcp import FastMCP

mcp = FastMCP("plain", version="1.2.3")


@mcp.tool
def hello() -> str:
    """Say who answers."""
    return f"plain/{os.environ.get('GREETING', 'hello')}"


@mcp.tool
def variable(name: str) -> str:
    """The value of an environment variable, or an empty text."""
    return os.environ.get(name, "")


@mcp.tool
def read(path: str) -> str:
    """The text of a file."""
    return Path(path).read_text()


@mcp.tool
def start_time() -> str:
    """When this process started, in its own words."""
    return STARTED


@mcp.tool
def wait(seconds: float) -> str:
    """Answer after a while."""
    time.sleep(seconds)
    return "waited"


@mcp.tool
def die() -> str:
    """End without an answer."""
    os._exit(3)  # as process 1 of its container it could not kill itself


STARTED = str(time.time_ns())

if __name__ == "__main__":
    mcp.run(show_banner=False)
