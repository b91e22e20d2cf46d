"""A certificate chain with its key, from PEM texts. It knows nothing of where they stand."""

import hashlib
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class BadCertificate(ValueError):
    """The text is no certificate chain with its key. The message holds nothing of either."""


@dataclass(frozen=True)
class Certificate:
    """A chain with its key, ready for use. Equal content is an equal certificate."""

    digest: str
    not_after: float
    """Seconds since the epoch."""
    context: ssl.SSLContext = field(compare=False, repr=False)


def load(chain: bytes, key: bytes) -> Certificate:
    """From PEM texts. Raises BadCertificate."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise BadCertificate("is no PEM certificate") from None
    context = listening()
    pem = b"\n".join([key.strip(), chain.strip(), b""])
    try:
        with _memory_file(pem) as path:
            context.load_cert_chain(path, password=_no_password)
    except (ssl.SSLError, OSError, ValueError):
        raise BadCertificate("does not fit its key, or the key is none in PEM without a password") from None
    return Certificate(hashlib.sha256(pem).hexdigest(), leaf.not_valid_after_utc.timestamp(), context)


def interim() -> Certificate:
    """One that nobody trusts, for a listener that has none yet: so it can say what it waits for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "waiting for a certificate")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    chain = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return load(chain, key.private_bytes(serialization.Encoding.PEM, *pem))


def listening() -> ssl.SSLContext:
    """A context for a listener, without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> bytes:
    """Instead of asking the terminal."""
    return b""


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path for what takes nothing but files; the content never reaches a disk."""
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, content)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)
