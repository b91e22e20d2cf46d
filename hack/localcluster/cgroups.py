"""The control group under which a cluster's pods run: made before the kubelet starts, removed after the last process.

The kubelet creates `kubepods` below it, so a kubelet of the machine's own is never touched. Works with cgroup v1 (one tree a
controller) and v2 (one tree).
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from localcluster.errors import ClusterError

ROOT = Path("/sys/fs/cgroup")
REMOVE_SECONDS = 60.0
V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io")
V1_INHERITED = ("cpuset.cpus", "cpuset.mems")


def trees(root: Path = ROOT) -> list[Path]:
    """The root folder of every hierarchy; with v1, that of systemd and an empty v2 one may be among them."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted({entry.resolve() for entry in root.iterdir() if (entry / "cgroup.procs").exists()})


def create(name: str, root: Path = ROOT) -> None:
    """Make the group in every hierarchy; a v1 cpuset takes its parent's cores, without which no process may enter."""
    try:
        for tree in trees(root):
            (tree / name).mkdir(exist_ok=True)
            for inherited in V1_INHERITED:
                if (tree / inherited).exists():
                    (tree / name / inherited).write_text((tree / inherited).read_text())
            if (tree / "cgroup.subtree_control").exists():
                _delegate(tree)
    except OSError as error:
        raise ClusterError(f"cannot make a control group for the pods: {error}") from error


def _delegate(tree: Path) -> None:
    available = (tree / "cgroup.controllers").read_text().split()
    for controller in V2_CONTROLLERS:
        if controller in available:
            (tree / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str, root: Path = ROOT) -> None:
    """Remove the group from every hierarchy; the kernel may need a moment after the last process ended."""
    deadline = time.monotonic() + REMOVE_SECONDS
    for tree in trees(root):
        while (tree / name).exists():
            for folder, _, _ in os.walk(tree / name, topdown=False):
                with suppress(OSError):
                    Path(folder).rmdir()
            if time.monotonic() > deadline:
                raise ClusterError(f"the control group {tree / name} still has processes")
            time.sleep(0.02)
