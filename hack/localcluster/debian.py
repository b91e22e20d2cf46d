"""Installs the Debian packages that are missing, without starting the services they bring."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.paths import from_environment
from localcluster.progress import ATTEMPTS_TO_FETCH, run_long, say

# A file or command that shows that a package is there, by package.
CLUSTER = {
    "etcd-server": "etcd",
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iptables": "iptables",
    "iproute2": "ip",
    "util-linux": "unshare",
    "openssl": "openssl",
    "lua5.1": "lua5.1",
}
IMAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}

INSTALL = """
set -e
apt='apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3'
$apt update
exec $apt install -y --no-install-recommends "$@"
"""
"""Lists and packages in one script: another attempt begins with the lists. The machine's own upgrades may hold the lock."""
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_DENIES = "#!/bin/sh\n# Written by mcp-operator while it installs packages: no service is started.\nexit 101\n"


def installed(probe: str) -> bool:
    """Whether a command is on PATH (or in the system folders), or an absolute path exists; that may have wildcards."""
    if probe.startswith("/"):
        return any(Path("/").glob(probe[1:]))
    return (
        shutil.which(probe, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
        is not None
    )


def missing(packages: dict[str, str], present: Callable[[str], bool] = installed) -> list[str]:
    """The packages whose probe fails, in order."""
    return [package for package, probe in packages.items() if not present(probe)]


def ensure(packages: dict[str, str], cache: Path) -> None:
    """Install what is missing; on a machine without apt or without root, say what to install instead."""
    needed = missing(packages)
    if not needed:
        return
    probes = ", ".join(f"{packages[package]} (Debian: {package})" for package in needed)
    if shutil.which("apt-get") is None:
        raise ClusterError(f"please install what is missing: {probes}")
    if os.geteuid() != 0:
        raise ClusterError(f"missing: {probes}. As root: apt-get install {' '.join(needed)}")
    _install(needed, cache)
    still = missing(packages)
    if still:
        raise ClusterError(f"installed, but still not found: {', '.join(still)}")


def command(packages: dict[str, str], meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext) -> int:
    """What `hack/NAME` does for a set of packages: install what is missing, within `meanwhile`. An exit status.

    No service is started.
    """
    try:
        if missing(packages):
            with meanwhile():
                ensure(packages, from_environment(os.environ).cache)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    return 0


def _install(packages: Iterable[str], cache: Path) -> None:
    names = list(packages)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = cache / "logs" / "apt.log"
    with no_services(POLICY):
        run_long(
            f"installing {' '.join(names)}",
            ["sh", "-c", INSTALL, "install", *names],
            log=log,
            expected_seconds=40,
            environment=environment,
            attempts=ATTEMPTS_TO_FETCH,
        )


@contextmanager
def no_services(policy: Path) -> Iterator[None]:
    """Deny service starts by policy-rc.d(8) meanwhile; a policy of the machine comes back, even after a killed run."""
    kept = policy.with_name(f"{policy.name}.before-mcp-operator")
    _restore(policy, kept)
    if _denies(policy):
        yield
        return
    if policy.exists():
        policy.rename(kept)
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(POLICY_DENIES)
    policy.chmod(0o755)
    try:
        yield
    finally:
        _restore(policy, kept)


def _restore(policy: Path, kept: Path) -> None:
    if kept.exists():
        kept.replace(policy)
    elif policy.exists() and policy.read_bytes() == POLICY_DENIES.encode():
        policy.unlink()


def _denies(policy: Path) -> bool:
    """Whether the machine's own policy denies a start already (exit status 101, as container images ship it)."""
    if not policy.exists():
        return False
    try:
        return subprocess.run([policy, "containerd", "start"], capture_output=True, check=False).returncode == 101
    except OSError:
        return False
