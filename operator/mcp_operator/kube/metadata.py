"""Objects by what they are called and not by what they hold: LIST and WATCH of PartialObjectMetadata.

Which version an object has tells that it changed; its content never leaves the API server for that.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/, "Metadata-only fetches" and "Efficient detection of changes"
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, Literal, NamedTuple

from mcp_operator.kube.client import KubeClient, Query
from mcp_operator.kube.errors import ApiError, Gone

PAGE: Final = 500
WATCH_SECONDS: Final = 240
"""After which the API server ends a watch; it is then begun anew from where it ended."""
IDLE_SECONDS: Final = WATCH_SECONDS + 30.0
_ACCEPT_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ACCEPT: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Seen(NamedTuple):
    """One object: where it is, and its version; None when it is gone."""

    namespace: str
    name: str
    version: str | None


class Page(NamedTuple):
    """Some of a listing, and the resourceVersion of the whole."""

    items: list[Seen]
    resource_version: str


async def pages(kube: KubeClient, path: str, field_selector: str | None = None) -> AsyncGenerator[Page, None]:
    """LIST a collection page by page. Raises the errors of `kube.errors`; `Gone` when it took too long."""
    query = _query(field_selector, limit=str(PAGE))
    token = ""
    while True:
        more: Query = [("continue", token)] if token else []
        answer = await kube.read(path, query=[*query, *more], accept=_ACCEPT_LIST)
        metadata = answer.get("metadata") or {}
        items = [_seen(item["metadata"]) for item in answer.get("items") or ()]
        yield Page(items, str(metadata.get("resourceVersion") or ""))
        token = metadata.get("continue") or ""
        if not token:
            return


async def changes(
    kube: KubeClient, path: str, resource_version: str, field_selector: str | None = None
) -> AsyncGenerator[tuple[Seen | None, str], None]:
    """WATCH a collection from a version on: what changed (None: nothing), and the version from which to go on.

    Ends when the API server ends it. Raises the errors of `kube.errors`; `Gone`: LIST again.
    """
    query = _query(
        field_selector,
        watch="1",
        resourceVersion=resource_version,
        allowWatchBookmarks="true",
        timeoutSeconds=str(WATCH_SECONDS),
    )
    stream = kube.stream(path, query=query, accept=_ACCEPT, idle=IDLE_SECONDS)
    async with aclosing(stream) as chunks, aclosing(_lines(chunks)) as lines:
        async for line in lines:
            event = _event(line, path)
            metadata = event["object"].get("metadata") or {}
            version = str(metadata.get("resourceVersion") or resource_version)
            seen = None if event["type"] == "BOOKMARK" else _seen(metadata, gone=event["type"] == "DELETED")
            yield seen, version


def _event(line: bytes, path: str) -> Mapping[str, Any]:
    """Raises Gone, ApiError."""
    try:
        event = json.loads(line)
        kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"] = event["type"]
        body = event["object"]
    except (ValueError, TypeError, KeyError):
        raise ApiError(f"WATCH {path}: an event is not JSON") from None
    if kind == "ERROR":
        code = body.get("code")
        error = Gone if code == 410 else ApiError
        raise error(f"WATCH {path}: {body.get('message') or 'ended by the API server'}", status=int(code or 0))
    return {"type": kind, "object": body}


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Whole lines, however long: an object's annotations may take 256 KiB."""
    rest: list[bytes] = []
    async for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        if whole:
            yield b"".join([*rest, whole[0]])
            for line in whole[1:]:
                yield line
            rest = []
        if last:
            rest.append(last)


def _query(field_selector: str | None, **more: str) -> Query:
    chosen: Query = [("fieldSelector", field_selector)] if field_selector else []
    return [*chosen, *more.items()]


def _seen(metadata: Mapping[str, Any], *, gone: bool = False) -> Seen:
    return Seen(metadata.get("namespace") or "", metadata["name"], None if gone else metadata.get("resourceVersion"))
