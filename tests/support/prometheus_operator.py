"""The Prometheus operator with the definitions of its kinds, and Prometheus' discovery, built from Go modules.

with running_prometheus_operator(folder, plane):
    scrape_configuration(plane, "monitoring", "k8s")
with discovering(folder, plane, {"job": {"role": "pod"}}) as files:
    file_sd_configs = [{"files": [str(files["job"])]}]
"""

import base64
import gzip
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from localcluster import binaries
from localcluster.catalogue import PROMETHEUS_OPERATOR
from localcluster.errors import ClusterError
from localcluster.paths import from_environment
from support.backends import free_port
from support.controlplane import ControlPlane
from support.definitions import wait_established
from support.ending import end

GROUP = "monitoring.coreos.com"
END_SECONDS = 30.0
_MISSING = "{}; `make prometheus-operator` builds and fetches what these tests need"
Body = dict[str, Any]


def definitions() -> Path:
    """The folder of the CustomResourceDefinitions, as the project releases them."""
    try:
        return binaries.definitions(PROMETHEUS_OPERATOR, from_environment(os.environ).cache)
    except ClusterError as error:
        raise RuntimeError(_MISSING.format(error)) from error


def definition(plural: str) -> Body:
    """One of them: `servicemonitors`."""
    found: Body = yaml.safe_load((definitions() / f"{GROUP}_{plural}.yaml").read_text())
    return found


def install_definitions(plane: ControlPlane) -> None:
    """All of them; they are too big for what a client-side apply keeps in an annotation."""
    plane.kubectl("apply", "--server-side", "-f", str(definitions()))
    names = [path.stem.partition("_")[2] for path in sorted(definitions().glob("*.yaml"))]
    wait_established(plane.kubectl, *(f"{plural}.{GROUP}" for plural in names))


@contextmanager
def running_prometheus_operator(folder: Path, plane: ControlPlane) -> Iterator[None]:
    """The real one, with the administrator's rights, its log in `folder`. One that ends by itself is a failure."""
    flags = [
        f"-apiserver={plane.url}",
        f"-ca-file={plane.pki / 'ca.crt'}",
        f"-cert-file={plane.pki / 'admin.crt'}",
        f"-key-file={plane.pki / 'admin.key'}",
        f"-web.listen-address=127.0.0.1:{free_port()}",
        "-kubelet-endpoints=false",
    ]
    with _running(folder, "prometheus-operator", *flags):
        yield


@contextmanager
def discovering(folder: Path, plane: ControlPlane, jobs: Mapping[str, Body]) -> Iterator[Mapping[str, Path]]:
    """Files for file_sd_configs that are kept current, by the names of the jobs, whose kubernetes_sd_config is given.

    What Debian's Prometheus was built without. An unknown field of a configuration is a failure.
    """
    account = {"ca_file": "ca.crt", "cert_file": "admin.crt", "key_file": "admin.key"}
    tls = {key: str(plane.pki / file) for key, file in account.items()}
    files = {name: folder / f"{name.replace('/', '-')}.json" for name in jobs}
    read = {files[name].stem: {**found, "api_server": plane.url, "tls_config": tls} for name, found in jobs.items()}
    with _running(folder, "prometheus-discovery", str(folder), stdin=yaml.safe_dump(read)):
        yield files


@contextmanager
def _running(folder: Path, name: str, *arguments: str, stdin: str = "") -> Iterator[None]:
    try:
        program = binaries.locate([name], from_environment(os.environ).cache)[name]
    except ClusterError as error:
        raise RuntimeError(_MISSING.format(error)) from error
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=output, stderr=output)
    try:
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        yield
        assert process.poll() is None, log.read_text()[-4000:]
    finally:
        end(process, END_SECONDS)


def scrape_configuration(plane: ControlPlane, namespace: str, name: str) -> str:
    """The YAML that it wrote for a Prometheus; empty as long as there is none. Fails as kubectl does without its Secret.

    As Prometheus gets it: the reloader in its pod has put the number of the shard in.
    """
    secret = json.loads(plane.kubectl("-n", namespace, "get", "secret", f"prometheus-{name}", "-o", "json"))
    packed = (secret.get("data") or {}).get("prometheus.yaml.gz", "")
    return gzip.decompress(base64.b64decode(packed)).decode().replace("$(SHARD)", "0") if packed else ""


def rule_files(plane: ControlPlane, namespace: str, name: str) -> Mapping[str, str]:
    """The files of rules that it wrote for a Prometheus."""
    chosen = ("-n", namespace, "get", "configmaps", "-l", f"prometheus-name={name}", "-o", "json")
    listed = json.loads(plane.kubectl(*chosen))["items"]
    return {file: text for body in listed for file, text in (body.get("data") or {}).items()}
