"""The node: what runs as the first process inside the namespaces (`unshare … python3 -m localcluster.node STATE CACHE`)."""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from localcluster import apiserver, cgroups, commands, configs, mounts, network, plan
from localcluster.errors import ClusterError
from localcluster.network import DOMAIN, NODE
from localcluster.paths import Paths
from localcluster.plan import Plan
from localcluster.progress import run, say
from localcluster.supervisor import Supervisor

STEP_SECONDS = 240.0
POLL_SECONDS = 0.05
OPEN_FILES = 1048576


def main() -> int:
    """Reap orphans until the node's process ends; its end is that of the cluster."""
    paths = Paths(state=Path(sys.argv[1]), cache=Path(sys.argv[2]))
    node = os.fork()
    if node == 0:
        os._exit(_run_node(paths))
    while True:
        ended, status = os.wait()
        if ended == node:
            return os.waitstatus_to_exitcode(status)


def _run_node(paths: Paths) -> int:
    started = time.monotonic()
    try:
        _enter_node(paths)
        _boot(paths, plan.read(paths), started)
    except (ClusterError, OSError) as error:
        paths.failed.write_text(str(error))
        return 1
    while True:
        time.sleep(3600)


def _enter_node(paths: Paths) -> None:
    socket.sethostname(NODE)
    mounts.mount(paths)
    cgroups.create(paths.cgroup)
    for command in network.SETUP:
        run(command)
    for name, value in network.SYSCTLS.items():
        (Path("/proc/sys") / name).write_text(value)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _boot(paths: Paths, content: Plan, started: float) -> None:
    """Start everything in the order of its needs and wait until a pod can run and find Services by name."""
    supervisor = Supervisor(paths, content.commands, os.environ)
    supervisor.start(*commands.RUNTIME, *commands.API)
    ctr = [content.tools["ctr"], f"--address={configs.CONTAINERD_SOCKET}", "--namespace=k8s.io"]
    _wait("containerd", lambda: _succeeds([*ctr, "version"]))
    for archive in sorted((paths.data / "images").glob("*.tar")):
        run([*ctr, "images", "import", str(archive)])
    _wait("the API server", lambda: apiserver.ready(paths.pki))
    say(f"the API server is ready ({time.monotonic() - started:.1f} s)")
    supervisor.start(*commands.NODE_AGENTS)
    kubectl = [content.tools["kubectl"], f"--kubeconfig={paths.kubeconfig}"]
    run([*kubectl, "apply", "--server-side", f"--filename={paths.config}/addons.json"])
    timeout = f"--timeout={STEP_SECONDS:.0f}s"
    run([*kubectl, "wait", timeout, "--for=create", f"node/{NODE}"])
    run([*kubectl, "wait", timeout, "--for=condition=Ready", f"node/{NODE}"])
    say(f"the node is ready ({time.monotonic() - started:.1f} s)")
    run([*kubectl, "wait", timeout, "--namespace=kube-system", "--for=condition=Available", "deployment/coredns"])
    _wait("DNS", lambda: _succeeds(["getent", "ahostsv4", f"kubernetes.default.svc.{DOMAIN}"]))
    run([*kubectl, "wait", timeout, "--namespace=default", "--for=create", "serviceaccount/default"])
    seconds = time.monotonic() - started
    partial = paths.ready.with_suffix(".partial")
    partial.write_text(json.dumps({"revision": content.revision, "seconds": round(seconds, 1)}))
    partial.replace(paths.ready)


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _wait(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STEP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not become ready within {STEP_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
