"""Raw, asynchronous calls to the API server. Objects are plain dicts.

Two answers are met here, as no request that got them was carried out: a 401, once, with credentials read anew (a rotated token, an exec
plugin), and a 429 whose `Retry-After` is short, by waiting for as long, as client-go does. For all else callers are level-triggered
and back off. Server-side apply: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.config import ConfigException

from mcp_operator.kube import config
from mcp_operator.kube.errors import (
    ApiError,
    ConfigError,
    Conflict,
    Fenced,
    Gone,
    NotFound,
    Timeout,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    from_response,
)

Object = dict[str, Any]
Query = list[tuple[str, str]]

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_JSON: Final = "application/json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_PAGE: Final = 500
_RENEW_INTERVAL: Final = 10.0
_THROTTLED_TRIES: Final = 5
"""Of one request. A pass that is given up for its last step begins anew with the first, which makes throttling worse."""
_SHORT_SECONDS: Final = 3.0
"""The longest `Retry-After` that a request waits for; whoever is told more has better things to do meanwhile."""


class Listing(NamedTuple):
    """A whole LIST and the resourceVersion at which it is true."""

    items: list[Object]
    resource_version: str


Answered = Callable[[str, int, float], None]
"""Takes the method, the status of the answer (0: there was none) and the seconds until it was there."""


class KubeClient:
    """One connection pool to one API server. Use as `async with KubeClient.connect() as kube:`.

    Every method raises the types of `kube.errors`; paths come from `kube.paths`. `may_write` is asked just before each request
    that changes something: where it says no, the request is not sent (`Fenced`).
    """

    def __init__(
        self,
        source: config.Source,
        *,
        pool_size: int = 160,
        connect_timeout: float = 5.0,
        timeout: float = 30.0,
        user_agent: str = "mcp-operator",
        may_write: Callable[[], bool] = lambda: True,
        answered: Answered = lambda *_: None,
    ) -> None:
        self._source = source
        self._may_write = may_write
        self._answered = answered
        self._pool_size = pool_size
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=connect_timeout)
        self._user_agent = user_agent
        self._api: Any = None
        self._retired: list[Any] = []
        self._namespace = "default"
        self._renewing = asyncio.Lock()
        self._renewed_at = -_RENEW_INTERVAL
        self._generation = 0
        self._rng = random.Random()  # noqa: S311 - spreads load

    @classmethod
    def connect(cls, kubeconfig: str | None = None, context: str | None = None, **options: Any) -> Self:
        """A client for the kubeconfig, for KUBECONFIG, for the pod's service account or for `~/.kube/config`.

        `ConfigError` when there is none. Nothing is sent yet; the configuration is read on `async with`.
        """
        return cls(config.find(kubeconfig, context), **options)

    @property
    def namespace(self) -> str:
        """The pod's own namespace, or that of the kubeconfig's context."""
        return self._namespace

    async def __aenter__(self) -> Self:
        await self._load()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for api in (*self._retired, self._api):
            await api.close()

    async def get(self, path: str) -> Object | None:
        """One object, or None if it does not exist (nor its namespace, nor its kind)."""
        try:
            return await self._call("GET", path)
        except NotFound:
            return None

    async def list(self, path: str, label_selector: str | None = None, field_selector: str | None = None) -> Listing:
        """All objects of a collection, read in pages. Each item carries its `apiVersion` and `kind`.

        When a page token has expired meanwhile (410), the whole list is read in one request, as client-go does.
        """
        query: Query = []
        if label_selector:
            query.append(("labelSelector", label_selector))
        if field_selector:
            query.append(("fieldSelector", field_selector))
        items: list[Object] = []
        page: Query = [("limit", str(_PAGE))]
        while True:
            try:
                answer = await self._call("GET", path, query=[*query, *page])
            except Gone:
                if not items:
                    raise
                items, page = [], []
                continue
            items += _items(answer)
            metadata = answer.get("metadata") or {}
            token = metadata.get("continue")
            if not token:
                return Listing(items, metadata.get("resourceVersion") or "")
            page = [("limit", str(_PAGE)), ("continue", token)]

    async def changes_since(self, path: str, since: str, label_selector: str | None = None) -> Sequence[Object]:
        """Watch events of a collection after the version `since`, as many as come within a second; only metadata of the objects.

        A BOOKMARK among them says up to which version that is all. `Gone` when `since` is too old.
        """
        query: Query = [("labelSelector", label_selector)] if label_selector else []
        query += [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", since),
            ("timeoutSeconds", "1"),
        ]
        payload = await self._exchange("GET", path, query, None, {"Accept": _METADATA})
        events = [_decode("GET", path, line) for line in payload.splitlines() if line]
        for event in events:
            if event.get("type") == "ERROR":
                status = event.get("object") or {}
                raise from_response(int(status.get("code") or 500), {}, json.dumps(status).encode(), path=path)
        return events

    async def read(self, path: str, *, query: Query, accept: str) -> Object:
        """GET in another representation than the objects themselves. `NotFound` if there is no such path."""
        return _decode("GET", path, await self._exchange("GET", path, query, None, {"Accept": accept}))

    async def stream(self, path: str, *, query: Query, accept: str, idle: float) -> AsyncGenerator[bytes, None]:
        """GET an answer that goes on, as it comes. It may end at any time; `Timeout` when nothing comes for `idle` seconds."""
        generation = self._generation
        try:
            answer = await self._open(path, query, accept, idle)
        except Unauthorized:
            await self._renew(generation)
            answer = await self._open(path, query, accept, idle)
        try:
            with _told("GET", path, late="nothing more"):
                async for chunk in answer.response.content.iter_any():
                    yield chunk
        finally:
            answer.response.close()

    async def apply(
        self, path: str, body: Object, *, field_manager: str, force: bool = True, dry_run: bool = False
    ) -> Object:
        """Server-side apply: create the object or make the fields of `body` so; what one applied before and left out is removed.

        `body` needs `apiVersion`, `kind` and `metadata.name`. Without `force`, `Conflict` names the other owner of a field.
        """
        query = [("fieldManager", field_manager), ("force", str(force).lower())]
        if dry_run:
            query.append(("dryRun", "All"))
        return await self._call("PATCH", path, query=query, body=body, content_type=_APPLY)

    async def apply_status(self, path: str, body: Object, *, field_manager: str) -> Object:
        """Server-side apply of the status subresource of the object at `path`. `NotFound` if the object is gone."""
        return await self.apply(f"{path}/status", body, field_manager=field_manager)

    async def merge_patch(
        self, path: str, body: Object, *, field_manager: str | None = None, dry_run: bool = False
    ) -> Object:
        """JSON merge patch (RFC 7386): null removes a field, a list is replaced whole."""
        query = [("fieldManager", field_manager)] if field_manager else []
        if dry_run:
            query.append(("dryRun", "All"))
        return await self._call("PATCH", path, query=query, body=body, content_type=_MERGE)

    async def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection `path`. `AlreadyExists` if its name is taken."""
        return await self._call("POST", path, body=body)

    async def replace(self, path: str, body: Object) -> Object:
        """Replace the object at `path`. `Conflict` if `metadata.resourceVersion` is given and no longer the object's."""
        return await self._call("PUT", path, body=body)

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None, propagation: str = "Background"
    ) -> bool:
        """Delete the object; whether it was there. With `uid`, another object of the same name is left alone (False).

        With `resource_version`, `Conflict` if it changed since. True also means "deletion began": finalizers may still hold it.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid or resource_version:
            body["preconditions"] = {name: value for name, value in preconditions.items() if value}
        try:
            await self._call("DELETE", path, body=body)
        except NotFound:
            return False
        except Conflict:
            if resource_version or not uid:
                raise
            return False
        return True

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
    ) -> Object:
        return _decode(method, path, await self._exchange(method, path, query, body, {"Content-Type": content_type}))

    async def _exchange(
        self, method: str, path: str, query: Query | None, body: Object | None, headers: dict[str, str]
    ) -> bytes:
        for left in range(_THROTTLED_TRIES - 1, -1, -1):
            try:
                return await self._authorized(method, path, query, body, headers)
            except TooManyRequests as error:
                if not left or not error.retry_after or error.retry_after > _SHORT_SECONDS:
                    raise
                await asyncio.sleep(error.retry_after * self._rng.uniform(1, 1.5))
        raise AssertionError("the last try returns or raises")

    async def _authorized(
        self, method: str, path: str, query: Query | None, body: Object | None, headers: dict[str, str]
    ) -> bytes:
        generation = self._generation
        try:
            return await self._send(method, path, query, body, headers)
        except Unauthorized:
            await self._renew(generation)
            return await self._send(method, path, query, body, headers)

    async def _send(
        self, method: str, path: str, query: Query | None, body: Object | None, headers: dict[str, str]
    ) -> bytes:
        api, request = await self._serialized(method, path, query, body, {"Accept": _JSON, **headers})
        if method != "GET" and not self._may_write():
            raise Fenced(f"{method} {path}: not sent, as this process does not lead")
        started, status = time.monotonic(), 0
        try:
            with _told(method, path):
                response = await api.call_api(*request, _request_timeout=self._timeout)
                status = response.status
                payload: bytes = await response.read()
        finally:
            self._answered(method, status, time.monotonic() - started)
        if not 200 <= response.status < 300:
            raise from_response(response.status, response.headers, payload, phrase=response.reason or "", path=path)
        return payload

    async def _open(self, path: str, query: Query, accept: str, idle: float) -> Any:
        """The answer to a GET, whose status is good and whose body has not been read."""
        api, request = await self._serialized("GET", path, query, None, {"Accept": accept})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.sock_connect, sock_read=idle)
        started, status = time.monotonic(), 0
        try:
            with _told("GET", path):
                response = await api.call_api(*request, _request_timeout=timeout)
                status = response.status
                if 200 <= status < 300:
                    return response
                payload: bytes = await response.read()
        finally:
            self._answered("GET", status, time.monotonic() - started)
        raise from_response(status, response.headers, payload, phrase=response.reason or "", path=path)

    async def _serialized(
        self, method: str, path: str, query: Query | None, body: Object | None, headers: dict[str, str]
    ) -> tuple[Any, Any]:
        """The client with the credentials of now, and the request as it takes it."""
        api = self._api
        try:
            request = await api.param_serialize(
                method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
        except (ConfigException, OSError) as error:
            raise Unauthorized(f"the service account's token cannot be read: {error}") from None
        return api, request

    async def _load(self) -> None:
        access = await config.load(self._source)
        access.configuration.connection_pool_maxsize = self._pool_size
        api = ApiClient(access.configuration)
        api.user_agent = self._user_agent
        if self._api is not None:
            self._retired.append(self._api)
        self._api, self._namespace = api, access.namespace

    async def _renew(self, generation: int) -> None:
        """Read the credentials anew, once for all calls that the old ones failed; not more often than every ten seconds.

        Calls in flight keep their connections until the renewal after this one.
        """
        async with self._renewing:
            now = time.monotonic()
            if generation != self._generation or now - self._renewed_at < _RENEW_INTERVAL:
                return
            self._renewed_at, self._generation = now, self._generation + 1
            retired, self._retired = self._retired, []
            for api in retired:
                await api.close()
            try:
                await self._load()
            except ConfigError as error:
                raise Unauthorized(str(error), status=401) from None


@contextlib.contextmanager
def _told(method: str, path: str, *, late: str = "no answer") -> Iterator[None]:
    """What the connection raises, as the errors of `kube.errors`."""
    try:
        yield
    except TimeoutError:
        raise Timeout(f"{method} {path}: {late} from the API server in time") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from None


def _items(answer: Object) -> list[Object]:
    """A list's items; those of built-in kinds come without `apiVersion` and `kind`."""
    api_version, kind = answer.get("apiVersion"), str(answer.get("kind") or "").removesuffix("List")
    return [{"apiVersion": api_version, "kind": kind, **item} for item in answer.get("items") or ()]


def _decode(method: str, path: str, payload: bytes) -> Object:
    try:
        answer = json.loads(payload)
    except ValueError:
        raise ApiError(f"{method} {path}: the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise ApiError(f"{method} {path}: the answer is not an object")
    return answer
