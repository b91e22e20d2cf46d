"""What a node and the built-in controllers do for proxies, without either: a pod for each Deployment, its files, its process.

    python -m bench.operator.node --url https://127.0.0.1:6443 --pki FOLDER --data FOLDER

The proxies are the product's own, with their own HTTP servers, each on a loopback address of its own (`world.address`); they
share this one process. As by a kubelet, a pod's files are renewed when the pod object changes, in one step, and at once.
"""

import argparse
import asyncio
import base64
import contextlib
import itertools
import signal
import ssl
from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.operator.api import Api, ApiError, Body
from bench.operator.world import NAMESPACE, PORT, address
from mcp_operator.api import meta
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from mcp_operator_proxy.swap.read import Snapshot
from mcp_operator_proxy.swap.watch import load

CORE: Final = f"/api/v1/namespaces/{NAMESPACE}"
APPS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}"
CHILDREN: Final = f"labelSelector={meta.LABEL_MANAGED_BY}%3D{meta.MANAGED_BY}"


def projected(pod: Body, objects: Mapping[tuple[str, str], Body]) -> dict[str, bytes] | None:
    """The files of the pod's projected volumes; None while one of their sources is missing."""
    files: dict[str, bytes] = {}
    for volume in pod["spec"].get("volumes", ()):
        for source in volume.get("projected", {}).get("sources", ()):
            for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                if field not in source:
                    continue
                found = objects.get((kind, source[field]["name"]))
                if found is None:
                    if source[field].get("optional"):
                        continue
                    return None
                files |= contents(kind, found)
    return files


def contents(kind: str, body: Body) -> dict[str, bytes]:
    """What a ConfigMap or Secret holds."""
    encoded = body.get("data" if kind == "Secret" else "binaryData") or {}
    plain = {} if kind == "Secret" else {name: text.encode() for name, text in (body.get("data") or {}).items()}
    return plain | {name: base64.b64decode(text) for name, text in encoded.items()}


def put(folder: Path, files: Mapping[str, bytes], number: int) -> None:
    """Swap the content of a volume as the kubelet does: a new folder, and one symlink renamed."""
    target = folder / f"..{number}"
    target.mkdir(parents=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
    link = folder / "..data"
    before = link.resolve() if link.is_symlink() else None
    partial = folder / "..data_tmp"
    partial.symlink_to(target.name)
    partial.replace(link)
    if before is not None:
        for path in before.iterdir():
            path.unlink()
        before.rmdir()


class Node:
    """Takes the events of Deployments, pods, ConfigMaps and Secrets."""

    def __init__(self, api: Api, data: Path) -> None:
        self._api = api
        self._data = data
        self._objects: dict[tuple[str, str], Body] = {}
        self._pods: dict[str, Replica] = {}
        self._observed: dict[str, int] = {}
        self._stack = contextlib.AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Until cancelled. Raises what any part of it raised."""
        paths = {
            "Deployment": f"{APPS}/deployments?{CHILDREN}",
            "ConfigMap": f"{CORE}/configmaps?{CHILDREN}",
            "Secret": f"{CORE}/secrets?{CHILDREN}",
            "Pod": f"{CORE}/pods?{CHILDREN}",
        }
        try:
            for kind, path in paths.items():
                self._spawn(self._api.follow(path, partial(self._heard, kind)))
            await self.failed
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._stack.aclose()

    def _heard(self, kind: str, event: str, body: Body) -> None:
        name = body["metadata"]["name"]
        if event == "DELETED":
            self._objects.pop((kind, name), None)
            return
        self._objects[kind, name] = body
        if kind == "Deployment":
            self._spawn(self._roll_out(name, body))
        elif kind == "Pod" and name in self._pods:
            self._pods[name].look()
        else:  # a pod that waits for its first files
            for replica in self._pods.values():
                if not replica.filled:
                    replica.look()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def _roll_out(self, name: str, deployment: Body) -> None:
        """One pod for a Deployment, whatever it asks for, and the status of a rollout that is done."""
        generation = deployment["metadata"]["generation"]
        if self._observed.get(name, 0) >= generation:
            return
        first, self._observed[name] = name not in self._observed, generation
        if first:
            await self._start(name, deployment)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        status = {"status": {"observedGeneration": generation, **counts}}
        await self._api.send("PATCH", f"{APPS}/deployments/{name}/status", status)

    async def _start(self, name: str, deployment: Body) -> None:
        template = deployment["spec"]["template"]
        pod = f"{name}-0"
        proxy = template["metadata"]["labels"][meta.LABEL_PROXY]
        replica = Replica(self._data / pod, lambda: projected(self._objects.get(("Pod", pod), body), self._objects))
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "labels": template["metadata"]["labels"]},
            "spec": {**template["spec"], "nodeName": "bench"},
        }
        self._pods[pod] = replica
        with contextlib.suppress(ApiError):  # there since an earlier run of this program
            await self._api.send("POST", f"{CORE}/pods", body)
        await self._stack.enter_async_context(replica.serving(address(proxy), PORT))
        status = {
            "phase": "Running",
            "podIP": address(proxy),
            "podIPs": [{"ip": address(proxy)}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "startTime": "2026-01-01T00:00:00Z",
        }
        self._spawn(replica.follow())
        replica.look()
        await self._api.send("PATCH", f"{CORE}/pods/{pod}/status", {"status": status})


class Replica:
    """One proxy with its folder. `files` are what should stand there now; None: not yet."""

    def __init__(self, folder: Path, files: Any) -> None:
        self._folder = folder
        self._files = files
        self._proxy = Proxy()
        self._changed = asyncio.Event()
        self.filled = False

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> Any:
        async with self._proxy, running(self._proxy, host, port, grace_seconds=1):
            yield

    def look(self) -> None:
        """The pod has changed: see whether its files have."""
        self._changed.set()

    async def follow(self) -> None:
        before: dict[str, bytes] | None = None
        snapshot: Snapshot | None = None
        for number in itertools.count():
            await self._changed.wait()
            self._changed.clear()
            files = self._files()
            if files is None or files == before:
                continue
            put(self._folder, files, number)
            before, self.filled = files, True
            snapshot = await load(self._proxy, self._folder, snapshot)


async def serve(url: str, context: ssl.SSLContext, data: Path) -> None:
    """Until SIGTERM."""
    async with Api(url, context) as api:
        node = asyncio.ensure_future(Node(api, data).run())
        for sig in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sig, node.cancel)
        print("serving", flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            await node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--pki", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    context = ssl.create_default_context(cafile=str(args.pki / "ca.crt"))
    context.load_cert_chain(str(args.pki / "admin.crt"), str(args.pki / "admin.key"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(args.url, context, args.data))


if __name__ == "__main__":
    main()
