"""What stands behind a hosted server's environment and files, as digests: when they change, pods are rolled or hurried on."""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from mcp_operator.api.resources import McpServer
from mcp_operator.compile.lookup import DataObjects, key_of
from mcp_operator.compile.references import whole_sources
from mcp_operator.compile.servers import IDENTITY_KEY, identity_name

ROUNDS: Final = 4096
"""Of PBKDF2: the digest can be read by whoever reads Deployments, and must be no cheap way to guess a value."""
LENGTH: Final = 16

_Part = tuple[str, str, bytes]


def environment_digest(server: McpServer, objects: DataObjects) -> str | None:
    """Digest of the Secrets and ConfigMaps in the environment; None where there are none. What is missing counts as empty.

    A running process keeps its environment: when this changes, the pods have to be replaced.
    """
    return _digest(server, _environment(server, objects))


def files_digest(server: McpServer, objects: DataObjects) -> str | None:
    """Digest of the declared files' content; None where there are none. The kubelet renews them in running pods."""
    return _digest(server, _files(server, objects))


def _environment(server: McpServer, objects: DataObjects) -> Iterator[_Part]:
    hosted, namespace = server.spec.container or server.spec.stdio, server.metadata.namespace
    if hosted is None:
        return
    for variable in hosted.env:
        if variable.value_from:
            kind, ref = key_of(variable.value_from)
            found = objects.get((kind, namespace, ref.name))
            yield "env", f"{kind}/{ref.name}/{ref.key}", found.data.get(ref.key, b"") if found else b""
    for kind, data in whole_sources(hosted):
        found = objects.get((kind, namespace, data.name))
        yield "envFrom", f"{kind}/{data.name}", b""
        for key, value in sorted(found.data.items()) if found else ():
            yield "envFrom", f"{kind}/{data.name}/{key}", value
    if server.spec.isolation == "user" and (held := objects.get(("Secret", namespace, identity_name(server)))):
        yield "identity", IDENTITY_KEY, held.data.get(IDENTITY_KEY, b"")


def _files(server: McpServer, objects: DataObjects) -> Iterator[_Part]:
    hosted, namespace = server.spec.container or server.spec.stdio, server.metadata.namespace
    for file in hosted.files if hosted else ():
        kind, ref = key_of(file.value_from)
        found = objects.get((kind, namespace, ref.name))
        yield "file", f"{kind}/{ref.name}/{ref.key}", found.data.get(ref.key, b"") if found else b""


def _digest(server: McpServer, parts: Iterable[_Part]) -> str | None:
    content = hashlib.sha256()
    any_part = False
    for about, name, value in parts:
        any_part = True
        for piece in (about.encode(), name.encode(), value):
            content.update(len(piece).to_bytes(8, "big") + piece)
    return _slow(content.digest(), server.metadata.uid.encode()) if any_part else None


@lru_cache(maxsize=8192)
def _slow(content: bytes, salt: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", content, b"mcp-operator" + salt, ROUNDS).hex()[:LENGTH]
