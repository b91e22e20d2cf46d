"""What the node sees in places where the machine has something else.

Everything is mounted inside the node's mount namespace, and nothing is made on the machine to mount on: a folder that would need
new entries is replaced by a mirror of itself that has them. (Removing a mount point from a machine unmounts it in every other
namespace, so two clusters could not share one.)
"""

from pathlib import Path

from localcluster.paths import Paths
from localcluster.progress import run

MIRRORED = {"/run": ("containerd", "netns"), "/var/lib": ("containerd", "kubelet", "etcd", "cni")}
TMPFS = ("/run/containerd", "/run/netns", "/var/lib/etcd", "/var/lib/cni", "/var/log")
BOUND = {"/var/lib/containerd": "containerd", "/var/lib/kubelet": "kubelet"}
FILES = {"/etc/hosts": "hosts", "/etc/resolv.conf": "resolv.conf"}
LAYOUT = (MIRRORED, TMPFS, BOUND, FILES)


def mount(paths: Paths) -> None:
    """Mount everything; to be run inside a mount namespace of its own, whose mounts are private."""
    for folder, names in MIRRORED.items():
        _mirror(Path(folder), names, paths.data / "mirror")
    for target in TMPFS:
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", target])
    for target, name in BOUND.items():
        (paths.data / name).mkdir(parents=True, exist_ok=True)
        if name == "containerd" and on_overlay(paths.data):
            run(["mount", "-t", "tmpfs", "-o", "mode=0711", "tmpfs", target])
        else:
            run(["mount", "--bind", str(paths.data / name), target])
    for target, name in FILES.items():
        run(["mount", "--bind", str(paths.config / name), target])
    run(["mount", "--make-rshared", "/"])


def _mirror(folder: Path, names: tuple[str, ...], staging: Path) -> None:
    """Replace a folder by a tmpfs with its entries bound into it, and empty folders of the given names besides."""
    staging.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(staging)])
    for entry in sorted(folder.iterdir()):
        copy = staging / entry.name
        if entry.is_symlink():
            copy.symlink_to(entry.readlink())
        elif entry.name not in names:
            copy.mkdir() if entry.is_dir() else copy.touch()
            run(["mount", "--rbind", str(entry), str(copy)])
    for name in names:
        (staging / name).mkdir()
    run(["mount", "--move", str(staging), str(folder)])


def on_overlay(folder: Path) -> bool:
    """Whether a folder lies on an overlay file system, as in most containers: no overlay can have its upper layer there."""
    return run(["stat", "--file-system", "--format=%T", str(folder)]).strip() == "overlayfs"
