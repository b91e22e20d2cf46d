"""A kind cluster instead, where a container engine runs."""

import os
import shutil
import subprocess
from pathlib import Path

from localcluster import binaries, catalogue
from localcluster.errors import ClusterError
from localcluster.paths import Paths
from localcluster.progress import say

NAME = "mcp-operator"


def require_engine() -> None:
    """`ClusterError` unless `docker info` answers."""
    if shutil.which("docker") is None:
        raise ClusterError(
            "kind needs Docker, and there is no `docker` command. Without Docker, `make cluster` runs a real node on Linux."
        )
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ClusterError(f"kind needs Docker, and `docker info` fails: {answer.stderr.strip()[-500:]}")


def _kind(paths: Paths, *arguments: str) -> None:
    binaries.build([catalogue.KIND], paths.cache)
    program = binaries.folder_of(catalogue.KIND, paths.cache) / "kind"
    status = subprocess.run([program, *arguments], env=_own_environment(), check=False).returncode
    if status != 0:
        raise ClusterError(f"kind {arguments[0]} {arguments[1]} failed with exit status {status}")


def _own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}


def kubeconfig(paths: Paths) -> Path:
    """Where the kind cluster's kubeconfig goes; ~/.kube/config is left alone."""
    return paths.state.parent / "kind.kubeconfig"


def up(paths: Paths, files: list[Path]) -> None:
    """Create the kind cluster unless it is there, and load image archives."""
    require_engine()
    target = kubeconfig(paths)
    target.parent.mkdir(parents=True, exist_ok=True)
    existing = subprocess.run(["docker", "ps", "--format", "{{.Names}}"], capture_output=True, text=True, check=True)
    if f"{NAME}-control-plane" in existing.stdout.split():
        _kind(paths, "export", "kubeconfig", "--name", NAME, "--kubeconfig", str(target))
    else:
        _kind(paths, "create", "cluster", "--name", NAME, "--kubeconfig", str(target), "--wait", "120s")
    for archive in files:
        _kind(paths, "load", "image-archive", "--name", NAME, str(archive))
    say(f"the kind cluster is there; use it with: export KUBECONFIG={target}")


def down(paths: Paths) -> None:
    """Delete the kind cluster."""
    require_engine()
    _kind(paths, "delete", "cluster", "--name", NAME, "--kubeconfig", str(kubeconfig(paths)))
    kubeconfig(paths).unlink(missing_ok=True)
