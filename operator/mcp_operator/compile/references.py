"""What an McpServer refers to: Secrets and ConfigMaps of its namespace, looked up and turned into config."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_operator.api.common import DataSource, KeyRef, SecretSource
from mcp_operator.api.pods import DataRef
from mcp_operator.api.proxy import ProxySpec
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.api.server import Container, Stdio
from mcp_operator.compile.credentials import credential
from mcp_operator.compile.lookup import DataId, DataKind, DataObjects, Fields, certificates, key_of
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.servers import IDENTITY_KEY, has_key, identity_name
from mcp_operator_proxy import config

_FIELD_VALUE: Final = re.compile(rb"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?\n?")
"""What may be sent as a header's value (RFC 9110, section 5.5, without its obsolete text); one line end after it is dropped."""
_KEY: Final = re.compile(rb"[\x21-\x7e]{32,}")
"""A key of a server's that a bridge takes; what somebody else wrote there must not be refused by a proxy with all the rest."""
_PULL_KEYS: Final = frozenset({".dockerconfigjson", ".dockercfg"})


def decoded(kind: DataKind, body: Mapping[str, Any]) -> dict[str, bytes]:
    """The data of a Secret or ConfigMap as bytes."""
    if kind == "Secret":
        encoded = body.get("data") or {}
        plain = {key: value.encode() for key, value in (body.get("stringData") or {}).items()}
    else:
        encoded = body.get("binaryData") or {}
        plain = {key: value.encode() for key, value in (body.get("data") or {}).items()}
    return {key: _base64(value) for key, value in encoded.items()} | plain


def _base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A remote server's connection with its references looked up. `secrets` maps file names to values."""

    headers: tuple[config.Header, ...] = ()
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ca_bundle: str | None = None
    problems: tuple[Problem, ...] = ()
    pulling: tuple[Problem, ...] = ()
    """What keeps the image from being pulled. A pod that runs needs it no more, so the server is served all the same."""
    identity: config.SecretRef | None = None
    """Secret file with the key that signs for whom proxies call."""
    logs_key: tuple[config.SecretRef, bytes] | None = field(default=None, repr=False)
    """Secret file and value of the key that signs what proxies ask the server's bridge for its logs; for those that show them."""
    credential: config.Credential | None = None
    """What is shown to the server besides."""

    def header_values(self) -> dict[str, str]:
        """Name to value, secrets included: for a connection, never for a log."""
        values = {}
        for header in self.headers:
            if header.secret is not None:
                values[header.name] = self.secrets[header.secret.file].decode().removesuffix("\n")
            elif header.value is not None:
                values[header.name] = header.value
        return values


def references(resource: McpServer | McpProxy) -> Iterator[DataId]:
    """Every Secret and ConfigMap whose content or existence matters for the server or proxy."""
    if isinstance(resource, McpProxy):
        yield from _of_proxy(resource)
    else:
        yield from _of_server(resource)


def _of_proxy(proxy: McpProxy) -> Iterator[DataId]:
    namespace, spec = proxy.metadata.namespace, proxy.spec
    if spec.tls:
        yield "Secret", namespace, spec.tls.secret_name
    if found := spec.authentication:
        for secret in found.api_key_secrets:
            yield "Secret", namespace, secret.name
        yield from _bundles(namespace, (issuer.ca_bundle for issuer in found.jwt))
    yield from _bundles(namespace, (provider.ca_bundle for provider in spec.providers))
    for policy in spec.authorization.policies if spec.authorization else ():
        if policy.config_map_key_ref:
            yield "ConfigMap", namespace, policy.config_map_key_ref.name
    for source in _secrets_of(spec):
        if source is not None:
            yield "Secret", namespace, source.secret_key_ref.name


def _secrets_of(spec: ProxySpec) -> Iterator[SecretSource | None]:
    yield from (key.value_from for key in (spec.authentication.api_keys if spec.authentication else ()))
    yield from (spec.stores.redis, spec.stores.database, *spec.stores.encryption_keys, spec.search.milvus)
    yield from (provider.client_secret for provider in spec.providers)
    yield spec.search.endpoint.key if spec.search.endpoint else None
    yield spec.notices.signing_key if spec.notices else None
    yield from (header.value_from for header in (spec.tracing.headers if spec.tracing else ()))


def _of_server(server: McpServer) -> Iterator[DataId]:
    namespace, spec = server.metadata.namespace, server.spec
    if spec.credential and (endpoint := spec.credential.endpoint):
        if endpoint.client_secret:
            yield "Secret", namespace, endpoint.client_secret.secret_key_ref.name
        yield from _bundles(namespace, [endpoint.ca_bundle])
    if spec.remote:
        for header in spec.remote.headers:
            if header.value_from:
                yield "Secret", namespace, header.value_from.secret_key_ref.name
        if spec.remote.tls:
            yield from _bundles(namespace, [spec.remote.tls.ca_bundle])
    if hosted := spec.container or spec.stdio:
        for source in _key_sources(hosted):
            yield _data_id(namespace, source)
        for kind, ref in whole_sources(hosted):
            yield kind, namespace, ref.name
        for secret in spec.image_pull_secrets:
            yield "Secret", namespace, secret.name
        if spec.isolation == "user":
            yield "Secret", namespace, identity_name(server)


def resolve(server: McpServer, objects: DataObjects) -> Resolved:
    """Look up what the server refers to. What is missing or unusable is a problem, not an exception.

    A secret's file name carries the version of its source, so a rotated Secret is another config: the proxy never
    mixes an old value with a new config or the reverse.
    """
    namespace, name = server.metadata.namespace, server.metadata.name
    lookup = _Lookup(namespace, objects)
    headers: list[config.Header] = []
    secrets: dict[str, bytes] = {}
    ca_bundle: str | None = None
    if server.spec.remote:
        for index, header in enumerate(server.spec.remote.headers):
            if header.value_from is None:
                headers.append(config.Header(name=header.name, value=header.value))
                continue
            found = lookup.value("Secret", header.value_from.secret_key_ref)
            if found is None:
                continue
            value, version = found
            if not _FIELD_VALUE.fullmatch(value):
                lookup.refuse(
                    "Secret",
                    header.value_from.secret_key_ref,
                    f"is no value for the header {header.name}: that is one line of ASCII text without space around it",
                )
                continue
            file = f"{namespace}.{name}.header-{index}.{version}"
            headers.append(config.Header(name=header.name, secret=config.SecretRef(file=file)))
            secrets[file] = value
        if server.spec.remote.tls:
            ca_bundle = _ca_bundle(server, lookup)
    if hosted := server.spec.container or server.spec.stdio:
        for source in _key_sources(hosted):
            lookup.value(*key_of(source))
        for data_kind, data in whole_sources(hosted):
            lookup.whole(data_kind, data)
        for secret in server.spec.image_pull_secrets:
            lookup.credentials(secret.name)
    key = _key(server, objects)
    identity = key[0] if key is not None and server.spec.isolation == "user" else None
    if key is not None and identity is not None:
        secrets[identity.file] = key[1]
    logs_key = key if key is not None and _KEY.fullmatch(key[1]) else None
    fields = Fields(namespace, objects)
    shown = credential(server.spec.credential, fields)
    lookup.problems += fields.problems
    secrets |= fields.secrets
    problems, pulling = tuple(lookup.problems), tuple(lookup.pulling)
    return Resolved(tuple(headers), secrets, ca_bundle, problems, pulling, identity, logs_key, shown)


def _key(server: McpServer, objects: DataObjects) -> tuple[config.SecretRef, bytes] | None:
    """Secret file and value of the key that the server's bridge knows, if it is there."""
    namespace, name = server.metadata.namespace, server.metadata.name
    held = objects.get(("Secret", namespace, identity_name(server))) if has_key(server) else None
    if held is None:
        return None
    return config.SecretRef(file=f"{namespace}.{name}.identity.{held.version}"), held.data.get(IDENTITY_KEY, b"")


class _Lookup:
    def __init__(self, namespace: str, objects: DataObjects) -> None:
        self._namespace = namespace
        self._objects = objects
        self.problems: list[Problem] = []
        self.pulling: list[Problem] = []

    def value(self, kind: DataKind, ref: KeyRef) -> tuple[bytes, str] | None:
        found = self._objects.get((kind, self._namespace, ref.name))
        if found is None:
            self.problems.append(
                Problem(
                    "RefNotFound", f"{kind} {self._namespace}/{ref.name} is not found; create it with the key {ref.key}"
                )
            )
            return None
        if ref.key not in found.data:
            self.problems.append(
                Problem("RefNotFound", f"{kind} {self._namespace}/{ref.name} has no key {ref.key}; add it")
            )
            return None
        return found.data[ref.key], found.version

    def whole(self, kind: DataKind, ref: DataRef) -> None:
        """All keys of an object, which may be missing where it is optional."""
        if not ref.optional and (kind, self._namespace, ref.name) not in self._objects:
            message = f"{kind} {self._namespace}/{ref.name} is not found; create it, or refer to it with optional: true"
            self.problems.append(Problem("RefNotFound", message))

    def credentials(self, name: str) -> None:
        """A Secret with which the kubelet logs in to registries."""
        found = self._objects.get(("Secret", self._namespace, name))
        if found is None:
            message = f"Secret {self._namespace}/{name} of imagePullSecrets is not found; create it"
            self.pulling.append(Problem("RefNotFound", message))
        elif not found.data.keys() & _PULL_KEYS:
            message = f"Secret {self._namespace}/{name} of imagePullSecrets has no key .dockerconfigjson"
            how = "make it by kubectl create secret docker-registry"
            self.pulling.append(Problem("InvalidValue", f"{message}; {how}"))

    def refuse(self, kind: DataKind, ref: KeyRef, why: str) -> None:
        self.problems.append(Problem("InvalidValue", f"key {ref.key} of {kind} {self._namespace}/{ref.name} {why}"))


def _ca_bundle(server: McpServer, lookup: _Lookup) -> str | None:
    assert server.spec.remote
    assert server.spec.remote.tls
    source = server.spec.remote.tls.ca_bundle
    kind: DataKind = "ConfigMap" if source.config_map_key_ref else "Secret"
    ref = source.config_map_key_ref or source.secret_key_ref
    assert ref
    found = lookup.value(kind, ref)
    if found is None:
        return None
    bundle = certificates(found[0])
    if bundle is None:
        lookup.refuse(kind, ref, "is no bundle of PEM certificates")
    return bundle


def whole_sources(hosted: Container | Stdio) -> Iterator[tuple[DataKind, DataRef]]:
    """Objects all of whose keys are in the environment, in the order of their declaration: the last one wins."""
    for source in hosted.env_from:
        if source.secret_ref:
            yield "Secret", source.secret_ref
        elif source.config_map_ref:
            yield "ConfigMap", source.config_map_ref


def _key_sources(hosted: Container | Stdio) -> Iterator[DataSource]:
    yield from (variable.value_from for variable in hosted.env if variable.value_from)
    yield from (file.value_from for file in hosted.files)


def _bundles(namespace: str, sources: Iterable[DataSource | None]) -> Iterator[DataId]:
    yield from (_data_id(namespace, source) for source in sources if source)


def _data_id(namespace: str, source: DataSource) -> DataId:
    kind, ref = key_of(source)
    return kind, namespace, ref.name
