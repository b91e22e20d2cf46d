"""The cluster's authorities, certificates and keys, made with the openssl command.

Names and usages follow Kubernetes' "PKI certificates and requirements" page.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from localcluster import configs
from localcluster.network import API_SERVICE_IP, DOMAIN, LOCAL_API, NODE, NODE_IP
from localcluster.progress import run

DAYS = 3650
CLIENT = "clientAuth"
SERVER = "serverAuth"


@dataclass(frozen=True)
class Certificate:
    """A leaf: file name, common name, organizations (groups of a client), names it serves, and its issuer."""

    file: str
    name: str
    usage: str
    groups: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    issuer: str = "ca"


_API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}")

AUTHORITIES = ("ca", "front-proxy-ca")
CERTIFICATES = (
    Certificate(
        "apiserver",
        "kube-apiserver",
        SERVER,
        alternatives=(
            *(f"DNS:{name}" for name in (*_API_NAMES, "localhost", NODE)),
            *(f"IP:{address}" for address in (API_SERVICE_IP, NODE_IP, "127.0.0.1")),
        ),
    ),
    Certificate("kubelet-server", f"system:node:{NODE}", SERVER, alternatives=(f"DNS:{NODE}", f"IP:{NODE_IP}")),
    Certificate("apiserver-kubelet-client", "kube-apiserver-kubelet-client", CLIENT, ("system:masters",)),
    Certificate("front-proxy-client", "front-proxy-client", CLIENT, issuer="front-proxy-ca"),
    Certificate("admin", "kubernetes-admin", CLIENT, ("system:masters",)),
    Certificate("kubelet", f"system:node:{NODE}", CLIENT, ("system:nodes",)),
    Certificate("kube-controller-manager", "system:kube-controller-manager", CLIENT),
    Certificate("kube-scheduler", "system:kube-scheduler", CLIENT),
    Certificate("kube-proxy", "system:kube-proxy", CLIENT),
)
KUBECONFIGS = ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy")


def leaf_config(certificate: Certificate) -> str:
    """The openssl configuration (config(5ssl)) of a leaf certificate."""
    subject = [
        *(f"{number}.O = {group}" for number, group in enumerate(certificate.groups)),
        f"CN = {certificate.name}",
    ]
    extensions = [
        "basicConstraints = critical, CA:FALSE",
        "keyUsage = critical, digitalSignature, keyEncipherment",
        f"extendedKeyUsage = {certificate.usage}",
        *([f"subjectAltName = {', '.join(certificate.alternatives)}"] if certificate.alternatives else []),
    ]
    return _config(subject, extensions)


def authority_config(name: str) -> str:
    """The openssl configuration of a self-signed authority."""
    extensions = ["basicConstraints = critical, CA:TRUE", "keyUsage = critical, digitalSignature, keyCertSign, cRLSign"]
    return _config([f"CN = {name}"], [*extensions, "subjectKeyIdentifier = hash"])


def _config(subject: Iterable[str], extensions: Iterable[str]) -> str:
    head = ["[req]", "prompt = no", "distinguished_name = subject", "x509_extensions = extensions"]
    return "\n".join([*head, "[subject]", *subject, "[extensions]", *extensions, ""])


def create(folder: Path) -> None:
    """Write every authority, certificate and key to `folder`, readable by its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in AUTHORITIES:
        _request(folder, name, authority_config(name), [])
    for certificate in CERTIFICATES:
        signer = ["-CA", str(folder / f"{certificate.issuer}.crt"), "-CAkey", str(folder / f"{certificate.issuer}.key")]
        _request(folder, certificate.file, leaf_config(certificate), signer)
    key = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(folder / "service-account.key")]
    run(["openssl", "genpkey", *key])


def _request(folder: Path, name: str, config: str, signer: list[str]) -> None:
    settings = folder / f"{name}.cnf"
    settings.write_text(config)
    key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        str(folder / f"{name}.key"),
    ]
    output = ["-days", str(DAYS), "-out", str(folder / f"{name}.crt")]
    run(["openssl", "req", "-x509", "-config", str(settings), *key, *signer, *output])


def write_kubeconfig(target: Path, pki: Path, certificate: str) -> None:
    """Write a kubeconfig that speaks to the API server on the node's loopback address with a certificate of `pki`."""
    authority, public, private = (
        base64.b64encode((pki / name).read_bytes()).decode()
        for name in ("ca.crt", f"{certificate}.crt", f"{certificate}.key")
    )
    target.touch(mode=0o600)
    target.write_text(json.dumps(configs.kubeconfig(LOCAL_API, authority, public, private), indent=1))
