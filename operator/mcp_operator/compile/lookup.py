"""Values in Secrets and ConfigMaps that fields refer to: found as secret files of a proxy, or a problem with the field's name."""

import hashlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from mcp_operator.api.common import DataSource, KeyRef, SecretSource
from mcp_operator.compile.problems import Problem
from mcp_operator_proxy import config

DataKind = Literal["Secret", "ConfigMap"]
DataId = tuple[DataKind, str, str]
"""Kind, namespace, name."""
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class DataObject:
    """A Secret or ConfigMap: its `data`, decoded. `version` changes whenever the content may have."""

    version: str
    data: Mapping[str, bytes] = field(repr=False)


DataObjects = Mapping[DataId, DataObject]


class Fields:
    """Looks up what fields of a resource refer to. `secrets` are the files (name to value) that came of it.

    A file's name carries the version of its Secret: a changed one is another configuration. What is missing or unusable is a
    problem, not an exception.
    """

    def __init__(self, namespace: str, objects: DataObjects) -> None:
        self._namespace = namespace
        self._objects = objects
        self.secrets: dict[str, bytes] = {}
        self.problems: list[Problem] = []

    def whole(self, where: str, kind: DataKind, name: str) -> DataObject | None:
        """A whole object."""
        found = self._objects.get((kind, self._namespace, name))
        if found is None:
            self.tell("RefNotFound", f"{where}: {kind} {self._namespace}/{name} is not found; create it")
        return found

    def value(self, where: str, kind: DataKind, ref: KeyRef) -> tuple[bytes, str] | None:
        """The value and the version of its object."""
        named = f"{kind} {self._namespace}/{ref.name}"
        found = self._objects.get((kind, self._namespace, ref.name))
        if found is None:
            self.tell("RefNotFound", f"{where}: {named} is not found; create it with the key {ref.key}")
        elif ref.key not in found.data:
            self.tell("RefNotFound", f"{where}: {named} has no key {ref.key}; add it")
        else:
            return found.data[ref.key], found.version
        return None

    def text(self, where: str, source: SecretSource) -> str | None:
        """The text in a Secret's key, without the line's end."""
        found = self.value(where, "Secret", source.secret_key_ref)
        return None if found is None else self._text(where, source.secret_key_ref, found[0])

    def file(self, where: str, source: SecretSource) -> config.SecretRef | None:
        """The text in a Secret's key, as a file."""
        found = self.value(where, "Secret", source.secret_key_ref)
        if found is None or self._text(where, source.secret_key_ref, found[0]) is None:
            return None
        ref = source.secret_key_ref
        return self.put(f"{ref.name}/{ref.key}", found[1], found[0])

    def put(self, what: str, version: str, value: bytes) -> config.SecretRef:
        """Make a file of a value that stands at `what`."""
        file = f"value-{hashlib.sha256(f'{self._namespace}/{what}'.encode()).hexdigest()[:16]}.{version}"
        self.secrets[file] = value
        return config.SecretRef(file=file)

    def bundle(self, where: str, source: DataSource) -> str | None:
        """The PEM certificates in a key of a ConfigMap or Secret."""
        kind, ref = key_of(source)
        found = self.value(where, kind, ref)
        if found is None:
            return None
        if (bundle := certificates(found[0])) is None:
            self.refuse(where, kind, ref, "is no bundle of PEM certificates")
        return bundle

    def refuse(self, where: str, kind: DataKind, ref: KeyRef, why: str) -> None:
        """Tell that a value can't be used."""
        self.tell("InvalidValue", f"{where}: key {ref.key} of {kind} {self._namespace}/{ref.name} {why}")

    def tell(self, reason: Literal["RefNotFound", "InvalidValue"], message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(reason, message))

    def _text(self, where: str, ref: KeyRef, value: bytes) -> str | None:
        try:
            text = value.decode().removesuffix("\n")
        except UnicodeDecodeError:
            text = ""
        if not text or "\0" in text:
            self.refuse(where, "Secret", ref, "is empty, or no text")
            return None
        return text


def key_of(source: DataSource) -> tuple[DataKind, KeyRef]:
    """The kind of the object that holds a value, and its key."""
    if source.secret_key_ref:
        return "Secret", source.secret_key_ref
    assert source.config_map_key_ref
    return "ConfigMap", source.config_map_key_ref


@lru_cache(maxsize=256)
def certificates(content: bytes) -> str | None:
    """The PEM certificates in `content` and nothing else of it; None where there are none or one is broken.

    The bundle goes into a ConfigMap: a private key beside the certificates is left where it is.
    """
    blocks = _CERTIFICATE.findall(content.decode(errors="replace"))
    if not blocks:
        return None
    bundle = "".join(f"{block}\n" for block in blocks)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=bundle)
    except (ssl.SSLError, ValueError):
        return None
    return bundle
