"""`make demo-cluster`: the product on a real cluster: installed by its chart, servers applied, one swapped in under a client.

Runs where the cluster can be reached (`hack/cluster exec`), with the images of `make images` loaded. Nothing leaves the
cluster: uvx takes its package from an index that runs in it. What was made stays, to be looked at; the last lines say how.
"""

import asyncio
import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

import yaml
from fastmcp import Client
from mcp_types import ServerNotification

from demo import DemoFailed, Steps, are_gone, call, exit_status, is_set, tools_of

ROOT: Final = Path(__file__).resolve().parents[1]
SYSTEM: Final = "mcp-system"
NAMESPACE: Final = "mcp-demo"
MARK: Final = "mcp-operator.dev/demo"
SECONDS: Final = 60
"""For a step to show. Installing and starting pods have limits of their own."""

SERVERS: Final = """\
apiVersion: mcp-operator.dev/v1alpha1
kind: McpServer
metadata: {name: time, labels: {team: core}}
spec:
  stdio:
    command: uvx
    args: [mcp-server-time@2026.10.19]
    env: [{name: UV_DEFAULT_INDEX, value: "http://packages.mcp-demo.svc:8080/simple"}]
---
apiVersion: mcp-operator.dev/v1alpha1
kind: McpServer
metadata: {name: search, labels: {team: core}}
spec:
  container:
    image: mcp-operator-test/backend:dev
    imagePullPolicy: IfNotPresent
    env: [{name: NAME, value: search}, {name: TOOLS, value: find}]
---
apiVersion: mcp-operator.dev/v1alpha1
kind: McpProxy
metadata: {name: tools}
spec:
  replicas: 2
  servers: {selector: {matchLabels: {team: core}}}
"""
SWAPPED_IN: Final = """\
apiVersion: mcp-operator.dev/v1alpha1
kind: McpServer
metadata: {name: handbook, labels: {team: core}}
spec: {remote: {url: "http://handbook.mcp-demo.svc:8080/mcp"}}
"""
ELSEWHERE: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: %(name)s}
spec:
  selector: {matchLabels: {app: %(name)s}}
  template:
    metadata: {labels: {app: %(name)s}}
    spec:
      containers:
      - name: server
        image: %(image)s
        imagePullPolicy: IfNotPresent
        env: [{name: NAME, value: %(name)s}, {name: TOOLS, value: read}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: %(name)s}
spec: {selector: {app: %(name)s}, ports: [{port: 8080}]}
"""
"""What the operator does not own: the package index, and a server that "runs elsewhere"."""


async def demo() -> None:
    """Raises DemoFailed."""
    steps = Steps()
    await asyncio.to_thread(install, steps)
    await asyncio.to_thread(set_up, steps)
    before = await asyncio.to_thread(proxy_pods)
    async with endpoint() as url:
        steps.say(f"a client connects through the Service: {status()['url']}")
        await show(steps, url, before)
    print(f"\n{CLOSING}", flush=True)


def install(steps: Steps) -> None:
    """The chart, as a user installs it. Pods are made anew, so that they run the images of just now."""
    steps.say(f"helm upgrade --install mcp-operator charts/mcp-operator --namespace {SYSTEM} --set image.tag=dev")
    chart = ["helm", "upgrade", "--install", "mcp-operator", str(ROOT / "charts" / "mcp-operator"), "-n", SYSTEM]
    chosen = ["--set", "image.tag=dev", "--set-string", f"podAnnotations.demo-started={int(time.time())}"]
    run(*chart, "--create-namespace", *chosen, "--wait", "--timeout", "3m", limit=240)
    steps.say("the operator is ready")


def set_up(steps: Steps) -> None:
    """A namespace with servers and a proxy, all Ready."""
    found = kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "json")
    if found.strip():
        if MARK not in (json.loads(found)["metadata"].get("labels") or {}):
            raise DemoFailed(
                f"there is a namespace {NAMESPACE} which this demo did not make; remove or rename it first"
            )
        kubectl("delete", "namespace", NAMESPACE, "--wait", "--timeout=120s")
    kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, f"{MARK}=yes")
    for name, image in (("packages", "packages"), ("handbook", "backend")):
        apply(ELSEWHERE % {"name": name, "image": f"mcp-operator-test/{image}:dev"})
    began = time.monotonic()
    apply(SERVERS)
    steps.say("kubectl apply: a stdio server (uvx), a container server, a proxy with two replicas:")
    show_text(SERVERS, steps)
    wanted = ("mcps/time", "mcps/search", "mcpp/tools", "--for=condition=Ready", "--timeout=180s")
    in_namespace("rollout", "status", "deployment/handbook", "--timeout=120s", limit=130)
    in_namespace("wait", *wanted, limit=200)
    steps.say(f"all are Ready, {time.monotonic() - began:.1f} s after kubectl apply; kubectl get mcp:")
    wait_for_servers(2)
    show_text(in_namespace("get", "mcp"), steps)


def wait_for_servers(count: int) -> None:
    """Until the proxy's status tells that it reaches so many: its replicas are asked every ten seconds."""
    reached = f"--for=jsonpath={{.status.readyServers}}={count}"
    in_namespace("wait", "mcpp/tools", reached, f"--timeout={SECONDS}s")


async def show(steps: Steps, url: str, before: dict[str, int]) -> None:
    """The main job: list, call, swap in, swap out, on one session."""
    heard = asyncio.Event()

    async def on_message(message: ServerNotification | Exception) -> None:
        if not isinstance(message, Exception) and message.method == "notifications/tools/list_changed":
            heard.set()

    async with Client(url, mode="legacy", message_handler=on_message, timeout=30) as client:
        names = await until(lambda: tools_of(client, ["time", "search"]), "the tools of time and search")
        steps.say(f"one endpoint, 2 servers, {len(names)} tools: {', '.join(names)}")
        await call(steps, client, "time_get_current_time", timezone="Europe/Berlin")
        await call(steps, client, "search_add", a=19, b=23)
        heard.clear()
        steps.say("kubectl apply, while the client is connected:")
        show_text(SWAPPED_IN, steps)
        began = time.monotonic()
        await asyncio.to_thread(apply, SWAPPED_IN)
        await until(functools.partial(is_set, heard), "tools/list_changed")
        steps.say(f"the client heard tools/list_changed {time.monotonic() - began:.2f} s after kubectl apply began")
        await until(lambda: tools_of(client, ["handbook"]), "the tools of handbook")
        await call(steps, client, "handbook_read")
        steps.say(
            f"the new tool answered on the same session {time.monotonic() - began:.2f} s after kubectl apply began"
        )
        await asyncio.to_thread(in_namespace, "wait", "mcpp/tools", "--for=condition=Programmed", "--timeout=60s")
        steps.say(f"the proxy says: {programmed()}")
        await asyncio.to_thread(in_namespace, "delete", "mcps", "search", "--wait=false")
        await until(lambda: are_gone(client, "search_"), "the end of search's tools")
        steps.say("mcps/search is deleted: its tools are gone, the others still answer on the same session:")
        await call(steps, client, "time_get_current_time", timezone="UTC")
    after = await asyncio.to_thread(proxy_pods)
    if after != before:
        raise DemoFailed(f"the proxy's pods are not those from before: {before}, now {after}")
    steps.say("the proxy's pods are the same as before, none of them restarted:")
    for uid, restarts in sorted(after.items()):
        steps.detail(f"uid {uid}, {restarts} restarts")
    await asyncio.to_thread(apply, SERVERS)
    await asyncio.to_thread(in_namespace, "wait", "mcps/search", "--for=condition=Ready", "--timeout=120s")
    await asyncio.to_thread(wait_for_servers, 3)
    steps.say("mcps/search is back; kubectl get mcp:")
    show_text(await asyncio.to_thread(in_namespace, "get", "mcp"), steps)


async def until(check: Callable[[], Awaitable[Any]], what: str) -> Any:
    """What `check` finds, as soon as it is something. Raises DemoFailed."""
    try:
        async with asyncio.timeout(SECONDS):
            while not (found := await check()):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.02)
            return found
    except TimeoutError:
        state = in_namespace("get", "mcp", "-o", "wide")
        raise DemoFailed(f"{what}: not there within {SECONDS} s\n{state}") from None


@contextlib.asynccontextmanager
async def endpoint() -> AsyncIterator[str]:
    """URL of the proxy from here: the Service's own inside the local cluster, else by a port-forward."""
    if "MCP_OPERATOR_CLUSTER" in os.environ:
        address = json.loads(in_namespace("get", "service", "tools-proxy", "-o", "json"))["spec"]["clusterIP"]
        yield f"http://{address}/mcp"
        return
    command = ["kubectl", "-n", NAMESPACE, "port-forward", "service/tools-proxy", ":80"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if (port := re.search(r":(\d+) ->", line)) is None:
            raise DemoFailed("kubectl port-forward does not work; see its message above")
        yield f"http://127.0.0.1:{port[1]}/mcp"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def status() -> dict[str, Any]:
    """Status of the proxy."""
    return cast("dict[str, Any]", json.loads(in_namespace("get", "mcpp", "tools", "-o", "json"))["status"])


def programmed() -> str:
    """What the proxy's condition Programmed says."""
    return next(str(c["message"]) for c in status()["conditions"] if c["type"] == "Programmed")


def proxy_pods() -> dict[str, int]:
    """Restarts of the proxy's containers by the uid of their pod."""
    listed = json.loads(in_namespace("get", "pods", "-l", "mcp-operator.dev/proxy=tools", "-o", "json"))["items"]
    return {
        pod["metadata"]["uid"]: sum(container["restartCount"] for container in pod["status"]["containerStatuses"])
        for pod in listed
        if not pod["metadata"].get("deletionTimestamp")
    }


def show_text(text: str, steps: Steps) -> None:
    for line in text.rstrip().splitlines():
        steps.detail(line)


def apply(text: str) -> None:
    """`kubectl apply` in the demo's namespace."""
    in_namespace("apply", "-f", "-", given=yaml.safe_dump_all(yaml.safe_load_all(text)))


def in_namespace(*arguments: str, given: str | None = None, limit: float = 120) -> str:
    return kubectl("--namespace", NAMESPACE, *arguments, given=given, limit=limit)


def kubectl(*arguments: str, given: str | None = None, limit: float = 120) -> str:
    return run("kubectl", *arguments, given=given, limit=limit)


def run(*command: str, given: str | None = None, limit: float = 120) -> str:
    """Its standard output. Raises DemoFailed."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=limit, check=False)
    except FileNotFoundError:
        raise DemoFailed(f"{command[0]} is missing; run this by `make demo-cluster`") from None
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"{' '.join(command[:6])} … did not end within {limit:g} s") from None
    if done.returncode:
        raise DemoFailed(f"{' '.join(command[:8])}: {done.stderr.strip()}")
    return done.stdout


CLOSING: Final = f"""\
It goes on running. To look at it:
  make cluster-shell                                   # a shell where the cluster can be reached
  kubectl -n {NAMESPACE} get mcp -o wide
  kubectl -n {NAMESPACE} describe mcpp tools
  kubectl -n {NAMESPACE} get configmap tools-proxy-config -o jsonpath='{{.data.config\\.json}}'
To remove it:
  kubectl delete namespace {NAMESPACE}
  helm uninstall mcp-operator --namespace {SYSTEM}
  make cluster-down                                    # the whole local cluster"""


def main() -> int:
    if "KUBECONFIG" not in os.environ:
        print("KUBECONFIG names no cluster; `make demo-cluster` starts one and runs this in it", file=sys.stderr)
        return 2
    return exit_status("make demo-cluster", demo())


if __name__ == "__main__":
    sys.exit(main())
