"""What the node sees in places where the machine has something else: private folders, bound inside its mount namespace.

Only the empty folders to mount on may have to be made on the machine; they are written down first and removed by `down`.
"""

import json
from contextlib import suppress
from pathlib import Path

from localcluster.paths import Paths
from localcluster.progress import run

TMPFS = ("/run/containerd", "/run/netns", "/var/lib/etcd", "/var/lib/cni", "/var/log/containers")
BOUND = {"/var/lib/containerd": "containerd", "/var/lib/kubelet": "kubelet"}
FILES = {"/etc/hosts": "hosts", "/etc/resolv.conf": "resolv.conf"}


def prepare(paths: Paths) -> None:
    """Make the folders to mount on, on the machine, before the namespaces are made."""
    absent = [target for target in (*TMPFS, *BOUND) if not Path(target).exists()]
    paths.mountpoints.write_text(json.dumps(absent))
    for target in absent:
        Path(target).mkdir(parents=True, exist_ok=True)
    for name in BOUND.values():
        (paths.data / name).mkdir(parents=True, exist_ok=True)


def restore(paths: Paths) -> None:
    """Remove the folders that `prepare` made and that nobody has put anything into since."""
    with suppress(OSError, ValueError):
        for target in json.loads(paths.mountpoints.read_text()):
            with suppress(OSError):
                Path(target).rmdir()


def mount(paths: Paths) -> None:
    """Mount everything; to be run inside the node's mount namespace."""
    run(["mount", "--make-rshared", "/"])
    for target in TMPFS:
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", target])
    for target, name in BOUND.items():
        if name == "containerd" and on_overlay(paths.data):
            run(["mount", "-t", "tmpfs", "-o", "mode=0711", "tmpfs", target])
        else:
            run(["mount", "--bind", str(paths.data / name), target])
    for target, name in FILES.items():
        run(["mount", "--bind", str(paths.config / name), target])


def on_overlay(folder: Path) -> bool:
    """Whether a folder lies on an overlay file system, as in most containers: no overlay can have its upper layer there."""
    return run(["stat", "--file-system", "--format=%T", str(folder)]).strip() == "overlayfs"
