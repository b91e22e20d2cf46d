"""The certificate of a proxy's listener: from the Secret that `spec.tls` names to two secret files of its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile.lookup import DataObjects
from mcp_operator.compile.problems import Problem
from mcp_operator_proxy import config
from mcp_operator_proxy.certificate import BadCertificate, load

CERTIFICATE_KEY: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""


@dataclass(frozen=True, slots=True)
class Shown:
    """`secrets` maps file names to values. Without `tls` a proxy keeps the certificate that it has."""

    tls: config.Tls | None = None
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()


def certificate(proxy: McpProxy, objects: DataObjects) -> Shown:
    """What the listener shall show. File names carry the version of the Secret: a renewed certificate is another config."""
    if proxy.spec.tls is None:
        return Shown()
    where = f"Secret {proxy.metadata.namespace}/{proxy.spec.tls.secret_name}"
    found = objects.get(("Secret", proxy.metadata.namespace, proxy.spec.tls.secret_name))
    if found is None:
        return _problem(
            "RefNotFound", f"{where} of spec.tls is not found; create it with {CERTIFICATE_KEY} and {PRIVATE_KEY}"
        )
    if missing := [key for key in (CERTIFICATE_KEY, PRIVATE_KEY) if key not in found.data]:
        return _problem("RefNotFound", f"{where} of spec.tls has no key {missing[0]}; add it")
    chain, key = found.data[CERTIFICATE_KEY], found.data[PRIVATE_KEY]
    if wrong := _wrong(chain, key):
        return _problem(
            "InvalidValue", f"{CERTIFICATE_KEY} of {where} {wrong}; replicas keep the certificate that they have"
        )
    files = {f"{name}.{found.version}": value for name, value in ((CERTIFICATE_KEY, chain), (PRIVATE_KEY, key))}
    references = [config.SecretRef(file=file) for file in files]
    return Shown(config.Tls(certificate=references[0], key=references[1]), files)


def _problem(reason: Literal["RefNotFound", "InvalidValue"], message: str) -> Shown:
    return Shown(problems=(Problem(reason, message),))


@lru_cache(maxsize=64)
def _wrong(chain: bytes, key: bytes) -> str | None:
    try:
        load(chain, key)
    except BadCertificate as error:
        return str(error)
    return None
