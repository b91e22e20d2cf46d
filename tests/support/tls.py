"""Certificates for TLS servers of tests."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """Self-signed, for 127.0.0.1."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()


def make_certificate(folder: Path) -> Certificate:
    """Write `tls.crt` and `tls.key` into `folder`."""
    issued = issue()
    (folder / "tls.crt").write_text(issued.chain)
    (folder / "tls.key").write_text(issued.key)
    return Certificate(folder / "tls.crt", folder / "tls.key")


@dataclass(frozen=True)
class Issued:
    """PEM texts."""

    chain: str
    key: str

    @property
    def der(self) -> bytes:
        """As a client gets it."""
        return x509.load_pem_x509_certificate(self.chain.encode()).public_bytes(serialization.Encoding.DER)


def issue(kind: Literal["EC", "RSA"] = "EC", *names: str) -> Issued:
    """A self-signed certificate for 127.0.0.1 and for DNS names."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of a test")])
    known = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, names)]
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Issued(signed.public_bytes(serialization.Encoding.PEM).decode(), pem.decode())
