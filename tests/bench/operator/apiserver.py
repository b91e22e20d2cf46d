"""A kube-apiserver over etcd, alone: no node, no controller, no root. The programs are those of the local cluster."""

import contextlib
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.procs import Process, free_port, running
from localcluster import binaries, catalogue, commands, debian, pki
from localcluster.paths import from_environment

ETCD: Final = {"etcd-server": "etcd", "openssl": "openssl"}
START_SECONDS: Final = 60.0


@dataclass(frozen=True)
class ApiServer:
    """A running one. Whoever has `admin` may do everything."""

    url: str
    pki: Path
    kubeconfig: Path
    processes: tuple[Process, ...]

    def ssl(self) -> ssl.SSLContext:
        """With the admin's certificate."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(str(self.pki / "admin.crt"), str(self.pki / "admin.key"))
        return context


def programs() -> dict[str, str]:
    """Paths of etcd, kube-apiserver and kubectl; what is missing is installed or built, as for the local cluster."""
    cache = from_environment(os.environ).cache
    debian.ensure(ETCD, cache)
    binaries.build([catalogue.COMPONENTS], cache)
    return binaries.locate(["etcd", "kube-apiserver", "kubectl"], cache)


@contextlib.contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """One of its own, with its data below `folder`, on ports that are free."""
    found = programs()
    certificates = folder / "pki"
    pki.create(certificates)
    client, peer, port = free_port(), free_port(), free_port()
    url = f"https://127.0.0.1:{port}"
    etcd_argv = [found["etcd"], *commands.flags(_etcd(folder / "etcd", client, peer))]
    with running(etcd_argv, folder / "etcd.log") as etcd:
        argv = [found["kube-apiserver"], *commands.flags(_apiserver(certificates, client, port))]
        with running(argv, folder / "apiserver.log") as process:
            kubeconfig = folder / "kubeconfig"
            _write_kubeconfig(kubeconfig, url, certificates)
            server = ApiServer(url, certificates, kubeconfig, (etcd, process))
            context = server.ssl()
            process.wait_until(lambda: _ready(url, context), START_SECONDS)
            yield server


def _etcd(data: Path, client: int, peer: int) -> dict[str, str]:
    return {
        "name": "bench",
        "data-dir": str(data),
        "listen-client-urls": f"http://127.0.0.1:{client}",
        "advertise-client-urls": f"http://127.0.0.1:{client}",
        "listen-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-cluster": f"bench=http://127.0.0.1:{peer}",
        "quota-backend-bytes": str(2 * 1024**3),
        "log-level": "warn",
    }


def _apiserver(certificates: Path, etcd: int, port: int) -> dict[str, str]:
    """As the local cluster's, on loopback. Nobody makes ServiceAccounts here, so pods may do without."""
    return {
        "etcd-servers": f"http://127.0.0.1:{etcd}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "endpoint-reconciler-type": "none",
        "secure-port": str(port),
        "service-cluster-ip-range": "10.96.0.0/16",
        "authorization-mode": "RBAC",
        "disable-admission-plugins": "ServiceAccount",
        "client-ca-file": f"{certificates}/ca.crt",
        "tls-cert-file": f"{certificates}/apiserver.crt",
        "tls-private-key-file": f"{certificates}/apiserver.key",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": f"{certificates}/service-account.key",
        "service-account-signing-key-file": f"{certificates}/service-account.key",
        "profiling": "false",
    }


def _ready(url: str, context: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _write_kubeconfig(path: Path, url: str, certificates: Path) -> None:
    user = {
        "client-certificate": str(certificates / "admin.crt"),
        "client-key": str(certificates / "admin.key"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "bench", "cluster": {"server": url, "certificate-authority": str(certificates / "ca.crt")}}
        ],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "admin"}}],
        "current-context": "bench",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
