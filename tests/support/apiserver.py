"""A small API server in memory, over real HTTP: what the operator's client may ask of a real one, with the same consequences.

GET, LIST and WATCH (label selectors, names, metadata alone), server-side apply, merge patch, create, delete (preconditions,
finalizers, garbage collection), status subresources, uids, generations, resourceVersions that move only with a change. `refuse`
makes it say no; `changed` is told of every change, as a watch stream is. What it does not do: schemas, admission, field conflicts
(every apply is forced).
"""

import asyncio
import copy
import dataclasses
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from support.applying import apply_to, merge_patched

Body = dict[str, Any]
Changed = Callable[[str, Body], None]
"""Takes the event's type (ADDED, MODIFIED, DELETED) and the object."""

KINDS: Final = {
    "mcpservers": "McpServer",
    "mcpproxies": "McpProxy",
    "mcproutes": "McpRoute",
    "deployments": "Deployment",
    "services": "Service",
    "serviceaccounts": "ServiceAccount",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "pods": "Pod",
    "events": "Event",
    "leases": "Lease",
    "namespaces": "Namespace",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "networkpolicies": "NetworkPolicy",
    "ingresses": "Ingress",
    "httproutes": "HTTPRoute",
    "servicemonitors": "ServiceMonitor",
    "podmonitors": "PodMonitor",
}
WITH_STATUS: Final = frozenset({"McpServer", "McpProxy", "McpRoute", "Deployment", "Service", "Pod"})


@dataclass(frozen=True)
class Asked:
    """One request. `path` is without the query and without `/status`."""

    method: str
    path: str
    subresource: str
    query: dict[str, str]
    body: Any

    @property
    def written(self) -> str:
        """`Secret/name`, for comparing the order of writes."""
        plural, name = self.path.split("/")[-2:] if self.method != "POST" else (self.path.split("/")[-1], "")
        return f"{KINDS[plural]}/{name}" + (f"/{self.subresource}" if self.subresource else "")


@dataclass(frozen=True)
class Refusal(Exception):
    code: int
    reason: str
    message: str
    causes: tuple[Body, ...] = ()

    def body(self) -> Body:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code, "reason": self.reason}
        return {**status, "message": self.message, "details": {"causes": list(self.causes)}}


INVALID: Final = Refusal(422, "Invalid", "spec.port: Invalid value: too large")
QUOTA: Final = Refusal(403, "Forbidden", "exceeded quota: no more of these")
TERMINATING: Final = Refusal(
    403, "Forbidden", "the namespace is being terminated", ({"reason": "NamespaceTerminating"},)
)
AWAY: Final = Refusal(503, "ServiceUnavailable", "the storage is away")


class ApiServer:
    """Use as `async with`. Objects by their path, such as `/api/v1/namespaces/team-a/secrets/token`."""

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.asked: list[Asked] = []
        self.changed: Changed = lambda *_: None
        self.url = ""
        self.absent: set[str] = set()
        """Groups that are not served, such as `gateway.networking.k8s.io`."""
        self._applied: dict[tuple[str, str, str], Body] = {}
        self._refusals: list[tuple[str, str, Refusal, list[int]]] = []
        self._versions = itertools.count(1000)
        self._history: list[tuple[int, str, Body]] = []
        self._forgotten = 0
        self._watching: set[asyncio.Queue[tuple[int, str, Body] | None]] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "ApiServer":
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut_streams()
        assert self._runner is not None
        await self._runner.cleanup()

    # What tests say

    def refuse(self, method: str, path: str, refusal: Refusal, *, times: int = -1) -> None:
        """Say no to requests whose path holds `path`; the next `times` of them, or all."""
        self._refusals.append((method, path, refusal, [times]))

    def relent(self) -> None:
        self._refusals.clear()

    def cut_streams(self) -> None:
        """End every watch that is open."""
        for events in self._watching:
            events.put_nowait(None)

    def forget_history(self) -> None:
        """As after a compaction: a watch from before now is refused with 410."""
        self._forgotten = next(self._versions)
        self._history.clear()

    @property
    def streams(self) -> int:
        """Watches that are open."""
        return len(self._watching)

    @property
    def writes(self) -> list[str]:
        """Every write but Events, in order, such as `Secret/name`."""
        return [asked.written for asked in self.asked if asked.method != "GET" and "/events" not in asked.path]

    @property
    def events(self) -> list[Body]:
        return [body for body in self.objects.values() if body["kind"] == "Event"]

    def get(self, kind: str, name: str, namespace: str | None = "team-a") -> Body:
        return next(body for body in self._of(kind, namespace) if body["metadata"]["name"] == name)

    def names(self, kind: str, namespace: str = "team-a") -> set[str]:
        return {body["metadata"]["name"] for body in self._of(kind, namespace)}

    def kubectl_apply(self, body: Body) -> Body:
        """What a user's `kubectl apply` does: the same rules, no request noted."""
        return self._apply(_path_of(body), "", _named(body), "kubectl")

    def edit(self, kind: str, name: str, change: Callable[[Body], object], namespace: str = "team-a") -> Body:
        """Change an object by hand, its status too."""
        live = self.get(kind, name, namespace)
        after = copy.deepcopy(live)
        change(after)
        return self._store(_path_of(live), after)

    def kubectl_delete(self, kind: str, name: str, namespace: str = "team-a") -> None:
        self._delete(_path_of(self.get(kind, name, namespace)), {})

    # What it does

    def _of(self, kind: str, namespace: str | None) -> Iterator[Body]:
        for body in [*self.objects.values()]:
            if (body["kind"], body["metadata"].get("namespace")) == (kind, namespace):
                yield body

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        payload = await request.read()
        path = request.path.removesuffix("/status")
        subresource = "status" if path != request.path else ""
        body = json.loads(payload) if payload else None
        asked = Asked(request.method, path, subresource, dict(request.query), body)
        self.asked.append(asked)
        await asyncio.sleep(0)
        try:
            self._maybe_refuse(asked)
            if "watch" in asked.query:
                return await self._watch(request, asked)
            answer = self._answer(asked, request.headers.get("Content-Type", ""))
        except Refusal as refusal:
            return web.json_response(refusal.body(), status=refusal.code)
        if "as=PartialObjectMetadataList" in request.headers.get("Accept", ""):
            answer = {**answer, "items": [_metadata_of(item) for item in answer["items"]]}
        return web.json_response(answer)

    async def _watch(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)

        async def tell(kind: str, body: Body) -> None:
            await response.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")

        since = int(asked.query["resourceVersion"])
        if since < self._forgotten:
            await tell("ERROR", Refusal(410, "Expired", "too old resource version").body())
            return response
        events: asyncio.Queue[tuple[int, str, Body] | None] = asyncio.Queue()
        for event in self._history:
            events.put_nowait(event)
        self._watching.add(events)
        try:
            while (told := await events.get()) is not None:
                version, kind, body = told
                if version > since and _is_of(asked, _path_of(body), body):
                    await tell(kind, _metadata_of(body))
        except ConnectionError:
            pass
        finally:
            self._watching.discard(events)
        return response

    def _tell(self, kind: str, body: Body) -> None:
        event = int(body["metadata"]["resourceVersion"]), kind, copy.deepcopy(body)
        self._history.append(event)
        for events in self._watching:
            events.put_nowait(event)
        self.changed(kind, copy.deepcopy(body))

    def _maybe_refuse(self, asked: Asked) -> None:
        for method, part, refusal, left in self._refusals:
            if method == asked.method and part in asked.path and left[0] != 0:
                left[0] -= 1
                raise refusal

    def _answer(self, asked: Asked, content_type: str) -> Body:
        if asked.path.split("/")[2] in self.absent:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        if asked.query.get("dryRun") == "All":
            return self._tried(asked, content_type)
        match asked.method:
            case "GET" if len(asked.path.split("/")) == 4 and asked.path.startswith("/apis/"):
                return {"resources": [{"name": plural, "kind": kind} for plural, kind in KINDS.items()]}
            case "GET" if asked.path.split("/")[-1] in KINDS:
                return self._list(asked)
            case "GET":
                return self._existing(asked.path)
            case "PATCH" if "apply-patch" in content_type:
                return self._apply(asked.path, asked.subresource, asked.body, asked.query["fieldManager"])
            case "PATCH":
                return self._store(asked.path, merge_patched(self._existing(asked.path), asked.body))
            case "POST":
                path = f"{asked.path}/{asked.body['metadata']['name']}"
                if path in self.objects:
                    raise Refusal(409, "AlreadyExists", "it exists already")
                return self._store(path, _named(asked.body))
            case "DELETE":
                return self._delete(asked.path, asked.body.get("preconditions") or {})
        raise Refusal(405, "MethodNotAllowed", asked.method)

    def _tried(self, asked: Asked, content_type: str) -> Body:
        """The answer to a dry run: that of the request itself, of which nothing stays."""
        held, told = (copy.deepcopy(self.objects), copy.deepcopy(self._applied)), self.changed
        self.changed = lambda *_: None
        try:
            query = {key: value for key, value in asked.query.items() if key != "dryRun"}
            return self._answer(dataclasses.replace(asked, query=query), content_type)
        finally:
            (self.objects, self._applied), self.changed = held, told

    def _existing(self, path: str) -> Body:
        if path not in self.objects:
            raise Refusal(404, "NotFound", f"{path} not found")
        return self.objects[path]

    def _list(self, asked: Asked) -> Body:
        return {
            "kind": f"{KINDS[asked.path.split('/')[-1]]}List",
            "metadata": {"resourceVersion": str(next(self._versions))},
            "items": [body for where, body in self.objects.items() if _is_of(asked, where, body)],
        }

    def _apply(self, path: str, subresource: str, body: Body, manager: str) -> Body:
        live = self.objects.get(path)
        uid = body["metadata"].get("uid")
        if uid is not None and (live is None or live["metadata"]["uid"] != uid):
            raise Refusal(409, "Conflict", "the uid in the precondition is not that of the object")
        if live is None and subresource:
            raise Refusal(404, "NotFound", f"{path} not found")
        fields = {"status": body["status"]} if subresource else {k: v for k, v in body.items() if k != "status"}
        before = self._applied.get((path, manager, subresource), {})
        self._applied[path, manager, subresource] = copy.deepcopy(fields)
        return self._store(path, apply_to(live or {}, before, fields))

    def _store(self, path: str, body: Body) -> Body:
        """Put `body` there as a real server would: defaulted, versioned, unless it is what is there already."""
        live = self.objects.get(path)
        metadata = body["metadata"]
        if sum(bool(owner.get("controller")) for owner in metadata.get("ownerReferences") or ()) > 1:
            raise Refusal(422, "Invalid", "Only one reference can have Controller set to true")
        _default(body)
        if live is None:
            metadata["uid"] = str(uuid.uuid4())
            metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
            metadata["generation"] = metadata.get("generation", 1)
        elif live == body:
            return live
        elif live.get("spec") != body.get("spec"):
            metadata["generation"] = live["metadata"].get("generation", 1) + 1
        metadata["resourceVersion"] = str(next(self._versions))
        self.objects[path] = body
        self._tell("ADDED" if live is None else "MODIFIED", body)
        return body

    def _delete(self, path: str, preconditions: Body) -> Body:
        live = self._existing(path)
        if preconditions.get("uid", live["metadata"]["uid"]) != live["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "the uid in the precondition is not that of the object")
        if live["metadata"].get("finalizers"):
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return self._store(path, merge_patched(live, {"metadata": {"deletionTimestamp": stamp}}))
        del self.objects[path]
        for known in [key for key in self._applied if key[0] == path]:
            del self._applied[known]
        gone = merge_patched(live, {"metadata": {"resourceVersion": str(next(self._versions))}})
        self._tell("DELETED", gone)
        self._collect(live["metadata"]["uid"])
        return gone

    def _collect(self, owner: str) -> None:
        for path, body in [*self.objects.items()]:
            owners = [reference["uid"] for reference in body["metadata"].get("ownerReferences") or ()]
            if owners == [owner] and path in self.objects:
                self._delete(path, {})


def _is_of(asked: Asked, where: str, body: Body) -> bool:
    """Whether the object at `where` is of the collection, and of the labels and the name that are asked for."""
    *scope, plural = asked.path.split("/")
    metadata = body["metadata"]
    labels = dict(part.split("=") for part in asked.query.get("labelSelector", "").split(",") if part)
    fields = dict(part.split("=") for part in asked.query.get("fieldSelector", "").split(",") if part)
    return (
        where.split("/")[-2] == plural
        and where.startswith("/".join(scope))
        and labels.items() <= (metadata.get("labels") or {}).items()
        and fields.get("metadata.name", metadata["name"]) == metadata["name"]
    )


def _metadata_of(body: Body) -> Body:
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": body["metadata"]}


def _path_of(body: Body) -> str:
    api = body["apiVersion"]
    plural = next(plural for plural, kind in KINDS.items() if kind == body["kind"])
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    if body["kind"] == "Namespace":
        return f"{root}/namespaces/{body['metadata']['name']}"
    return f"{root}/namespaces/{body['metadata'].get('namespace', 'team-a')}/{plural}/{body['metadata']['name']}"


def _named(body: Body) -> Body:
    home = {} if body["kind"] == "Namespace" else {"namespace": "team-a"}
    return {**body, "metadata": {**home, **body["metadata"]}}


def _default(body: Body) -> None:
    """Some of what a real server adds and rewrites: enough to see that it is no drift."""
    spec = body.get("spec") or {}
    match body["kind"]:
        case "Service":
            spec.setdefault("clusterIP", "10.0.0.7")
            spec.setdefault("sessionAffinity", "None")
            spec.setdefault("type", "ClusterIP")
        case "Deployment":
            spec.setdefault("progressDeadlineSeconds", 600)
            spec.setdefault("replicas", 1)
            pod = spec["template"]["spec"]
            pod.setdefault("restartPolicy", "Always")
            if pod.get("hostNetwork") is False:
                del pod["hostNetwork"]
            for container in pod["containers"]:
                container.setdefault("terminationMessagePath", "/dev/termination-log")
                for amounts in (container.get("resources") or {}).values():
                    amounts.update({name: {"1000m": "1"}.get(amount, amount) for name, amount in amounts.items()})
                for empty in [key for key, value in container.items() if value in ([], "")]:
                    del container[empty]
                for variable in container.get("env", []):
                    if variable.get("value") == "":
                        del variable["value"]
