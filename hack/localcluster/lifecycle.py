"""Starts the local cluster, knows whether it is well, and removes every trace of it."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from localcluster import (
    addons,
    archives,
    binaries,
    catalogue,
    cgroups,
    commands,
    configs,
    debian,
    pki,
    plan,
    processes,
)
from localcluster.errors import ClusterError
from localcluster.locks import exclusive
from localcluster.paths import HACK, Paths
from localcluster.plan import Plan
from localcluster.processes import MARK
from localcluster.progress import say, tail

START_SECONDS = 600.0
HEALTH_SECONDS = 60.0
POLL_SECONDS = 0.1
NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")


def up(paths: Paths) -> float | None:
    """Bring the cluster up; returns the seconds it took, or None when it was running and well.

    What an earlier run left, killed or not, is removed first. Raises `ClusterError` when the machine cannot do it.
    """
    require_machine()
    debian.ensure(debian.CLUSTER, paths.cache)
    binaries.build_all(paths.cache)
    with exclusive(paths.lock, "starting or stopping the cluster"):
        content = wanted(paths)
        if _is_wanted_and_well(paths, content):
            return None
        remove(paths)
        started = time.monotonic()
        _write(paths, content)
        _start(paths)
        return time.monotonic() - started


def down(paths: Paths) -> bool:
    """Stop the cluster and remove what belongs to it; returns whether there was anything."""
    require_machine()
    with exclusive(paths.lock, "starting or stopping the cluster"):
        return remove(paths)


def require_machine() -> None:
    """The local cluster needs Linux namespaces and the right to make them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError(
            "the local cluster needs Linux and root. Without them, set KUBECONFIG to a cluster that tests may use, "
            "or run `make kind` where Docker runs."
        )


def wanted(paths: Paths) -> Plan:
    """The plan that `up` would start now."""
    names = (*commands.ALL, *plan.TOOLS)
    return plan.make(paths, binaries.locate(names, paths.cache), plan.cni_folder())


def running(paths: Paths) -> processes.Process | None:
    """The first process of the cluster's namespaces, if it lives."""
    return processes.first(processes.of_cluster(paths.state))


def well(paths: Paths) -> bool:
    """Whether the cluster runs, has been ready, and its API server and node are so now."""
    first = running(paths)
    if first is None or not paths.ready.exists():
        return False
    kubectl = [plan.read(paths).tools["kubectl"], f"--kubeconfig={paths.kubeconfig}", "--request-timeout=5s"]
    checks = (
        [*kubectl, "get", "--raw=/readyz"],
        [*kubectl, "wait", "--for=condition=Ready", "--timeout=5s", "node", "--all"],
    )
    return all(
        subprocess.run([*inside(first), *check], capture_output=True, check=False).returncode == 0 for check in checks
    )


def inside(first: processes.Process) -> list[str]:
    """The prefix that runs a short command in the node's network and mount namespaces."""
    return ["nsenter", f"--target={first.pid}", "--net", "--mount", "--uts", "--"]


def remove(paths: Paths) -> bool:
    """Kill the cluster's processes and remove control groups and state."""
    ended = processes.end_all(paths.state)
    existed = paths.state.exists()
    cgroups.remove(paths.cgroup)
    if existed:
        shutil.rmtree(paths.state)
    return bool(ended or existed)


def _is_wanted_and_well(paths: Paths, content: Plan) -> bool:
    if running(paths) is None:
        return False
    if _revision(paths) != content.revision:
        say("the running cluster was started with another configuration: starting it anew")
        return False
    deadline = time.monotonic() + (HEALTH_SECONDS if paths.ready.exists() else START_SECONDS)
    while running(paths) is not None and not paths.failed.exists() and time.monotonic() < deadline:
        if well(paths):
            return True
        time.sleep(POLL_SECONDS)
    say("the running cluster is not well: starting it anew")
    return False


def _revision(paths: Paths) -> str | None:
    with suppress(ClusterError):
        return plan.read(paths).revision
    return None


def _write(paths: Paths, content: Plan) -> None:
    for folder in (paths.state, paths.logs, paths.data / "images"):
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    pki.create(paths.pki)
    plan.write(content, paths)
    for name in pki.KUBECONFIGS:
        pki.write_kubeconfig(paths.config / f"{name}.kubeconfig", paths.pki, name)
    pki.write_kubeconfig(paths.kubeconfig, paths.pki, "admin")
    for image, module in ((configs.PAUSE_IMAGE, catalogue.PAUSE), (addons.COREDNS_IMAGE, catalogue.COREDNS)):
        name = module.programs[0].name
        binary = binaries.folder_of(module, paths.cache) / name
        archives.write(paths.data / "images" / f"{name}.tar", image, binary, platform.machine())


def _start(paths: Paths) -> None:
    log = paths.logs / "node.log"
    python = [sys.executable, "-m", "localcluster.node", str(paths.state), str(paths.cache)]
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(HACK),
        "PYTHONDONTWRITEBYTECODE": "1",
        MARK: str(paths.state),
    }
    say(f"starting the local cluster (logs: {paths.logs})")
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["unshare", *NAMESPACES, *python],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _follow(paths, process, log)
    except BaseException:
        processes.end_all(paths.state)
        raise


def _follow(paths: Paths, process: subprocess.Popen[bytes], log: Path) -> None:
    """Relay what the node says until it is ready; a failure ends the wait with the node's own words."""
    shown = 0
    deadline = time.monotonic() + START_SECONDS
    while not paths.ready.exists():
        lines = log.read_text(errors="replace").splitlines()
        for line in lines[shown:]:
            say(f"  {line}")
        shown = len(lines)
        if paths.failed.exists() or process.poll() is not None or time.monotonic() > deadline:
            reason = paths.failed.read_text() if paths.failed.exists() else "its first process ended, or time was up"
            raise ClusterError(f"the local cluster did not start: {reason}\n{_logs(paths)}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)


def _logs(paths: Paths) -> str:
    return "\n".join(f"--- {log}\n{tail(log, 8)}" for log in sorted(paths.logs.glob("*.log")))


def seconds_to_ready(paths: Paths) -> float | None:
    """What the running cluster took from its first process to ready."""
    try:
        return float(json.loads(paths.ready.read_text())["seconds"])
    except (OSError, ValueError, KeyError):
        return None
