"""The product as its users meet it: names of its installation, backends to put behind it, a client in front of it."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from fastmcp import Client

from support.kubectl import kubectl

ROOT = Path(__file__).parents[2]

SYSTEM = "mcp-system"
RELEASE = "mcp-operator"
PROXY_IMAGE = "mcp-operator/proxy:dev"
BACKEND_IMAGE = "mcp-operator-test/backend:dev"
PACKAGES_IMAGE = "mcp-operator-test/packages:dev"
PLAIN_IMAGE = "mcp-operator-test/plain:dev"


def install() -> None:
    """Install or upgrade the product by its chart, as tests/e2e/values.yaml says, and wait until it is ready."""
    chart, values = ROOT / "charts" / "mcp-operator", ROOT / "tests" / "e2e" / "values.yaml"
    command = ["helm", "upgrade", "--install", RELEASE, str(chart), "--namespace", SYSTEM, "--create-namespace"]
    command += ["--wait", "--timeout", "3m", "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0:
        pods = kubectl("-n", SYSTEM, "describe", "pods", check=False)
        raise AssertionError(f"helm: {done.stderr}\n{pods[-4000:]}")


def backend_objects(
    name: str, *, image: str = BACKEND_IMAGE, replicas: int = 1, **environment: str
) -> list[dict[str, object]]:
    labels = {"app": name}
    env = [{"name": key, "value": value} for key, value in {"NAME": name, **environment}.items()]
    container = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": env,
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 8080}]},
        },
    ]


def tools(url: str) -> set[str]:
    """Names of the tools that a new client sees."""

    async def listed() -> set[str]:
        async with Client(url, timeout=20) as client:
            return {tool.name for tool in await client.list_tools()}

    return asyncio.run(listed())


def call(url: str, tool: str, **arguments: Any) -> str:
    """The text that a tool answers to a new client."""

    async def called() -> str:
        async with Client(url, timeout=30) as client:
            result = await client.call_tool(tool, arguments)
            return str(result.content[0].text)

    return asyncio.run(called())
