"""What one file of manifests says: resources, Secrets and ConfigMaps, and what is wrong with it. Pure."""

import base64
import binascii
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import Any, Final, cast

from mcp_operator.api.meta import API_VERSION, GROUP
from mcp_operator.api.resources import MODELS, InvalidResource, Resource, parse
from mcp_operator.api.scalars import DNS_SUBDOMAIN
from mcp_operator.compile.lookup import DataKind
from mcp_operator.compile.references import decoded
from mcp_operator.engine.keys import Key
from mcp_operator.local.documents import Document, Unreadable, read_json, read_yaml

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
MAX_BYTES: Final = 4 * 2**20
DATA_KINDS: Final = frozenset({"Secret", "ConfigMap"})
LABELLED_KINDS: Final = frozenset({"Namespace"})
"""Read for their labels, which consents may ask for."""
NAMESPACE: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAMED_BY_RULE: Final = frozenset({"McpServer", "McpProxy"})
"""Their own rules say more about the name."""
_KUSTOMIZATION: Final = frozenset({"kustomization.yaml", "kustomization.yml"})


class Severity(StrEnum):
    ERROR = "error"
    NOTE = "note"


def named(key: Key) -> str:
    """An object as messages call it: `McpServer default/time`."""
    return f"{key.kind} {key.namespace}/{key.name}" if key.namespace else f"{key.kind} {key.name}"


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """Something to tell about a file. `line` is 0 where it concerns the file as a whole; no secret stands in it."""

    path: str
    line: int
    message: str
    severity: Severity = Severity.ERROR

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path

    def __str__(self) -> str:
        prefix = "note: " if self.severity is Severity.NOTE else ""
        return f"{self.place}: {prefix}{self.message}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One sound object: a resource of ours, the data of a Secret or ConfigMap, or the labels of a Namespace."""

    key: Key
    path: str
    line: int
    resource: Resource | None = None
    data: Mapping[str, bytes] | None = field(default=None, repr=False)
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file says. `invalid` are objects that stand in it but can't be used, each with the reason.

    `unclear`: there is something in it that can't even be identified, so what it said before may still be meant.
    """

    path: str
    manifests: tuple[Manifest, ...] = ()
    invalid: Mapping[Key, Diagnostic] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    unclear: bool = False


class _Refused(ValueError):
    """Why a document is not used. `about` is the object in it, where that can be told."""

    def __init__(
        self, line: int, message: str, *, about: Key | None = None, severity: Severity = Severity.ERROR
    ) -> None:
        super().__init__(message)
        self.line = line
        self.about = about
        self.severity = severity


def unreadable(path: str, why: str) -> FileContent:
    """A file whose text can't be had."""
    return FileContent(path, diagnostics=(Diagnostic(path, 0, why),), unclear=True)


def read_manifests(path: str, content: bytes, namespace: str = "default") -> FileContent:
    """Read a file; `path` is its name in messages, `namespace` that of objects that name none. Raises nothing."""
    if len(content) > MAX_BYTES:
        return unreadable(path, f"larger than {MAX_BYTES // 2**20} MiB: too large for a file of manifests")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return unreadable(path, f"not UTF-8 text (byte {error.start})")
    try:
        documents = (read_json if path.endswith(".json") else read_yaml)(text)
    except Unreadable as error:
        return FileContent(path, diagnostics=(Diagnostic(path, error.line, str(error)),), unclear=True)
    if not documents:
        return FileContent(path, diagnostics=(Diagnostic(path, 0, "there is nothing in it", Severity.NOTE),))
    return _content(path, [item for document in documents for item in document.items()], namespace)


def _content(path: str, documents: list[Document], namespace: str) -> FileContent:
    manifests: list[Manifest] = []
    invalid: dict[Key, Diagnostic] = {}
    diagnostics: list[Diagnostic] = []
    unclear = False
    for document in documents:
        try:
            manifests.append(_manifest(path, document, namespace))
        except _Refused as refused:
            found = Diagnostic(path, refused.line, str(refused), refused.severity)
            diagnostics.append(found)
            if refused.about is not None:
                invalid.setdefault(refused.about, found)
            elif refused.severity is Severity.ERROR:
                unclear = True
    return FileContent(path, tuple(manifests), invalid, tuple(diagnostics), unclear)


def _manifest(path: str, document: Document, namespace: str) -> Manifest:
    body = document.body
    if not isinstance(body, dict):
        raise _Refused(document.line, "no Kubernetes object: a mapping with apiVersion, kind and metadata is needed")
    api_version, kind = body.get("apiVersion"), body.get("kind")
    if kind is None and PurePath(path).name in _KUSTOMIZATION:
        raise _Refused(document.line, "a Kustomization is not used here: ignored", severity=Severity.NOTE)
    for name, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            raise _Refused(
                document.line_of((name,)), f"{name} is missing" if value is None else f"{name} must be a string"
            )
    is_data = api_version == "v1" and kind in DATA_KINDS
    is_labelled = api_version == "v1" and kind in LABELLED_KINDS
    if not is_data and not is_labelled:
        _check_kind(document, str(api_version), str(kind))
    about = _identity(document, str(kind), "" if is_labelled else namespace)
    if is_labelled:
        return Manifest(about, path, document.line, labels=_labels(document, about))
    body = {**body, "metadata": {**body["metadata"], "namespace": about.namespace}}
    try:
        if is_data:
            return Manifest(about, path, document.line, data=_data(document, about))
        return Manifest(about, path, document.line, resource=parse(body, strict=True))
    except InvalidResource as error:
        line = document.line_of(error.fields[0]) if error.fields else document.line
        raise _Refused(line, f"{named(about)}: {error}", about=about) from None


def _check_kind(document: Document, api_version: str, kind: str) -> None:
    """Let our own kinds pass; others are ignored, with a note, unless they look like ours."""
    group = api_version.partition("/")[0]
    if group == GROUP and api_version != API_VERSION:
        raise _Refused(document.line_of(("apiVersion",)), f"apiVersion {api_version} is not known; use {API_VERSION}")
    if group == GROUP and kind in MODELS:
        return
    if group == GROUP or kind in MODELS:
        near = difflib.get_close_matches(kind, MODELS, n=1)
        hint = f"use apiVersion: {API_VERSION}" if kind in MODELS else f"did you mean {near[0]}?" if near else ""
        known = f"{API_VERSION} has {', '.join(MODELS)}"
        raise _Refused(document.line_of(("kind",)), f"there is no kind {kind} in {api_version}; {hint or known}")
    name = _named(document.body)
    raise _Refused(document.line, f"{kind}{name} is not used here: ignored", severity=Severity.NOTE)


def _named(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f" {name}" if isinstance(name, str) else ""


def _identity(document: Document, kind: str, namespace: str) -> Key:
    metadata = document.body.get("metadata")
    if not isinstance(metadata, dict):
        raise _Refused(document.line_of(("metadata",)), f"{kind} without a name: metadata.name is missing")
    name, own = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not name:
        what = "metadata.name is missing" if name is None else "metadata.name must be a string that is not empty"
        raise _Refused(document.line_of(("metadata", "name")), f"{kind} without a name: {what}")
    if not re.fullmatch(DNS_SUBDOMAIN, name) and kind not in _NAMED_BY_RULE:
        where = document.line_of(("metadata", "name"))
        raise _Refused(where, f"{kind} {name!r}: metadata.name may hold lower-case letters, digits, '-' and '.'")
    if own is not None and (not isinstance(own, str) or not re.fullmatch(NAMESPACE, own)):
        where = document.line_of(("metadata", "namespace"))
        raise _Refused(
            where, f"{kind} {name}: metadata.namespace must be a DNS label: lower-case letters, digits and '-'"
        )
    return Key(kind, own or namespace, name)


def _labels(document: Document, about: Key) -> dict[str, str]:
    labels = document.body["metadata"].get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(part, str) for item in labels.items() for part in item):
        where = document.line_of(("metadata", "labels"))
        raise _Refused(where, f"{named(about)}: metadata.labels must be a mapping of strings; quote them", about=about)
    return labels


def _data(document: Document, about: Key) -> dict[str, bytes]:
    """Data of a Secret or ConfigMap. Raises _Refused without any of the values in its words."""
    is_secret = about.kind == "Secret"
    for part in ("data", "stringData") if is_secret else ("data", "binaryData"):
        for path, problem in _wrong_values(
            document.body.get(part), part, is_base64=part == ("data" if is_secret else "binaryData")
        ):
            raise _Refused(document.line_of(path), f"{named(about)}: {'.'.join(path)}: {problem}", about=about)
    if not is_secret and "stringData" in document.body:
        raise _Refused(
            document.line_of(("stringData",)),
            f"{named(about)}: stringData: unknown field; a ConfigMap has data",
            about=about,
        )
    return decoded(cast("DataKind", about.kind), document.body)


def _wrong_values(values: object, part: str, *, is_base64: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    if values is None:
        return
    if not isinstance(values, dict):
        yield (part,), "must be a mapping of strings"
        return
    for key, value in values.items():
        if not isinstance(value, str):
            yield (part, key), "must be a string; quote it"
        elif is_base64 and not _is_base64(value):
            yield (part, key), "is not base64; plain text goes into " + ("stringData" if part == "data" else "data")


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
