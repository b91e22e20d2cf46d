"""`python -m bench.search [--out FILE]`: recall@5, time per search, memory and tokens, on the screen and as JSON."""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastmcp import Client, FastMCP
from fastmcp.tools import Tool
from fastmcp.tools.base import ToolResult
from tokenizers import Tokenizer

from bench.search.catalogue import queries, tools
from bench.search.quality import HELD_OUT, MODES, TUNED, recall
from bench.stats import percentile
from mcp_operator_proxy.registry.embedders import WordLlamaEmbedder
from mcp_operator_proxy.registry.search import SearchIndex
from support.backends import ServedMCP
from support.gateway import Gateway, make_config, running_gateway

ROUNDS: Final = 5
TARGET_SECONDS: Final = 0.020
_MEMORY: Final = """
import asyncio, gc
import mcp_operator_proxy.app  # what every proxy has
from bench.search.catalogue import tools
made = list(tools().values())
def rss(): return int(open('/proc/self/statm').read().split()[1]) * 4 / 1024
before = rss()
from mcp_operator_proxy.registry.search import SearchIndex
from mcp_operator_proxy.registry.embedders import WordLlamaEmbedder
index = asyncio.run(SearchIndex.of(made, WordLlamaEmbedder()))
gc.collect()
print(rss() - before)
"""


class _Named(Tool):
    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(content=str(arguments))


async def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/search.json"))
    out: Path = parser.parse_args().out
    result = {
        "tools": len(tools()),
        "queries": len(queries()),
        "recall@5": await _recall(5),
        "recall@10": await _recall(10),
        "index": await _times(),
        "memory_mib": _memory(),
        "over_mcp": await _over_mcp(),
    }
    await asyncio.to_thread(_write, result, out)
    print(_told(result, out))


def _write(result: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")


async def _recall(among: int) -> dict[str, dict[str, float]]:
    index = await SearchIndex.of(tools().values(), WordLlamaEmbedder())
    asked = queries()
    parts = {"all": asked, "tuned on": asked[TUNED], "held out": asked[HELD_OUT]}
    return {
        mode: {name: await recall(index, part, mode, among=among) for name, part in parts.items()} for mode in MODES
    }


async def _times() -> dict[str, float]:
    """Seconds: to make the index, to make it again when one tool has changed, and per search in the process."""
    made = list(tools().values())
    await WordLlamaEmbedder().embed(["loads the model"])
    started = time.perf_counter()
    index = await SearchIndex.of(made, WordLlamaEmbedder())
    built = time.perf_counter() - started
    started = time.perf_counter()
    await SearchIndex.of(made[1:], WordLlamaEmbedder(), index)
    again = time.perf_counter() - started
    seconds = []
    for query in queries() * ROUNDS:
        started = time.perf_counter()
        await index.search(query.text, 10)
        seconds.append(time.perf_counter() - started)
    return {"build": built, "rebuild": again, "p50": percentile(seconds, 0.5), "p95": percentile(seconds, 0.95)}


def _memory() -> float:
    """Resident MiB of the libraries, the model and the index, in a process of its own."""
    ran = subprocess.run([sys.executable, "-c", _MEMORY], check=True, capture_output=True, text=True, timeout=300)
    return float(ran.stdout)


async def _over_mcp() -> dict[str, float]:
    """A client of a proxy: seconds per `find_tool`, and tokens of what stands in a model's context."""
    counter = Tokenizer.from_file(str(_tokenizer()))

    def tokens(value: Any) -> int:
        return len(counter.encode(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).ids)

    async with _proxy() as gateway:
        within = []
        for query in queries() * ROUNDS:
            started = time.perf_counter()
            await gateway.proxy.services.registry.search(query.text, path="/find")
            within.append(time.perf_counter() - started)
        async with Client(f"{gateway.base}/all") as plain:
            listed = [tool.model_dump(by_alias=True, exclude_none=True) for tool in await plain.list_tools()]
        async with Client(f"{gateway.base}/find") as finding:
            pair = [tool.model_dump(by_alias=True, exclude_none=True) for tool in await finding.list_tools()]
            seconds, answers = [], []
            for query in queries():
                started = time.perf_counter()
                found = await finding.call_tool_mcp("find_tool", {"query": query.text, "limit": 5})
                seconds.append(time.perf_counter() - started)
                answers.append(tokens(found.structured_content))
    return {
        "registry p50": percentile(within, 0.5),
        "registry p95": percentile(within, 0.95),
        "p50": percentile(seconds, 0.5),
        "p95": percentile(seconds, 0.95),
        "tokens of tools/list, all": tokens(listed),
        "tokens of tools/list, find_tool and call_tool": tokens(pair),
        "tokens of a find_tool answer of 5, mean": sum(answers) / len(answers),
    }


@contextlib.asynccontextmanager
async def _proxy() -> AsyncIterator[Gateway]:
    """All tools behind one server, on a route that lists them and on one that finds them."""
    mcp: FastMCP[Any] = FastMCP("many")
    for tool in tools().values():
        mcp.add_tool(_Named(name=tool.name, description=tool.description, parameters=dict(tool.parameters)))
    entries = [{"server": "ns/many", "prefix": ""}]
    routes = [
        {"name": "McpRoute/ns/all", "path": "/all", "servers": entries},
        {"name": "McpRoute/ns/find", "path": "/find", "servers": entries, "findTools": True},
    ]
    async with ServedMCP(mcp) as served, running_gateway(make_config({"many": served.url}, routes=routes)) as gateway:
        await gateway.proxy.services.registry.search("loads the model")
        yield gateway


def _tokenizer() -> Path:
    """That of the embedder's model, with the 32,000 tokens of Llama 2: the one tokenizer that comes with the product."""
    package = find_spec("wordllama")
    assert package is not None
    assert package.origin is not None
    return next(Path(package.origin).parent.glob("**/*tokenizer*.json"))


def _told(result: dict[str, Any], out: Path) -> str:
    lines = [f"{result['tools']} tools, {result['queries']} queries"]
    for name in ("recall@5", "recall@10"):
        for mode, found in result[name].items():
            lines.append(f"  {name} {mode:8} " + ", ".join(f"{part} {share:.3f}" for part, share in found.items()))
    index, mcp = result["index"], result["over_mcp"]
    lines += [
        f"  index of all {index['build'] * 1000:.0f} ms, again after a change {index['rebuild'] * 1000:.0f} ms",
        f"  memory of libraries, model and index {result['memory_mib']:.0f} MiB",
        f"  in the index   p50 {index['p50'] * 1000:.2f} ms, p95 {index['p95'] * 1000:.2f} ms",
        f"  in the registry p50 {mcp['registry p50'] * 1000:.2f} ms, p95 {mcp['registry p95'] * 1000:.2f} ms",
        f"  target p95 {TARGET_SECONDS * 1000:.0f} ms",
        f"  find_tool over MCP p50 {mcp['p50'] * 1000:.1f} ms, p95 {mcp['p95'] * 1000:.1f} ms",
        *(f"  {name}: {value:.0f}" for name, value in mcp.items() if name.startswith("tokens")),
        f"written to {out}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(main())
