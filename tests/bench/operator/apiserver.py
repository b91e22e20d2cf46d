"""The API server of the benchmark: one of its own, without a node, a controller or root. What is missing for it is built."""

import os
from pathlib import Path
from typing import Final

from localcluster import binaries, catalogue, debian
from localcluster.paths import from_environment
from support.controlplane import ControlPlane

PACKAGES: Final = {"etcd-server": "etcd", "openssl": "openssl"}
ROOM: Final = {"quota-backend-bytes": str(2 * 1024**3)}
"""For two thousand servers and all their versions."""
NO_ACCOUNTS: Final = {"disable-admission-plugins": "ServiceAccount"}
"""Nobody makes ServiceAccounts here, so pods may do without."""


def api_server(folder: Path) -> ControlPlane:
    """Use as `with`. Its programs are those of the local cluster, and installed or built like them."""
    cache = from_environment(os.environ).cache
    debian.ensure(PACKAGES, cache)
    binaries.build([catalogue.COMPONENTS], cache)
    return ControlPlane(folder, etcd=ROOM, api=NO_ACCOUNTS)
